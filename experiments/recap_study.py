"""The committed study behind the README's table: which part of the gain does the learned value bring?

    python experiments/recap_study.py                     # arms x data seeds 0, 1, 2; finished cells are skipped
    python experiments/recap_study.py study.seeds=[0] study.arms=[bc,awr]

A cell is one arm under one data seed; each leaves results/<study>/cells/<arm>-seed<k>.json when it is done, and the
table is rebuilt from those files alone. All arms of a data seed share demonstrations, gradient steps and EVAL seeds.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two busy processes with two threads each collapse on two cores

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf

from agents.evaluate import summarise
from episodes.files import write_atomic
from episodes.intervals import paired_bootstrap
from episodes.labels import NEGATIVE, NULL
from episodes.workers import map_jobs
from experiments import schemas
from experiments.run_folder import command_line, digest, write_json
from experiments.schemas import RecapStudyConfig
from experiments.stages import Arm, ArmJob, collect, load_values, run_arm, score
from experiments.value_report import truths, value_metrics
from networks.latents import LatentsConfig
from valuefns.constant import ConstantConfig
from valuefns.oracle import OracleConfig

schemas.register()


@dataclass(frozen=True)
class Row:
    """One arm of the study and what it shows."""

    name: str
    method: str
    value: str  # viva, viva_wan_vae_tiny, constant, oracle
    what: str
    shuffled: bool = False
    indicator: int | None = None
    iterations: int = 1
    policy_of: str = ""  # arm whose policy is tested with another token; trains nothing


ROWS = (
    Row("bc", "bc", "constant", "behaviour cloning of everything"),
    Row("filtered_bc", "filtered_bc", "viva", "clones the steps of highest advantage"),
    Row("success_bc", "success_bc", "constant", "clones the episodes that succeeded"),
    Row("label_bc", "label_bc", "constant", "clones the steps truly labelled advance (privileged)"),
    Row("awr", "awr", "viva", "advantage-weighted regression"),
    Row(
        "recap",
        "recap",
        "viva",
        "advantage-conditioned, acts with the positive token; row @2 adds its own rollouts",
        iterations=2,
    ),
    Row("awr_constant", "awr", "constant", "the same with a constant value"),
    Row("recap_constant", "recap", "constant", "the same with a constant value"),
    Row("filtered_bc_constant", "filtered_bc", "constant", "the same with a constant value"),
    Row("awr_shuffled", "awr", "viva", "weights permuted over all steps", shuffled=True),
    Row("recap_shuffled", "recap", "viva", "indicators permuted over all steps", shuffled=True),
    Row("awr_oracle", "awr", "oracle", "the same with the simulator's progress as value (privileged)"),
    Row("recap_oracle", "recap", "oracle", "the same with the simulator's progress as value (privileged)"),
    Row("recap_null", "recap", "viva", "recap's policy with the null token", indicator=NULL, policy_of="recap"),
    Row(
        "recap_negative",
        "recap",
        "viva",
        "recap's policy with the negative token",
        indicator=NEGATIVE,
        policy_of="recap",
    ),
    Row("recap_wan_vae_tiny", "recap", "viva_wan_vae_tiny", "latents of the Wan VAE class, trained here"),
)


@hydra.main(config_path="conf", config_name="recap_study", version_base="1.3")
def main(config: DictConfig) -> None:
    try:
        run_all(config)
    except ValueError as error:
        sys.exit(f"recap_study: {error}")


def run_all(config: DictConfig) -> None:
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, RecapStudyConfig)
    known = {row.name: row for row in ROWS}
    unknown = [a for a in settings.study.arms if a not in known]
    if unknown:
        raise ValueError(f"study.arms={unknown}: choose from {', '.join(known)}")
    rows = [row for row in ROWS if not settings.study.arms or row.name in settings.study.arms]
    folder = Path(settings.study.results)
    for seed in settings.study.seeds:
        seeded = replace(settings, seed=seed)
        pending = [row for row in rows if not _cell(folder, row.name, seed).exists()]
        if pending:
            run_seed(seeded, pending, folder)
        rebuild(folder, command_line())
    print((folder / "table.md").read_text())


def run_seed(settings: RecapStudyConfig, pending: Sequence[Row], folder: Path) -> None:
    """Run the missing cells of one data seed; arms that share a policy follow it."""
    store = collect(settings)
    print(f"seed {settings.seed}: {len(store)} episodes, {len(pending)} cells to run", flush=True)
    values = {}
    for kind in dict.fromkeys(row.value for row in pending):
        valuefn, latents = _value(settings, kind)
        values[kind] = score(replace(settings, latents=latents), store, valuefn, workers=settings.workers)[1]
    if "viva" in values and not _cell(folder, "value", settings.seed).exists():
        metrics = value_metrics(truths(store), load_values(values["viva"] / "values.npz"))
        write_json(_cell(folder, "value", settings.seed), {"seed": settings.seed, "value_metrics": metrics})
    runs = Path(settings.runs) / "recap_study" / digest(OmegaConf.to_container(OmegaConf.structured(settings)))
    for wave in (False, True):  # a policy is trained before another token is tried on it
        jobs = [
            ArmJob(
                settings,
                Arm(r.name, r.method, str(values[r.value] / "values.npz"), r.shuffled, r.indicator, r.iterations),
                store.path,
                runs / r.name,
                runs / r.policy_of if r.policy_of else None,
            )
            for r in pending
            if bool(r.policy_of) == wave
        ]
        for job, result in zip(jobs, map_jobs(run_arm, jobs, settings.workers), strict=True):
            cell = {"arm": job.arm.name, "seed": settings.seed, "rows": result}
            write_json(_cell(folder, job.arm.name, settings.seed), cell)
            print("  " + json.dumps(summarise(job.arm.name, [r for r in result if r["iteration"] == 0])), flush=True)


def _cell(folder: Path, arm: str, seed: int) -> Path:
    return folder / "cells" / f"{arm}-seed{seed}.json"


def _value(settings: RecapStudyConfig, kind: str) -> tuple[Any, LatentsConfig]:
    if kind == "viva_wan_vae_tiny":
        return settings.valuefn, settings.latents_wan_vae_tiny
    return {"constant": ConstantConfig(), "oracle": OracleConfig(), "viva": settings.valuefn}[kind], settings.latents


def rebuild(folder: Path, command: str) -> None:
    """Make table.md and summary.json from the cells."""
    cells = [json.loads(p.read_text()) for p in sorted((folder / "cells").glob("*.json"))]
    trials: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for cell in cells:
        for row in cell.get("rows", []):
            name = row["arm"] + (f"@{row['iteration'] + 1}" if row["iteration"] else "")
            trials.setdefault(name, {}).setdefault(cell["seed"], []).append(row)
    what = {row.name: row.what for row in ROWS}
    rows = []
    for name in sorted(trials, key=lambda n: (list(what).index(n.split("@")[0]), n)):
        per_seed = trials[name]
        row = summarise(name, [r for part in per_seed.values() for r in part])
        row |= {"seeds": sorted(per_seed), "per_seed": [_rate(per_seed[s]) for s in sorted(per_seed)]}
        for other, key in (("bc", "minus_bc"), (_constant(name), "minus_constant")):
            row[key] = _paired(trials, name, other) if other in trials and other != name else None
        rows.append(row | {"what": what[name.split("@")[0]]})
    values = _value_rows([c for c in cells if "value_metrics" in c])
    write_json(folder / "summary.json", {"command": command, "seed": None, "rows": rows, "value": values})
    write_atomic(folder / "table.md", _table(command, rows, values).encode())


def _rate(rows: Sequence[dict[str, Any]]) -> float:
    return float(np.mean([r["success"] for r in rows]))


def _constant(name: str) -> str:
    return f"{name}_constant" if name in ("awr", "recap", "filtered_bc") else ""


def _paired(trials: dict[str, dict[int, list[dict[str, Any]]]], name: str, other: str) -> list[float] | None:
    """Mean difference of success with its interval over (data seeds, trials), on the seeds both have."""
    both = sorted(set(trials[name]) & set(trials[other]))
    if not both:
        return None
    a, b = ([[bool(r["success"]) for r in trials[n][s]] for s in both] for n in (name, other))
    return list(paired_bootstrap(a, b, shared_trials=True))


def _value_rows(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean over data seeds of each metric of the learned value, with every seed's own interval kept in its cell."""
    names = dict.fromkeys((r["name"], r["what"]) for c in cells for r in c["value_metrics"])
    rows = []
    for name, what in names:
        found = [r for c in cells for r in c["value_metrics"] if r["name"] == name and r["mean"] is not None]
        if found:
            mean = float(np.mean([r["mean"] for r in found]))
            low, high = (
                float(np.mean([r[k] for r in found])) if all(r[k] is not None for r in found) else None
                for k in ("low", "high")
            )
            rows.append({"name": name, "what": what, "mean": mean, "low": low, "high": high,
                         "per_seed": [r["mean"] for r in found], "n": sum(r["n"] for r in found)})  # fmt: skip
    return rows


