"""Rank datasets, and filter their episodes, by a value's order correlation (VOC) on them.

    python experiments/rank_datasets.py stores=[data/lift,data/stack] valuefn.backend.model=gpt-4o
    python experiments/rank_datasets.py stores=[data/lift] backend=qwen device=cuda per_store=50
    python experiments/rank_datasets.py stores=[data/lift] valuefn=progress    # no model: the simulator's progress

A store is a folder of an EpisodeStore (`python -m experiments.import_data` makes one of a LeRobotDataset). Leaves in
runs/rank_datasets/<time>/: ranking.csv and ranking.md (one row per store), episodes.csv (one row per episode),
usage.json (tokens and cost), kept.json (which episodes each threshold keeps). Answers are cached: a second run is free.
"""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf

from episodes.files import write_atomic
from episodes.store import Episodes, EpisodeStore
from experiments.loop import schemas
from experiments.loop.checks import refusing
from experiments.loop.run_folder import RunFolder, write_json
from experiments.loop.schemas import RankDatasetsConfig
from networks.settings import LatentsConfig
from valuefns.gvl.quality import Quality, dataset_quality, keep
from valuefns.gvl.success import THRESHOLDS, threshold_sweep
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
        ({"store": str(s.path), **q.row(), **_success(s, q, settings.threshold)} for s, q in found),
        key=lambda row: -np.inf if np.isnan(row["voc"]) else row["voc"],
        reverse=True,
    )
    write_atomic(run.path / "ranking.csv", _csv(ranking))
    write_atomic(run.path / "ranking.md", table(ranking))
    write_atomic(run.path / "episodes.csv", _csv([row for s, q in found for row in _episode_rows(s, q)]))
    write_json(run.path / "kept.json", {str(s.path): _kept(s, q) for s, q in found})
    if hasattr(value, "backend"):
        write_json(run.path / "usage.json", value.backend.report())
        print(json.dumps({k: v for k, v in value.backend.report().items() if v not in (0, None, {})}), flush=True)
    run.finish()
    print(table(ranking), f"\n{run.path}", sep="\n", flush=True)
    return run.path


def table(ranking: list[dict[str, Any]]) -> str:
    """The ranking as a table of text."""
    lines = ["| store | VOC | 95 % | defined | episodes | chance spread | missing values | GVL-SD acc / prec / rec |"]
    lines.append("|" + "---|" * 8)
    for row in ranking:
        told = " / ".join(f"{row[k]:.2f}" for k in ("accuracy", "precision", "recall"))
        lines.append(
            f"| {row['store']} | {row['voc']:.2f} | {row['voc_low']:.2f} to {row['voc_high']:.2f} "
            f"| {row['defined']:.2f} | {row['episodes']} | {row['null_spread']:.3f} "
            f"| {row['missing_values']} | {told} |"
        )
    return "\n".join(lines) + "\n"


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


def _success(store: Episodes, quality: Quality, threshold: float) -> dict[str, float]:
    sweep = threshold_sweep(quality.vocs, [row["success"] for row in store.index], (threshold,))
    return {k: sweep[0][k] for k in ("kept", "accuracy", "precision", "recall")}


def _kept(store: Episodes, quality: Quality) -> dict[str, Any]:
    numbers = [row["episode_index"] for row in store.index]
    return {
        "kept": {f"{t:g}": [numbers[i] for i in keep(quality.vocs, t)] for t in THRESHOLDS},
        "sweep": threshold_sweep(quality.vocs, [row["success"] for row in store.index]),
    }


def _episode_rows(store: Episodes, quality: Quality) -> list[dict[str, Any]]:
    return [
        {"store": str(store.path), "episode": row["episode_index"], "voc": voc, "values": n, "missing": missing,
         "success": row["success"], "variant": row["variant"]}
        for row, voc, n, missing in zip(store.index, quality.vocs, quality.frames, quality.missing, strict=True)
    ]  # fmt: skip


def _csv(rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


if __name__ == "__main__":
    main()
