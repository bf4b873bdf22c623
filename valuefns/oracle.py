"""The value that knows: the time still to go from the simulator's own task progress, in ViVa's scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from episodes.store import Episodes
from episodes.types import Episode
from valuefns.protocol import ValueFunction
from valuefns.settings import OracleConfig


class OracleValue(ValueFunction):
    """V_t = 1 - G(p_t) / 2, G(p) the expected steps to success from staged progress p, as a share of the time limit.

    G is the isotonic (falling) least-squares fit of the remaining steps of the successes it was fitted on, over
    max_steps of their EnvSpec, between 0 and 1. Staged progress itself is no such value: it rises fast while the arm
    travels and slowly while it grasps or lowers, so that slow but necessary steps would look bad.
    Its advantages go with `advantage.time_cost=task`. Ours: an upper control for learned values; privileged, never the
    default. Errors (ValueError): no success to fit, an episode whose progress is unknown.
    """

    name = OracleConfig.name
    settings = OracleConfig

    def __init__(self, config: OracleConfig | None = None) -> None:
        self.config = config or OracleConfig()
        self.progress: npt.NDArray[np.float64] = np.empty(0)  # (N,), rising
        self.to_go: npt.NDArray[np.float64] = np.empty(0)  # (N,), falling, in shares of the time limit

    def fit(self, store: Episodes, folder: Path | None = None) -> OracleValue:
        won = [row["success"] for row in store.index]
        if not any(won):
            raise ValueError(f"oracle value: no episode of {store.path} succeeded, so nothing tells the time to go")
        progress, remaining = [], []
        for p, success in zip(store.column("progress"), won, strict=True):
            if success:
                progress.append(_known(p, str(store.path)))
                remaining.append(np.arange(len(p) - 1, -1, -1))
        x, y = np.concatenate(progress).astype(np.float64), np.concatenate(remaining) / store.spec.max_steps
        self.progress, place, count = np.unique(x, return_inverse=True, return_counts=True)
        means = np.bincount(place, y) / count
        self.to_go = np.minimum(isotonic_regression(means, weights=count, increasing=False).x, 1.0)
        return self

    def score(self, episode: Episode, causal: bool = False) -> np.ndarray:
        assert len(self.progress), "fit the value first"
        p = _known(episode.progress, f"the episode with seed {episode.provenance.seed}")
        return (1 - np.interp(p, self.progress, self.to_go) / 2).astype(np.float32)


def _known(progress: np.ndarray, what: str) -> np.ndarray:
    if np.isnan(progress).any():
        raise ValueError(f"oracle value: {what} has no simulator progress; use viva")
    return progress