def _signed(x: list[float] | None) -> str:
    return "" if x is None else f"{100 * x[0]:+.0f} [{100 * x[1]:+.0f}, {100 * x[2]:+.0f}]"


def _table(command: str, rows: Sequence[dict[str, Any]], values: Sequence[dict[str, Any]]) -> str:
    lines = [
        "# Lift from images: what each method makes of the same mixed demonstrations", "", f"Command: `{command}`", "",
        "Success with its 95 % Wilson interval over all trials; differences are paired on (data seed, trial), in points, "
        "with a two-level bootstrap 95 % interval.", "",
        "| method | success | 95 % | per hour | n | per data seed | minus bc | minus constant value | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for r in rows:
        seeds = " ".join(f"{x:.2f}" for x in r["per_seed"])
        lines.append(
            f"| {r['method']} | {r['success']:.2f} | {r['low']:.2f}-{r['high']:.2f} | {r['per_hour']:.0f} | {r['n']} | {seeds} "
            f"| {_signed(r['minus_bc'])} | {_signed(r['minus_constant'])} | {r['what']} |"
        )
    lines += ["", "## The learned value on held-out episodes", "",
              "Every episode is scored by a model that has not seen it; progress units p = 2V - 1. The interval is the mean "
              "of the data seeds' bootstrap intervals.", "",
              "| metric | mean | 95 % | per data seed | n |", "|---|---|---|---|---|"]  # fmt: skip
    for r in values:
        interval = "" if r["low"] is None else f"{r['low']:.2f} to {r['high']:.2f}"
        seeds = " ".join(f"{x:.2f}" for x in r["per_seed"])
        lines.append(f"| {r['what']} | {r['mean']:.2f} | {interval} | {seeds} | {r['n']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
