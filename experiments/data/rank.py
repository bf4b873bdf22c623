"""Data sets, and their episodes, ranked by a value's order correlation (VOC)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from episodes.files import write_atomic
from episodes.store import Episodes, EpisodeStore
from experiments.data.labelling import require_applied, require_unseen
from experiments.data.quality_tables import csv_text, episode_rows, kept_episodes, success_figures, table
from experiments.data.schemas import pair
from experiments.loop.pinned import pin
from experiments.loop.run_folder import RunFolder, write_json
from experiments.loop.schemas import RankDatasetsConfig
from networks.settings import LatentsConfig
from valuefns.gvl.quality import Quality, dataset_quality
from valuefns.make import load_value, make_value
from valuefns.protocol import ValueFunction
from valuefns.saved import SavedValue
from valuefns.views import require_store


def run_all(config: DictConfig) -> Path:
    """Score every store, write the files, print the ranking; return the run's folder."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, RankDatasetsConfig)
    size = pair(settings.image_size)
    stores = [_sample(EpisodeStore.open(path, image_size=size), settings) for path in _distinct(settings.stores)]
    if not settings.checkpoint:
        require_applied(settings.valuefn, "ranks")
    settings = pin(settings)[0]
    value = _value(settings, stores)
    given = bool(settings.checkpoint) or isinstance(value, SavedValue)
    for store in stores if given else ():  # before the first is scored
        require_store(value, store)
        require_unseen(value, store)
    run = RunFolder("rank_datasets", config, f"VOC of {len(stores)} datasets by {settings.valuefn.name}")
    found: list[tuple[Episodes, Quality]] = []
    for store in stores:
        with run.stage(str(store.path)):
            if not given and (settings.valuefn.name != "gvl" or settings.valuefn.shots):
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
        return load_value(settings.checkpoint, settings.device)
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
