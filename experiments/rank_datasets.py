"""Rank datasets, and filter their episodes, by a value's order correlation (VOC) on them.

    python experiments/rank_datasets.py stores=[data/lift,data/stack] valuefn.backend.model=gpt-4o
    python experiments/rank_datasets.py stores=[data/lift] backend=qwen device=cuda per_store=50
    python experiments/rank_datasets.py stores=[data/lift] valuefn=progress    # no model: the simulator's progress

A store is a folder of an EpisodeStore (`python -m experiments.import_data` makes one of a LeRobotDataset). Leaves in
runs/rank_datasets/<time>/: ranking.csv and ranking.md (one row per store), episodes.csv (one row per episode),
usage.json (tokens and cost), kept.json (which episodes each threshold keeps). Answers are cached: a second run is free.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf

from episodes.files import write_atomic
from episodes.stopping import refusing
from episodes.store import Episodes, EpisodeStore
from experiments.data.quality_tables import csv_text, episode_rows, kept_episodes, success_figures, table
from experiments.loop import schemas
from experiments.loop.run_folder import RunFolder, write_json
from experiments.loop.schemas import RankDatasetsConfig
from networks.settings import LatentsConfig
from valuefns.gvl.quality import Quality, dataset_quality
from valuefns.make import load_value, make_value
from valuefns.protocol import ValueFunction

schemas.register()


@hydra.main(config_path="conf", config_name="rank_datasets", version_base="1.3")
def main(config: DictConfig) -> None:
    with refusing("rank_datasets"):
        rank(config)


def rank(config: DictConfig) -> Path:
    """Score every store, write the files, print the ranking; return the run's folder."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, RankDatasetsConfig)
    stores = [_sample(EpisodeStore.open(path), settings) for path in _distinct(settings.stores)]
    value = _value(settings, stores)
    run = RunFolder("rank_datasets", config, f"VOC of {len(stores)} datasets by {settings.valuefn.name}")
    found: list[tuple[Episodes, Quality]] = []
    for store in stores:
        with run.stage(str(store.path)):
            if not settings.checkpoint and (settings.valuefn.name != "gvl" or settings.valuefn.shots):
                value.fit(store)
            found.append((store, dataset_quality(value, store)))
    ranking = sorted(
        ({"store": str(s.path), **q.row(), **success_figures(s, q, settings.threshold)} for s, q in found),
        key=lambda row: -np.inf if np.isnan(row["voc"]) else row["voc"],
        reverse=True,
    )
    write_atomic(run.path / "ranking.csv", csv_text(ranking))
    write_atomic(run.path / "ranking.md", table(ranking))
    write_atomic(run.path / "episodes.csv", csv_text([row for s, q in found for row in episode_rows(s, q)]))
    write_json(run.path / "kept.json", {str(s.path): kept_episodes(s, q) for s, q in found})
    if hasattr(value, "backend"):
        write_json(run.path / "usage.json", value.backend.report())
        print(json.dumps({k: v for k, v in value.backend.report().items() if v not in (0, None, {})}), flush=True)
    run.finish()
    print(table(ranking), f"\n{run.path}", sep="\n", flush=True)
    return run.path


def _value(settings: RankDatasetsConfig, stores: list[Episodes]) -> ValueFunction:
    if settings.checkpoint:
        return load_value(Path(settings.checkpoint), settings.device)
    if settings.valuefn.name == "viva":
        raise ValueError("valuefn=viva must have been trained: give checkpoint=FOLDER, or use valuefn=gvl")
    return make_value(settings.valuefn, LatentsConfig(), settings.seed, settings.device)


def _distinct(paths: list[str]) -> list[str]:
    if not paths or len(set(paths)) != len(paths):
        raise ValueError(f"stores={list(paths)}: name at least one store, each once")
    return list(paths)


def _sample(store: EpisodeStore, settings: RankDatasetsConfig) -> Episodes:
    if not len(store):
        raise ValueError(f"{store.path}: has no episodes; leave it out")
    if not settings.per_store or settings.per_store >= len(store):
        return store
    chosen = np.random.default_rng(settings.seed).permutation(len(store))[: settings.per_store]
    return store.select(sorted(chosen.tolist()))


if __name__ == "__main__":
    main()
