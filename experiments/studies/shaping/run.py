"""The study of values as rewards: its missing cells, then its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from episodes import seeds
from experiments.loop.checks import check_common, check_device
from experiments.loop.pinned import pin
from experiments.loop.schemas import ShapingStudyConfig
from experiments.studies.engine import Cell, make, missing, one_writer, say_found
from experiments.studies.shaping.cell import ShapingJob, algorithm_of, cell_name, identity, run_cell, task_of
from experiments.studies.shaping.rewards import ARMS
from experiments.studies.shaping.table import rebuild
from experiments.studies.shaping.value import data_settings, prepare_value


def run_all(config: DictConfig) -> None:
    """Run the missing cells of one task and algorithm, then rebuild the tables of all."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, ShapingStudyConfig)
    settings, _ = pin(settings)
    check(settings)
    folder = Path(settings.study.results)
    value = prepare_value(settings)
    print(
        f"value {value.version}: success claimed from {value.claim:.3f} on, balanced accuracy "
        f"{value.claim_accuracy:.2f} on held-out demonstrations",
        flush=True,
    )
    jobs = [
        ShapingJob(settings, arm, seed, value, folder / "videos")
        for seed in settings.study.seeds
        for arm in settings.study.arms or ARMS
    ]
    cells = {cell_name(settings, job.arm, job.seed): shaping_cell(job) for job in jobs}
    with one_writer(folder):
        todo = missing(list(cells.values()), folder)
        pending = [job for job in jobs if cells[cell_name(settings, job.arm, job.seed)] in todo]
        say_found(list(cells.values()), todo)
        make(todo, pending, run_cell, folder, settings.workers, lambda cell, result: _made(folder, cell, result))
        rebuild(folder)
    print((folder / "table.md").read_text())


def _made(folder: Path, cell: Cell, result: dict[str, Any]) -> None:
    rates = " ".join(f"{point['success']:.2f}" for point in result["curve"])
    print(f"  {cell.key}: {rates} ({result['seconds']:.0f} s)", flush=True)
    rebuild(folder)


def check(settings: ShapingStudyConfig) -> None:
    """Refuse before anything is trained what cannot work."""
    unknown = [arm for arm in settings.study.arms if arm not in ARMS]
    if unknown:
        raise ValueError(f"study.arms={unknown}: choose from {', '.join(ARMS)}")
    for seed in settings.study.seeds:
        seeds.train_block(seed, 1)
    if settings.valuefn.name in ("constant", "oracle"):
        raise ValueError(f"valuefn={settings.valuefn.name}: it cannot be read online; use viva_tiny")
    actions, task = settings.agent.actions, task_of(settings)
    if task.grasps and actions and "gripper" not in actions:
        raise ValueError(f"agent.actions=[{','.join(actions)}]: {task.name} needs the gripper; use agent=sac_grasp")
    if settings.agent.pixels and settings.task.image_size < 36:
        raise ValueError(f"task.image_size={settings.task.image_size}: agent.pixels needs at least 36 (NatureCNN)")
    check_common(data_settings(settings))
    check_device(settings.agent_device)


def shaping_cell(job: ShapingJob) -> Cell:
    """The cell of an arm under one seed, and the facts of its value that tables show."""
    settings, value = job.settings, job.value
    about = {"task": task_of(settings).name, "arm": job.arm, "seed": job.seed, "algorithm": algorithm_of(settings)}
    about |= {"threshold": settings.study.threshold, "budget": settings.agent.steps, "hz": settings.task.hz}
    about |= {"claim": value.claim, "claim_accuracy": value.claim_accuracy, "held_out": value.held_out}
    return Cell(cell_name(settings, job.arm, job.seed), identity(job), about | {"low": value.low, "high": value.high})
