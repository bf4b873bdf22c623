"""Cross-fitting: every episode is scored by a model that has not seen it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from episodes.progress import under
from episodes.store import Episodes, EpisodeStore
from episodes.workers import map_jobs
from networks.settings import LatentsConfig
from valuefns.make import load_value, make_value


@dataclass(frozen=True)
class FoldJob:
    """One fold: fit on `train`, score `held`; plain data, so that it can go to another process."""

    config: Any
    latents: LatentsConfig
    store: Path
    train: tuple[int, ...]
    held: tuple[int, ...]
    folder: Path
    seed: int
    device: str


def fold_of(episodes: int, folds: int, seed: int) -> np.ndarray:
    """Assign each episode to one of `folds` folds, sizes differing by one at most, int (episodes,)."""
    if not 1 <= folds <= episodes:
        raise ValueError(f"folds={folds}: choose 1 to {episodes}, the number of episodes")
    return np.random.default_rng(seed).permutation(np.arange(episodes) % folds)


def run_fold(job: FoldJob) -> list[np.ndarray]:
    """Fit one fold's model, save it, and return the values of its held-out episodes, each float32 (T + 1,).

    A model an interrupted run has already saved is loaded: only its scoring is done again.
    """
    with under(job.folder.name):
        return _fitted_and_scored(job)


def _fitted_and_scored(job: FoldJob) -> list[np.ndarray]:
    store = EpisodeStore.open(job.store)
    if (job.folder / "model.safetensors").exists():  # the last file that save writes
        value = load_value(job.folder, job.device, job.config.name)
    else:
        value = make_value(job.config, job.latents, job.seed, job.device).fit(store.select(job.train), job.folder)
        value.save(job.folder)
    return value.score_all(store.select(job.held))


def cross_fit(
    config: Any,
    latents: LatentsConfig,
    store: Episodes,
    folds: int,
    folder: Path,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 1,
) -> list[np.ndarray]:
    """Return the values of every episode of `store`, each float32 (T + 1,), by models that have not seen it.

    folds = 1 is the papers' choice: fit on everything, score the same episodes. The fold models are kept in
    folder/fold-k for online use. Ours: an over-fitted value is worse than none (it reproduces each episode's own
    outcome), which small data shows at once.
    """
    n = len(store)
    assigned = fold_of(n, folds, seed)
    place = np.array([row["episode_index"] for row in store.index])  # in the whole store, of which this may be a view
    jobs = [
        FoldJob(
            config, latents, store.path,
            tuple(place[assigned != k].tolist()) if folds > 1 else tuple(place.tolist()),
            tuple(place[assigned == k].tolist()),
            folder / f"fold-{k}", seed, device,
        )
        for k in range(folds)
    ]  # fmt: skip
    values: list[np.ndarray | None] = [None] * n
    for k, scores in enumerate(map_jobs(run_fold, jobs, workers)):
        for i, v in zip(np.flatnonzero(assigned == k), scores, strict=True):
            values[i] = v
    assert all(v is not None for v in values), "every episode belongs to exactly one fold"
    return [v for v in values if v is not None]
