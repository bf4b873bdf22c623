"""Predictors that know nothing, or everything, and episodes changed so that only a shortcut still scores well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from episodes.store import Episodes
from episodes.types import Episode
from valuefns.protocol import ValueFunction
from valuefns.settings import ClockConfig, ProgressConfig, RandomConfig


class _Probe(ValueFunction):
    """A predictor that is not learned; p_t in progress units becomes V = (1 + p) / 2."""

    settings = None  # the name says all

    def fit(self, store: Episodes, folder: Path | None = None) -> ValueFunction:
        return self

    def progress(self, episode: Episode) -> np.ndarray:
        raise NotImplementedError

    def score(self, episode: Episode, causal: bool = False) -> np.ndarray:
        return ((1 + self.progress(episode)) / 2).astype(np.float32)


class ClockValue(_Probe):
    """p_t = t / (T - 1): perfect value order without a look at the robot; it knows the episode's length."""

    name = ClockConfig.name

    def progress(self, episode: Episode) -> np.ndarray:
        """t / (T - 1), (T + 1,)."""
        return np.minimum(np.arange(len(episode) + 1) / max(len(episode) - 1, 1), 1.0)


class RandomValue(_Probe):
    """p_t uniform in [0, 1], drawn anew for every frame from the episode's seed."""

    name = RandomConfig.name

    def progress(self, episode: Episode) -> np.ndarray:
        """Uniform draws, (T + 1,), the same for the same episode."""
        return np.random.default_rng([abs(episode.provenance.seed), len(episode)]).random(len(episode) + 1)


class ProgressValue(_Probe):
    """p_t = the simulator's staged progress, as the environment reports it (privileged); unknown is a ValueError."""

    name = ProgressConfig.name

    def progress(self, episode: Episode) -> np.ndarray:
        """The simulator's progress, (T + 1,)."""
        if np.isnan(episode.progress).any():
            raise ValueError(f"progress: the episode with seed {episode.provenance.seed} has no simulator progress")
        return episode.progress


PROBES = {probe.name: probe for probe in (ClockValue, RandomValue, ProgressValue)}
"""What needs no training."""


def _frames(episode: Episode, order: np.ndarray) -> Episode:
    return replace(
        episode,
        images={camera: frames[order] for camera, frames in episode.images.items()},
        proprio=episode.proprio[order],
        progress=episode.progress[order],
    )


def reversed_video(episode: Episode) -> Episode:
    """The same observations in reverse order: a value of the state falls, a clock rises all the same."""
    return _frames(episode, np.arange(len(episode) + 1)[::-1])


def static_video(episode: Episode) -> Episode:
    """The first observation at every frame: a value of the state is constant, so its order is undefined."""
    return _frames(episode, np.zeros(len(episode) + 1, int))


def wrong_instruction(episode: Episode, instruction: str) -> Episode:
    """The same video with another task's instruction."""
    return replace(episode, instruction=instruction)


def black_pictures(episode: Episode) -> Episode:
    """The same episode with every picture black."""
    return replace(episode, images={camera: np.zeros_like(frames) for camera, frames in episode.images.items()})


def aligned(episode: Episode, other: Episode) -> np.ndarray:
    """Frames (T + 1,) of `other` at the same shares of its time."""
    return np.round(np.linspace(0, len(other), len(episode) + 1)).astype(int)


def random_times(episode: Episode, other: Episode, seed: int = 0) -> np.ndarray:
    """Frames (T + 1,) of `other`, each drawn by itself: no trace of when."""
    rng = np.random.default_rng([seed, abs(episode.provenance.seed), len(episode)])
    return rng.integers(len(other) + 1, size=len(episode) + 1)


def foreign_pictures(episode: Episode, other: Episode, times: np.ndarray) -> Episode:
    """The same episode with the pictures that `other` shows at its frames `times` (T + 1,)."""
    return replace(episode, images={camera: other.images[camera][times] for camera in episode.images})


def foreign_proprio(episode: Episode, other: Episode, times: np.ndarray) -> Episode:
    """The same episode with the proprioception of `other` at its frames `times` (T + 1,)."""
    return replace(episode, proprio=other.proprio[times])


def frozen_proprio(episode: Episode) -> Episode:
    """The same episode with the first frame's proprioception throughout."""
    return replace(episode, proprio=np.repeat(episode.proprio[:1], len(episode) + 1, axis=0))
