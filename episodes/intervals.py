"""Confidence intervals: Wilson for success rates, bootstrap for means, two-level bootstrap for paired differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

_CHUNK = 4_000_000  # resampled numbers held at once


def wilson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval (low, high) of a success rate of k out of n.

    n = 0 is (nan, nan); k outside 0..n is a ValueError. Source: Wilson (1927), JASA 22(158).
    """
    check_level(level)
    if not 0 <= k <= n:
        raise ValueError(f"wilson: k is {k} of n {n}; k must be 0..n")
    if n == 0:
        return math.nan, math.nan
    from scipy.stats import binomtest  # takes most of a second to import

    interval = binomtest(k, n).proportion_ci(level, "wilson")
    return float(interval.low), float(interval.high)


def bootstrap_mean(
    x: npt.ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = 10_000
) -> tuple[float, float, float]:
    """Mean and percentile-bootstrap interval (mean, low, high).

    x (N,): N exchangeable values are resampled. x (S, N): first S groups (data seeds), then N values within each drawn
    group. Nothing to average is (nan, nan, nan), a single value (mean, nan, nan): one value says nothing about spread.
    Errors: a NaN in x is a ValueError (drop or count undefined values first). Source: Efron (1979).
    """
    check_level(level)
    values = _grouped(x, "bootstrap_mean")
    if values.size < 2:
        return (float(values[0, 0]) if values.size else math.nan), math.nan, math.nan
    means = _two_level(values, seed, resamples, crossed=False)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(values.mean()), float(low), float(high)


def paired_bootstrap(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 10_000,
    shared_trials: bool = False,
) -> tuple[float, float, float]:
    """Mean of a - b with its two-level bootstrap interval (mean, low, high).

    a, b (S, N) or (N,): outcome of trial n under data seed s in each arm; entry (s, n) is the SAME trial in both arms,
    so a difference never mixes trials. One resample draws S data seeds with replacement and, for every drawn seed, N of
    its trials with replacement; the interval is the percentiles of the resampled means. `shared_trials`: trial n is
    also the same initial state under every data seed, and one draw of N trials then serves all drawn seeds (the crossed
    bootstrap: wider when trials differ in difficulty). (N,) has no seed level: it speaks for that training run only.

    The seed level is coarse: with S = 2 or 3 the interval is too narrow; report S beside it. Nothing to compare is
    (nan, nan, nan), one pair (mean, nan, nan). Errors: shapes that differ or a NaN are a ValueError.
    Source: Davison and Hinkley (1997), section 3.8; crossed: Owen (2007), the pigeonhole bootstrap.
    """
    check_level(level)
    left, right = _grouped(a, "paired_bootstrap"), _grouped(b, "paired_bootstrap")
    if left.shape != right.shape:
        raise ValueError(
            f"paired_bootstrap: a is {left.shape} and b {right.shape} (seeds, trials); pair the same trials first"
        )
    difference = left - right
    if difference.size < 2:
        return (float(difference[0, 0]) if difference.size else math.nan), math.nan, math.nan
    means = _two_level(difference, seed, resamples, crossed=shared_trials)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(difference.mean()), float(low), float(high)


