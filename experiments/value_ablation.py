"""Ablations of a value function on the value benchmark: one command per table, in cells, with resume.

    python experiments/value_ablation.py ablation=viva                       # rows x seeds; finished cells are skipped
    python experiments/value_ablation.py ablation=viva rows=[full] seeds=[0]

A cell is one row under one seed and leaves <results>/<table>/cells/<row>-seed<k>.json; the table is rebuilt from those
files alone. A row is an entry of experiments/conf/ablation/*.yaml.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from episodes.files import one_line, write_atomic
from experiments import bench_schemas
from experiments.ablation_table import table
from experiments.bench_schemas import AblationRowConfig, ValueAblationConfig
from experiments.bench_stages import fitted, make_bench, tested_of, training_episodes
from experiments.checks import check_device, refusing
from experiments.run_folder import command_line, digest, read_json, write_json
from valuefns.bench.generate import Bench
from valuefns.bench.scorecard import score_model

bench_schemas.register()

AGAIN = "delete it, it is made anew"


@hydra.main(config_path="conf", config_name="value_ablation", version_base="1.3")
def main(config: DictConfig) -> None:
    with refusing("value_ablation"):
        run_all(config)


def run_all(config: DictConfig) -> None:
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, ValueAblationConfig)
    rows = settings.ablation.rows
    check(settings)
    folder = Path(settings.results) / settings.ablation.name
    bench: Bench | None = None  # made when the first cell needs it
    for seed in settings.seeds:
        for name in settings.rows or rows:
            path = folder / "cells" / f"{name}-seed{seed}.json"
            if path.exists():
                if read_json(path, dict, AGAIN).get("made_by") != made_by(settings, name):
                    raise ValueError(f"{path}: made with other settings; use another `results`, or remove that folder")
                continue
            print(f"{name}, seed {seed} ...", flush=True)
            bench = bench or make_bench(settings)
            cell = run_cell(replace(settings, seed=seed), name, bench)
            write_json(path, cell)
            print(f"{name}, seed {seed}: trained in {cell['train_seconds']:.0f} s", flush=True)
    cells = [read_json(path, dict, AGAIN) for path in sorted((folder / "cells").glob("*.json"))]
    what = {name: (row.what, list(row.leave_out)) for name, row in rows.items()}
    text = table(command_line(), what, [c for c in cells if c["row"] in rows])
    write_atomic(folder / "table.md", text)
    print(text)


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


def made_by(settings: ValueAblationConfig, name: str) -> str:
    """All settings that shape a row's cells, but their seed."""
    row = settings.ablation.rows[name]
    data = (settings.bench, settings.data, settings.latents, settings.train_on, settings.train_tasks, row.leave_out)
    return digest(changed(settings, name), *data, settings.probe_experts)


def run_cell(settings: ValueAblationConfig, name: str, bench: Bench) -> dict[str, Any]:
    """Train one row under one seed and score it on the test episodes."""
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
    facts = {"row": name, "seed": settings.seed, "train_seconds": seconds, "train_episodes": len(store)}
    return facts | {"made_by": made_by(settings, name), "episodes": episodes, "failures": failures}


if __name__ == "__main__":
    main()
