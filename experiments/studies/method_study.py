"""The study of methods and values: its missing cells, then its table and page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from agents.summary import summarise
from experiments.loop.checks import check_common
from experiments.loop.pinned import pin
from experiments.loop.schemas import MethodStudyConfig
from experiments.loop.stages import collect
from experiments.studies import methods
from experiments.studies.arms import Arm
from experiments.studies.engine import make, missing, one_writer, say_found
from experiments.studies.method_table import rebuild


def run_all(config: DictConfig) -> None:
    """Run the missing cells of one task and data seed, then rebuild the table of all tasks."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, MethodStudyConfig)
    settings, _ = pin(settings)  # the commits are in each cell's settings
    arms = methods.planned(settings)
    check_common(settings)
    for value in settings.values.values():
        check_common(replace(settings, valuefn=value))
    folder = Path(settings.study.results)
    with one_writer(folder):
        run_cells(settings, arms, folder)
        rebuild(folder)
    print((folder / "table.md").read_text())


def run_cells(settings: MethodStudyConfig, arms: list[Arm], folder: Path) -> None:
    """Make the cells of the arms that are not there, and those of the metrics of the values they read."""
    cells = {arm: methods.cell(settings, arm) for arm in arms}
    todo = missing(list(cells.values()), folder)
    pending = [arm for arm in arms if cells[arm] in todo]
    say_found(list(cells.values()), todo, f"{methods.task_name(settings)}, seed {settings.seed}")
    if not pending:
        return
    store = collect(settings)
    print(f"{len(store)} episodes, {sum(r['success'] for r in store.index)} succeed", flush=True)
    values = {name: methods.scored(settings, store, name) for name in dict.fromkeys(arm.value for arm in pending)}
    learned = {name: methods.value_cell(settings, name) for name in values if name not in ("", "oracle")}
    unmeasured = missing(list(learned.values()), folder)
    names = [name for name, cell in learned.items() if cell in unmeasured]
    make(unmeasured, [(store.path, values[name]) for name in names], methods.metrics, folder)
    start = methods.start_policy(settings, store)
    for wave in methods.waves(pending):
        jobs = [methods.arm_job(settings, arm, store, values[arm.value], start) for arm in wave]
        make(
            [cells[arm] for arm in wave], jobs, methods.made, folder, settings.workers,
            lambda cell, result: print("  " + json.dumps(summarise(cell.key, result["rows"])), flush=True),
        )  # fmt: skip