def bootstrap_strata(
    groups: Sequence[npt.ArrayLike],
    minus: Sequence[npt.ArrayLike] | None = None,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 10_000,
) -> tuple[float, float, float]:
    """Mean over groups of each group's mean, with its percentile-bootstrap interval (mean, low, high).

    groups: one array of any length per stratum (the tasks of a benchmark, which are fixed: only episodes are drawn
    again, within their own group); empty groups are left out. `minus`: independent groups in the same order, whose mean
    is subtracted; a stratum without episodes on either side is left out. Nothing is (nan, nan, nan); one value a group
    and no more is (mean, nan, nan). Errors: a NaN is a ValueError. Source: Davison and Hinkley (1997), section 3.2.
    """
    check_level(level)
    left = [_grouped(g, "bootstrap_strata")[0] for g in groups]
    right = None if minus is None else [_grouped(g, "bootstrap_strata")[0] for g in minus]
    if right is not None and len(right) != len(left):
        raise ValueError(f"bootstrap_strata: {len(left)} groups minus {len(right)}; give both in the same order")
    kept = [i for i, g in enumerate(left) if g.size and (right is None or right[i].size)]
    sides = [[left[i] for i in kept]] + ([] if right is None else [[right[i] for i in kept]])
    if not kept:
        return math.nan, math.nan, math.nan
    mean = float(np.mean([g.mean() for g in sides[0]]))
    mean -= float(np.mean([g.mean() for g in sides[1]])) if len(sides) > 1 else 0.0
    if all(g.size < 2 for side in sides for g in side):
        return mean, math.nan, math.nan
    rng = np.random.default_rng(seed)
    drawn = [
        np.mean([_two_level(g[None], int(rng.integers(2**31)), resamples, crossed=False) for g in side], axis=0)
        for side in sides
    ]
    means = drawn[0] - drawn[1] if len(drawn) > 1 else drawn[0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return mean, float(low), float(high)


def bootstrap_groups(
    groups: Sequence[npt.ArrayLike], level: float = 0.95, seed: int = 0, resamples: int = 10_000
) -> tuple[float, float, float]:
    """`bootstrap_mean` of groups (data seeds) of different sizes: groups are drawn, then values within each drawn one.

    The mean is over the groups' means; empty groups are left out. Errors: a NaN is a ValueError.
    """
    check_level(level)
    kept = [g for g in (_grouped(g, "bootstrap_groups")[0] for g in groups) if g.size]
    mean = float(np.mean([g.mean() for g in kept])) if kept else math.nan
    if sum(g.size for g in kept) < 2:
        return mean, math.nan, math.nan
    rng = np.random.default_rng(seed)
    within = [_two_level(g[None], int(rng.integers(2**31)), resamples, crossed=False) for g in kept]
    drawn = rng.integers(len(kept), size=(resamples, len(kept)))
    means = np.stack(within, 1)[np.arange(resamples)[:, None], drawn].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return mean, float(low), float(high)


def bootstrap_of(
    statistic: Callable[[npt.NDArray[np.int64]], float],
    n: int,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 200,
) -> tuple[float, float, float]:
    """A statistic of n exchangeable things, given their indices, and its percentile-bootstrap interval.

    `statistic(indices)` may be NaN (undefined); fewer than half of the resamples defined is (value, nan, nan).
    """
    check_level(level)
    value = statistic(np.arange(n))
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(rng.integers(n, size=n)) for _ in range(resamples)])
    if math.isnan(value) or np.isnan(drawn).mean() > 0.5:
        return value, math.nan, math.nan
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return value, float(low), float(high)


paired_difference = paired_bootstrap
"""The name under which reports ask for it."""


def _grouped(x: npt.ArrayLike, what: str) -> npt.NDArray[np.float64]:
    values = np.asarray(x, np.float64)
    if values.ndim not in (1, 2):
        raise ValueError(f"{what}: the array has shape {values.shape}; use (trials,) or (seeds, trials)")
    if np.isnan(values).any():
        raise ValueError(
            f"{what}: {int(np.isnan(values).sum())} of {values.size} values are NaN; drop and count them first"
        )
    return values if values.ndim == 2 else values[None]


def _two_level(values: npt.NDArray[np.float64], seed: int, resamples: int, crossed: bool) -> npt.NDArray[np.float64]:
    """Means (resamples,) of values (S, N) with rows, then entries, drawn with replacement."""
    S, N = values.shape
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, _CHUNK // values.size)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        rows = rng.integers(S, size=(count, S))
        columns = rng.integers(N, size=(count, 1 if crossed else S, N))
        means[start : start + count] = values[rows[:, :, None], columns].mean(axis=(1, 2))
    return means


def check_level(level: float) -> None:
    """Raise a ValueError for a confidence level outside (0, 1)."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; use a share between 0 and 1, such as 0.95")
