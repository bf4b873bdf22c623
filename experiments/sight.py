"""Does the value look? Every probe, on held-out demonstrations and counterfactual pictures, over tasks and seeds.

    python experiments/sight.py -m task=lift,stack,pick_place_can seed=0,1,2
    python experiments/sight.py task=lift seed=90 study.split=tune study.values=[viva]

A cell is one value on one task under one data seed and leaves <study.results>/cells/*.json; the same command skips the
cells that are there, and table.md is rebuilt from them alone. Values are the cross-fitted ones that the loop would use.
"""

from __future__ import annotations

import json
import os
import resource
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two busy processes with two threads each collapse on two cores

import hydra
from omegaconf import DictConfig, OmegaConf

from episodes.store import EpisodeStore
from experiments import bench_schemas
from experiments.bench_schemas import SightConfig
from experiments.checks import check_common, refusing
from experiments.method_study import first_difference, task_name
from experiments.pinned import pin
from experiments.run_folder import NOT_IDENTITY, command_line, read_json, write_json
from experiments.sight_stages import make_pairs, measure_sight
from experiments.sight_table import AGAIN, rebuild
from experiments.stages import collect, score
from experiments.value_report import truths, value_metrics

bench_schemas.register()


@hydra.main(config_path="conf", config_name="sight", version_base="1.3")
def main(config: DictConfig) -> None:
    with refusing("sight"):
        run_all(config)


def run_all(config: DictConfig) -> None:
    """Measure the missing cells of one task and data seed, then rebuild the table of all."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, SightConfig)
    settings, _ = pin(settings)  # the commits are in each cell's settings
    check(settings)
    pending = [name for name in settings.study.values if not done(settings, name)]
    if pending:
        print(f"{task_name(settings)}, seed {settings.seed}: {', '.join(pending)}", flush=True)
        store = collect(settings)
        facts = truths(store)
        for name in pending:
            write_json(
                cell_path(settings, name), cell(replace(settings, valuefn=settings.values[name]), name, store, facts)
            )
    print(rebuild(Path(settings.study.results)))


def check(settings: SightConfig) -> None:
    """Raise a ValueError naming the first setting that cannot work, before anything is recorded."""
    if unknown := [name for name in settings.study.values if name not in settings.values]:
        raise ValueError(
            f"study.values={unknown}: choose from {', '.join(settings.values)}, or add +valuefn@values.mine=viva_tiny"
        )
    for name in settings.study.values:
        check_common(replace(settings, valuefn=settings.values[name]))


def cell(settings: SightConfig, name: str, store: EpisodeStore, facts: list[dict[str, Any]]) -> dict[str, Any]:
    """Train (or find in the cache) and measure one value."""
    started = _cpu_seconds()
    values, place = score(settings, store, settings.valuefn, workers=settings.workers)
    seconds = _cpu_seconds() - started
    study = settings.study
    pairs = make_pairs(settings, study.pairs, study.split)
    progress = [fact["progress"] for fact in facts]
    sight = measure_sight(settings, store, values, progress, place, study.episodes // settings.folds, pairs)
    said = {row["name"]: row["mean"] for row in sight["rows"]}
    print(
        f"  {name}: looks {sight['looks']}, {seconds:.0f} CPU-s; "
        + json.dumps({k: round(v, 3) for k, v in said.items()})
    )
    head = {"task": task_name(settings), "value": name, "seed": settings.seed, "command": command_line()}
    head |= {"settings": identity(settings), "train_and_score_cpu_seconds": seconds}
    return head | sight | {"metrics": value_metrics(facts, values)}


def _cpu_seconds() -> float:
    """Of this process and its finished workers."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def done(settings: SightConfig, name: str) -> bool:
    """Whether the value's cell is there; one that other settings made is a ValueError."""
    path = cell_path(settings, name)
    if not path.exists():
        return False
    made = read_json(path, dict, AGAIN).get("settings")
    if changed := first_difference(made, identity(replace(settings, valuefn=settings.values[name]))):
        raise ValueError(f"{path}: made with {changed}; use another study.results, or remove that file")
    return True


def identity(settings: SightConfig) -> dict[str, Any]:
    """What a cell depends on, as plain json: the loop's settings up to the value, and what is measured."""
    later = ("study", "values", "methods", "preset", "policy", "labeller", "evaluation", "iterations", "rollouts")
    facts = {k: v for k, v in asdict(settings).items() if k not in (*NOT_IDENTITY, *later, "corrections", "takeover")}
    measured = {name: getattr(settings.study, name) for name in ("episodes", "pairs", "split")}
    plain = json.loads(json.dumps(facts | {"study": measured}, default=str))
    assert isinstance(plain, dict)
    return plain


def cell_path(settings: SightConfig, name: str) -> Path:
    return Path(settings.study.results) / "cells" / f"{task_name(settings)}-seed{settings.seed}-{name}.json"


if __name__ == "__main__":
    main()
