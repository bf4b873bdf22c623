"""Where a value's numbers lie along the simulator's progress: sums by bins of progress, and the rank correlation.

An agent goes where no demonstration has been. A value that follows the progress of held-out demonstrations and not that
of the agent's own trials cannot lead it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

BINS = 10
Floats = npt.NDArray[np.floating]


def levels(values: Sequence[Floats], progress: Sequence[Floats]) -> dict[str, Any]:
    """Values and progress (T,) of episodes, all frames together: {"rank": Spearman's rho, "bins": (BINS, 3)}.

    bins: number, sum and sum of squares of the values where progress is in [k, k + 1) / BINS, 1 in the last.
    rank is None where values or progress never change.
    """
    v = np.concatenate([x[: len(p)] for x, p in zip(values, progress, strict=True)]).astype(float)
    p = np.concatenate([p[: len(x)] for x, p in zip(values, progress, strict=True)]).astype(float)
    k = np.clip((p * BINS).astype(int), 0, BINS - 1)
    sums = np.stack([np.bincount(k, w, BINS) for w in (np.ones_like(v), v, v * v)], 1)
    varies = np.ptp(v) > 0 and np.ptp(p) > 0
    return {"rank": float(spearmanr(v, p).statistic) if varies else None, "bins": sums.tolist()}


def pooled(several: Sequence[dict[str, Any]]) -> tuple[Floats, Floats, Floats]:
    """Bin centres, means and standard deviations of the values of several `levels`, bins without frames left out."""
    n, total, squares = np.sum([one["bins"] for one in several], 0).T
    seen = n > 0
    mean = total[seen] / n[seen]
    spread = np.sqrt(np.maximum(squares[seen] / n[seen] - mean**2, 0))
    return ((np.arange(BINS) + 0.5) / BINS)[seen], mean, spread


def mean_rank(several: Sequence[dict[str, Any]]) -> float | None:
    """Mean rank correlation of several `levels`; None where none has one."""
    ranks = [one["rank"] for one in several if one["rank"] is not None]
    return float(np.mean(ranks)) if ranks else None
