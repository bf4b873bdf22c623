"""Few runs on several tasks: interquartile mean, stratified bootstrap, probability of improvement.

Scores are (R, M): R runs (seeds) of each of M tasks. Source: Agarwal et al. (2021), "Deep Reinforcement Learning at the
Edge of the Statistical Precipice", section 4; the same estimators as its library rliable (percentile bootstrap).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from episodes.intervals import check_level

Floats = npt.NDArray[np.float64]


def iqm(scores: npt.ArrayLike) -> float:
    """Interquartile mean: the mean of all runs of all tasks without the lowest and the highest quarter.

    floor(R M / 4) values are left out at each end, so up to three runs of one task give the plain mean.
    """
    return float(_iqm(_matrix(scores, "iqm")[None])[0])


def stratified_iqm(
    scores: npt.ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = 10_000
) -> tuple[float, float, float]:
    """IQM with its stratified percentile-bootstrap interval (iqm, low, high).

    Runs are drawn with replacement within each task. One run a task has no interval (nan, nan). Errors: a NaN score.
    """
    values = _matrix(scores, "stratified_iqm")
    low, high = _interval(lambda rng: _iqm(_resampled(values, rng, resamples)), values, level, seed)
    return float(_iqm(values[None])[0]), low, high


def probability_of_improvement(
    x: npt.ArrayLike, y: npt.ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = 2_000
) -> tuple[float, float, float]:
    """P(X > Y) of a run of x against a run of y on a random task, with its stratified bootstrap interval.

    mean over tasks m of (1 / (R_x R_y)) sum_ij [x_im > y_jm] + [x_im = y_jm] / 2. x (R_x, M), y (R_y, M); 0.5 says that
    neither is better. Errors: different numbers of tasks, or a NaN score, are a ValueError.
    """
    left, right = _matrix(x, "probability_of_improvement"), _matrix(y, "probability_of_improvement")
    if left.shape[1] != right.shape[1]:
        raise ValueError(
            f"probability_of_improvement: {left.shape[1]} tasks against {right.shape[1]}; give both the same tasks"
        )

    def draw(rng: np.random.Generator) -> Floats:
        return _better(_resampled(left, rng, resamples), _resampled(right, rng, resamples))

    low, high = _interval(draw, left if len(left) < len(right) else right, level, seed)
    return float(_better(left[None], right[None])[0]), low, high


def _better(x: Floats, y: Floats) -> Floats:
    """Of each resample, x (B, R_x, M) against y (B, R_y, M)."""
    a, b = x[:, :, None], y[:, None]
    better: Floats = ((a > b) + 0.5 * (a == b)).mean(axis=(1, 2, 3))
    return better


def _iqm(values: Floats) -> Floats:
    """Of each (R, M) of values (B, R, M)."""
    ordered = np.sort(values.reshape(len(values), -1), axis=1)
    cut = ordered.shape[1] // 4
    means: Floats = ordered[:, cut : ordered.shape[1] - cut].mean(axis=1)
    return means


def _resampled(values: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    """(B, R, M): for every task on its own, R of its R runs with replacement."""
    R, M = values.shape
    drawn: Floats = values[rng.integers(R, size=(resamples, R, M)), np.arange(M)]
    return drawn


def _interval(
    draw: Callable[[np.random.Generator], Floats], values: Floats, level: float, seed: int
) -> tuple[float, float]:
    check_level(level)
    if len(values) < 2:
        return float("nan"), float("nan")
    low, high = np.quantile(draw(np.random.default_rng(seed)), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _matrix(scores: npt.ArrayLike, what: str) -> Floats:
    values = np.asarray(scores, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or not values.size:
        raise ValueError(f"{what}: the scores have shape {values.shape}; use (runs, tasks) with at least one of each")
    if np.isnan(values).any():
        raise ValueError(
            f"{what}: {int(np.isnan(values).sum())} of {values.size} scores are NaN; drop those runs first"
        )
    return values
