"""The study of what values look at: its missing cells, then its table."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from episodes.store import EpisodeStore
from experiments.bench.schemas import SightConfig
from experiments.bench.sight import make_pairs, measure_sight
from experiments.loop.checks import check_common
from experiments.loop.pinned import pin
from experiments.loop.stages import collect, score
from experiments.loop.value_report import episode_facts, value_metrics
from experiments.studies.engine import Cell, identity, make, missing, one_writer, say_found
from experiments.studies.methods import task_name
from experiments.studies.sight_table import rebuild


def run_all(config: DictConfig) -> None:
    """Measure the missing cells of one task and data seed, then rebuild the table of all."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, SightConfig)
    settings, _ = pin(settings)  # the commits are in each cell's settings
    check(settings)
    folder = Path(settings.study.results)
    with one_writer(folder):
        cells = [sight_cell(settings, name) for name in settings.study.values]
        todo = missing(cells, folder)
        say_found(cells, todo, f"{task_name(settings)}, seed {settings.seed}")
        if todo:
            names = [cell.about["value"] for cell in todo]
            store = collect(settings)
            facts = episode_facts(store)
            jobs = [(replace(settings, valuefn=settings.values[name]), store, facts) for name in names]
            make(todo, jobs, measured, folder, say=_said)
        table = rebuild(folder)
    print(table)


def _said(cell: Cell, result: dict[str, Any]) -> None:
    means = {row["name"]: round(row["mean"], 3) for row in result["rows"] if row["mean"] is not None}
    seconds = result["train_and_score_cpu_seconds"]
    print(f"  {cell.key}: looks {result['looks']}, {seconds:.0f} CPU-s; {json.dumps(means)}", flush=True)


def check(settings: SightConfig) -> None:
    """Raise a ValueError naming the first setting that cannot work, before anything is recorded."""
    if unknown := [name for name in settings.study.values if name not in settings.values]:
        raise ValueError(
            f"study.values={unknown}: choose from {', '.join(settings.values)}, or add +valuefn@values.mine=viva_tiny"
        )
    for name in settings.study.values:
        check_common(replace(settings, valuefn=settings.values[name]))


def measured(job: tuple[SightConfig, EpisodeStore, list[dict[str, Any]]]) -> dict[str, Any]:
    """Train (or find in the cache) and measure one value."""
    settings, store, facts = job
    started = _cpu_seconds()
    values, place = score(settings, store, settings.valuefn, workers=settings.workers)
    seconds = _cpu_seconds() - started
    study = settings.study
    pairs = make_pairs(settings, study.pairs, study.split)
    progress = [fact["progress"] for fact in facts]
    sight = measure_sight(settings, store, values, progress, place, study.episodes // settings.folds, pairs)
    return {"train_and_score_cpu_seconds": seconds} | sight | {"metrics": value_metrics(facts, values)}


def _cpu_seconds() -> float:
    """Of this process and its finished workers."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def sight_cell(settings: SightConfig, name: str) -> Cell:
    """The cell of a value: it depends on the loop's settings up to the value, and on what is measured."""
    later = ("study", "values", "methods", "preset", "policy", "labeller", "evaluation", "iterations", "rollouts")
    facts = identity(replace(settings, valuefn=settings.values[name]), *later, "corrections", "takeover")
    facts["study"] = {part: getattr(settings.study, part) for part in ("episodes", "pairs", "split")}
    task = task_name(settings)
    return Cell(f"{task}-seed{settings.seed}-{name}", facts, {"task": task, "value": name, "seed": settings.seed})
