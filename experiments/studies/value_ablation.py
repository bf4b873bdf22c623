"""Ablations of a value function on the value benchmark: a cell is one row of the table under one seed."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from episodes.files import one_line, write_atomic
from experiments.bench.schemas import AblationRowConfig, ValueAblationConfig
from experiments.bench.stages import fitted, make_bench, tested_of, training_episodes
from experiments.loop.checks import check_device
from experiments.studies.ablation_table import table
from experiments.studies.engine import Cell, make, missing, one_writer, plain, read, say_found
from valuefns.bench.generate import Bench
from valuefns.bench.scorecard import score_model


def run_all(config: DictConfig) -> None:
    """Run the missing cells, then rebuild the table."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, ValueAblationConfig)
    check(settings)
    folder = Path(settings.results) / settings.ablation.name
    with one_writer(folder):
        wanted = [(name, seed) for seed in settings.seeds for name in settings.rows or settings.ablation.rows]
        cells = [row_cell(settings, name, seed) for name, seed in wanted]
        todo = missing(cells, folder)
        say_found(cells, todo)
        if todo:
            bench = make_bench(settings)
            jobs = [(replace(settings, seed=cell.about["seed"]), cell.about["row"], bench) for cell in todo]
            make(todo, jobs, run_cell, folder, say=_said)
        rebuild(folder, settings)
    print((folder / "table.md").read_text())


def rebuild(folder: Path, settings: ValueAblationConfig) -> None:
    """Make table.md from the cells."""
    rows = {name: (row.what, list(row.leave_out)) for name, row in settings.ablation.rows.items()}
    write_atomic(folder / "table.md", table(rows, read(folder)))


def _said(cell: Cell, result: dict[str, Any]) -> None:
    print(f"{cell.key}: trained in {result['train_seconds']:.0f} s", flush=True)


def check(settings: ValueAblationConfig) -> None:
    """Raise a ValueError naming the first setting that cannot work, before anything is trained."""
    rows = settings.ablation.rows
    if unknown := [name for name in settings.rows if name not in rows]:
        raise ValueError(f"rows={unknown}: {settings.ablation.name} has {', '.join(rows)}")
    if settings.ablation.model not in settings.valuefns:
        raise ValueError(f"ablation.model={settings.ablation.model!r}: choose {', '.join(settings.valuefns)}")
    if not settings.seeds or len(set(settings.seeds)) != len(settings.seeds):
        raise ValueError(f"seeds={list(settings.seeds)}: name at least one, each once")
    for name in rows:
        changed(settings, name)
    check_device(settings.device)


def changed(settings: ValueAblationConfig, name: str) -> Any:
    """The model's settings with a row's changes; an unknown or mistyped one is a ValueError that names the row."""
    return with_changes(settings.valuefns[settings.ablation.model], settings.ablation.rows[name], name)


def with_changes(config: Any, row: AblationRowConfig, name: str) -> Any:
    """A copy of the settings `config` with the row's changes."""
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(config), row.set))
    except OmegaConfBaseException as error:
        line = str(error).splitlines()[0]
        raise ValueError(one_line(f"ablation row {name!r}: {line}; correct its `set`")) from None


def row_cell(settings: ValueAblationConfig, name: str, seed: int) -> Cell:
    """The cell of a row under one seed, with all settings that shape it."""
    row = settings.ablation.rows[name]
    facts = {k: asdict(settings)[k] for k in ("bench", "data", "latents", "train_on", "train_tasks", "probe_experts")}
    facts |= {"value": asdict(changed(settings, name)), "leave_out": list(row.leave_out), "seed": seed}
    return Cell(f"{name}-seed{seed}", plain(facts), {"row": name, "seed": seed})


def run_cell(job: tuple[ValueAblationConfig, str, Bench]) -> dict[str, Any]:
    """Train one row under one seed and score it on the test episodes."""
    settings, name, bench = job
    config, left_out = changed(settings, name), settings.ablation.rows[name].leave_out
    tasks = [task for task in settings.train_tasks or settings.bench.tasks if task not in left_out]
    store = training_episodes(bench, settings.train_on, tasks)
    started = time.monotonic()
    value = fitted(settings, config, store)
    seconds = time.monotonic() - started
    result = score_model(name, value, bench.store, tested_of(bench), settings.probe_experts)
    episodes = [
        {"episode": s.annotation.episode, "task": s.annotation.task, "kind": s.annotation.kind, "scores": s.scores}
        for s in result.episodes
    ]
    failures = [{"episode": f.episode, "reason": f.reason} for f in result.failures]
    facts = {"train_seconds": seconds, "train_episodes": len(store)}
    return facts | {"episodes": episodes, "failures": failures}
