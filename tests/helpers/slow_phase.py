"""A made store with everything that labels went wrong on: time-outs, a slow phase, successes of different length."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from episodes.store import EpisodeStore
from tests.helpers.made_lift import SPEC, made_episode

LIMIT = 160  # steps
SPEED = np.array([0.02] * 5 + [0.004] * 2 + [0.02] * 3)  # progress per step, by tenth: lowering is slow


def advancing(rng: np.random.Generator, until: float = 1.0) -> np.ndarray:
    """Staged progress of frames from 0 to `until`, at the pace of each phase, a little different every time."""
    p = [0.0]
    while p[-1] < until:
        p.append(p[-1] + SPEED[min(int(10 * p[-1]), 9)] * rng.uniform(0.8, 1.2))
    return np.array([*p[:-1], until])


def expected_value(progress: np.ndarray) -> np.ndarray:
    """ViVa's scale, task time cost: 1 less half the steps to go at each phase's pace, over the limit."""
    edges = np.linspace(0, 1, 11)
    to_go = np.r_[np.cumsum((0.1 / SPEED)[::-1])[::-1], 0.0]
    return 1 - np.interp(progress, edges, to_go) / (2 * LIMIT)


def made_store(path: Path, seed: int, successes: int = 110, timeouts: int = 40) -> EpisodeStore:
    """Successes that advance at their phase's pace, and time-outs that stop somewhere and stay until the limit."""
    rng = np.random.default_rng(seed)
    store = EpisodeStore.create(path, replace(SPEC, max_steps=LIMIT))
    curves = [(advancing(rng), True) for _ in range(successes)]
    for _ in range(timeouts):
        p = advancing(rng, rng.uniform(0.2, 0.8))
        curves.append((np.r_[p, np.full(LIMIT + 1 - len(p), p[-1])][: LIMIT + 1], False))
    store.append(
        replace(made_episode(i, len(p) - 1, success), progress=p.astype(np.float32))
        for i, (p, success) in enumerate(curves)
    )
    store.close()
    return EpisodeStore.open(path)
