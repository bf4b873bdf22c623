"""The value of the reward-shaping study: trained once, kept, with its scale and its threshold of success."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.settings import ExtractionConfig
from episodes.store import EpisodeStore
from experiments.loop.addresses import digest
from experiments.loop.cached import cached
from experiments.loop.run_folder import read_json, write_json
from experiments.loop.schemas import RecapSimConfig, ShapingStudyConfig
from experiments.loop.stages import CACHE_FORMAT, collect, fit_latents
from experiments.studies.shaping.levels import BINS, levels
from valuefns.make import load_value, make_value
from valuefns.protocol import ValueFunction
from valuefns.settings import APPLIED
from valuefns.shaping.readers import version_of
from valuefns.shaping.terms import matched
from valuefns.trained_on import seen_episodes

HELD_OUT = 5  # every fifth demonstration is not trained on: scale and threshold come from these


@dataclass(frozen=True)
class ShapingValue:
    """Where a trained value lies and what its numbers mean."""

    folder: str
    version: str
    low: float  # mean value of first observations
    high: float  # mean value at the end of successes
    claim: float  # "the model says success": the value stays at or above it for `hold_steps` frames
    claim_accuracy: float  # balanced accuracy of that on the held-out demonstrations
    pool: tuple[float, ...]  # values of held-out frames, for the shuffled control
    held_out: dict[str, Any]  # `levels` of the held-out demonstrations


def data_settings(settings: ShapingStudyConfig) -> RecapSimConfig:
    """The settings of the demonstrations and the value, as every experiment says them."""
    return RecapSimConfig(
        task=settings.task, collect=settings.collect, latents=settings.latents, valuefn=settings.valuefn,
        policy=None, labeller=ExtractionConfig(), evaluation=settings.evaluation, seed=settings.seed,
        device=settings.device, workers=settings.workers, runs=settings.runs, cache=settings.cache,
    )  # fmt: skip


def prepare_value(settings: ShapingStudyConfig) -> ShapingValue:
    """Train the value on four fifths of the demonstrations, or find it in the cache."""
    data = data_settings(settings)
    store = collect(data)
    key = digest(
        CACHE_FORMAT, "shaping", store.content_hash, settings.valuefn, settings.latents, settings.seed,
        settings.task.hold_steps, BINS,
    )  # fmt: skip
    place = Path(settings.cache) / "shaping" / key
    return cached(place, "facts.json", partial(_train, data, store), _kept)


def _kept(place: Path) -> ShapingValue:
    facts = read_json(place / "facts.json", dict, "delete its folder and run the same command again")
    return ShapingValue(**(facts | {"pool": tuple(facts["pool"])}))


def _train(settings: RecapSimConfig, store: EpisodeStore, place: Path) -> None:
    held = range(0, len(store), HELD_OUT)
    latents = fit_latents(settings, store, settings.valuefn)
    value = make_value(settings.valuefn, latents, settings.seed, settings.device)
    value.fit(store.select([i for i in range(len(store)) if i % HELD_OUT]), place / "training")
    value.save(place / "value")
    if seen := seen_episodes(getattr(value, "trained_on", None), store.select(held)):
        print(
            f"  WARNING: the value's scale comes from {len(held)} demonstrations; it was trained on {len(seen)} of them"
        )
    episodes = [store[i] for i in held]
    values, success = [value.score(e) for e in episodes], np.array([e.success for e in episodes])
    low, high = matched([v[0] for v in values], [v[-1] for v, s in zip(values, success, strict=True) if s])
    best = np.array([held_level(v, settings.task.hold_steps) for v in values])
    claim, accuracy = separate(best, success)
    frames = np.concatenate(values)
    pool = frames[np.linspace(0, len(frames) - 1, min(len(frames), 500)).astype(int)]
    facts = {
        "folder": str(place / "value"), "version": version_of(value), "low": low, "high": high,
        "claim": claim, "claim_accuracy": accuracy, "pool": [float(x) for x in pool],
        "held_out": levels(values, [e.progress for e in episodes]),
    }  # fmt: skip
    write_json(place / "facts.json", facts)


def applied_value(settings: ShapingStudyConfig, folder: str) -> ValueFunction:
    """The value that a study reads: the one trained for it, or the saved one that it is given."""
    if isinstance(settings.valuefn, APPLIED):
        return make_value(settings.valuefn, settings.latents, settings.seed, settings.device)
    return load_value(Path(folder), settings.device, settings.valuefn.name)


def held_level(values: npt.NDArray[np.floating], frames: int) -> float:
    """The highest level that the values (T,) keep for `frames` frames in a row: max_t min(v_t .. v_t+frames-1)."""
    frames = min(frames, len(values))
    return float(np.lib.stride_tricks.sliding_window_view(values, frames).min(axis=1).max())


def separate(levels: npt.NDArray[np.floating], success: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """The threshold (and its balanced accuracy) that best tells successes from failures: success where level >= it."""
    if success.all() or not success.any():
        raise ValueError(f"{success.sum()} of {len(success)} held-out demonstrations succeed; record both kinds")
    order = np.unique(levels)
    cuts = np.append((order[1:] + order[:-1]) / 2, order[0]) if len(order) > 1 else order
    scores = [((levels >= c)[success].mean() + (levels < c)[~success].mean()) / 2 for c in cuts]
    k = int(np.argmax(scores))
    return float(cuts[k]), float(scores[k])
