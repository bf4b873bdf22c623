"""The committed study behind the README's table: which part of the gain does the learned value bring?

    python experiments/recap_study.py                     # arms x data seeds 0, 1, 2; finished cells are skipped
    python experiments/recap_study.py study.seeds=[0] study.arms=[bc,awr]

A cell is one arm under one data seed; each leaves results/<study>/cells/<arm>-seed<k>.json when it is done, and the
table is rebuilt from those files alone. All arms of a data seed share demonstrations, gradient steps and EVAL seeds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two busy processes with two threads each collapse on two cores

import hydra
from omegaconf import DictConfig, OmegaConf

from agents.evaluate import summarise
from episodes.workers import map_jobs
from experiments import schemas
from experiments.checks import check_common, refusing
from experiments.run_folder import NOT_IDENTITY, command_line, digest, write_json
from experiments.schemas import RecapStudyConfig
from experiments.stages import Arm, ArmJob, collect, load_values, run_arm, score
from experiments.study_table import ROWS, Row, rebuild
from experiments.value_report import truths, value_metrics
from networks.latents import LatentsConfig
from valuefns.constant import ConstantConfig
from valuefns.oracle import OracleConfig

schemas.register()


@hydra.main(config_path="conf", config_name="recap_study", version_base="1.3")
def main(config: DictConfig) -> None:
    with refusing("recap_study"):
        run_all(config)


def run_all(config: DictConfig) -> None:
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, RecapStudyConfig)
    known = {row.name: row for row in ROWS}
    unknown = [a for a in settings.study.arms if a not in known]
    if unknown:
        raise ValueError(f"study.arms={unknown}: choose from {', '.join(known)}")
    for seed in settings.study.seeds:
        check_common(replace(settings, seed=seed))
    rows = [row for row in ROWS if not settings.study.arms or row.name in settings.study.arms]
    folder = Path(settings.study.results)
    for seed in settings.study.seeds:
        seeded = replace(settings, seed=seed)
        pending = [row for row in rows if not _cell(folder, row.name, seed).exists()]
        if pending:
            run_seed(seeded, pending, folder)
        rebuild(folder, _whole_command())
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
    runs = Path(settings.runs) / "recap_study" / digest(_identity(settings))  # whichever arms are asked for
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


def _whole_command() -> str:
    """The command that makes the whole table; one that runs some of its cells is the same without naming them."""
    words = command_line().split(" ")
    return " ".join(w for w in words if not w.strip("'").startswith(("study.arms=", "study.seeds=")))


def _identity(settings: RecapStudyConfig) -> dict[str, Any]:
    return {k: v for k, v in asdict(settings).items() if k not in (*NOT_IDENTITY, "study")}


def _cell(folder: Path, arm: str, seed: int) -> Path:
    return folder / "cells" / f"{arm}-seed{seed}.json"


def _value(settings: RecapStudyConfig, kind: str) -> tuple[Any, LatentsConfig]:
    if kind == "viva_wan_vae_tiny":
        return settings.valuefn, settings.latents_wan_vae_tiny
    return {"constant": ConstantConfig(), "oracle": OracleConfig(), "viva": settings.valuefn}[kind], settings.latents


if __name__ == "__main__":
    main()
