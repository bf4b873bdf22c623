"""Ablations of a policy by behaviour cloning: a cell is one row of the table under one data seed.

All rows of a data seed share demonstrations, VAE, gradient steps and evaluation trials; an interrupted cell continues
at its last checkpoint.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from agents.summary import summarise
from episodes.files import write_atomic
from episodes.intervals import paired_bootstrap
from experiments.bench.schemas import PolicyAblationConfig
from experiments.loop.addresses import digest
from experiments.loop.checks import check_common
from experiments.loop.run_folder import write_json
from experiments.loop.stages import ArmJob, collect, run_arm, score
from experiments.studies.arms import Arm
from experiments.studies.engine import (
    Cell,
    commands,
    identity,
    make,
    missing,
    numbered,
    numbers,
    one_writer,
    read,
    say_found,
)
from experiments.studies.value_ablation import with_changes
from valuefns.settings import ConstantConfig


def run_all(config: DictConfig) -> None:
    """Run the missing cells, then rebuild the table."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, PolicyAblationConfig)
    check(settings)
    folder = Path(settings.results) / settings.ablation.name
    with one_writer(folder):
        jobs = [
            (replace(settings, seed=seed, policy=row_policy(settings, row)), row)
            for seed in settings.seeds
            for row in settings.rows or settings.ablation.rows
        ]
        cells = [row_cell(*job) for job in jobs]
        todo = missing(cells, folder)
        say_found(cells, todo)
        for cell, job in zip(cells, jobs, strict=True):
            if cell in todo:
                print(f"{job[1]}, data seed {job[0].seed} ...", flush=True)
                make([cell], [job], run_cell, folder, say=_said)
                rebuild(folder, settings)
        rebuild(folder, settings)
    print((folder / "table.md").read_text())


def _said(cell: Cell, result: dict[str, Any]) -> None:
    print("  " + json.dumps(summarise(cell.about["row"], result["rows"])), flush=True)


def check(settings: PolicyAblationConfig) -> None:
    """Raise a ValueError naming the first setting that cannot work, before anything is recorded or trained."""
    rows = settings.ablation.rows
    if unknown := [name for name in settings.rows if name not in rows]:
        raise ValueError(f"rows={unknown}: {settings.ablation.name} has {', '.join(rows)}")
    if settings.policy.name != settings.ablation.model:
        raise ValueError(f"policy={settings.policy.name}: this table is of {settings.ablation.model}")
    if not settings.seeds or len(set(settings.seeds)) != len(settings.seeds):
        raise ValueError(f"seeds={list(settings.seeds)}: name at least one, each once")
    for name in rows:
        row_policy(settings, name)
    for seed in settings.seeds:
        check_common(replace(settings, seed=seed))


def row_policy(settings: PolicyAblationConfig, name: str) -> Any:
    """The policy's settings with a row's changes."""
    return with_changes(settings.policy, settings.ablation.rows[name], name)


def row_cell(settings: PolicyAblationConfig, row: str) -> Cell:
    """The cell of a row under the settings' data seed; cloning reads no value and no advantage."""
    leave_out = ("ablation", "rows", "seeds", "results", "preset", "methods", "valuefn", "latents", "labeller", "folds")
    facts = identity(settings, *leave_out, "iterations", "rollouts", "corrections", "takeover")
    return Cell(f"{row}-seed{settings.seed}", facts, {"row": row, "seed": settings.seed})


def run_cell(job: tuple[PolicyAblationConfig, str]) -> dict[str, Any]:
    """Clone the demonstrations with one row's policy and test it."""
    settings, row = job
    started = time.monotonic()
    store = collect(settings)
    values = score(settings, store, ConstantConfig())[1] / "values.npz"  # cloning reads none, the loop asks for some
    address = digest(row_cell(settings, row).identity)
    folder = Path(settings.runs) / "ablation" / f"{row}-seed{settings.seed}-{address}"
    rows = run_arm(ArmJob(settings, Arm("bc"), values, store.path, folder))
    return {"seconds": time.monotonic() - started, "rows": rows}


def rebuild(folder: Path, settings: PolicyAblationConfig) -> None:
    """Make table.md and summary.json from the cells."""
    rows = table_rows({name: row.what for name, row in settings.ablation.rows.items()}, read(folder))
    write_json(folder / "summary.json", {"seed": None, "rows": rows})
    write_atomic(folder / "table.md", markdown(rows))


def table_rows(what: dict[str, str], cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry per row that has cells: success over all its trials, each data seed's, and the difference to row one.

    The difference is paired on (data seed, trial), with a two-level bootstrap interval.
    """
    outcomes: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for cell in cells:
        outcomes.setdefault(cell["about"]["row"], {})[cell["about"]["seed"]] = cell["result"]["rows"]
    base, made = next(iter(what)), []
    for name in (n for n in what if n in outcomes):
        seeds = sorted(outcomes[name])
        row = summarise(name, [r for s in seeds for r in outcomes[name][s]])
        shared = [s for s in seeds if name != base and s in outcomes.get(base, {})]
        a, b = ([[bool(r["success"]) for r in outcomes[n][s]] for s in shared] for n in (name, base))
        row |= {
            "seeds": seeds,
            "per_seed": [float(np.mean([r["success"] for r in outcomes[name][s]])) for s in seeds],
            "seconds": [cell["result"]["seconds"] for cell in cells if cell["about"]["row"] == name],
            "commands": commands([cell for cell in cells if cell["about"]["row"] == name], "rows=", "seeds="),
            "minus_first": list(paired_bootstrap(a, b, shared_trials=True)) if shared else None,
        }
        made.append(row | {"what": what[name]})
    return made


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table in markdown, with the commands that made it."""
    every = list(dict.fromkeys(line for row in rows for line in row["commands"]))
    lines = [
        "# VideoVLA's ablations at the tiny size",
        "",
        *numbered(every),
        "",
        "Success with its 95 % Wilson interval over all trials; differences in points to the first row, paired on",
        "(data seed, trial), with a two-level bootstrap 95 % interval over data seeds and trials.",
        "",
        "| row | success | 95 % | n | data seeds | minus the first row | minutes a cell | command | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        difference = r["minus_first"]
        said = "" if difference is None else "{:+.0f} [{:+.0f}, {:+.0f}]".format(*(100 * x for x in difference))
        seeds = " ".join(f"{x:.2f}" for x in r["per_seed"])
        lines.append(
            f"| {r['method']} | {r['success']:.2f} | {r['low']:.2f}-{r['high']:.2f} | {r['n']} | {seeds} | {said} "
            f"| {np.mean(r['seconds']) / 60:.0f} | {numbers(r['commands'], every)} "
            f"| {r['what']} |"
        )
    return "\n".join(lines) + "\n"
