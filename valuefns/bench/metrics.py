"""How well a value follows the truth, per episode; undefined is NaN, never 0 or 1.

Predictions and truths are in progress units (ViVa's scale: p = 2V - 1), one entry per frame.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats


def spearman(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Tie-aware Spearman correlation; NaN where either is constant or has fewer than 3 frames."""
    if len(predicted) < 3:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return float(stats.spearmanr(predicted, truth).statistic)


def voc(predicted: np.ndarray) -> float:
    """Value-order correlation: Spearman of the prediction with the frame index (GVL eq. 2, tie-aware).

    Differs from the paper: its literal argsort formula scores a constant prediction +1; here that is NaN.
    """
    return spearman(predicted, np.arange(len(predicted)))


def across(predicted: Sequence[np.ndarray], truth: Sequence[np.ndarray], every: int = 1, least: int = 8) -> float:
    """Spearman of prediction and truth ACROSS episodes at equal time, mean over times; a clock has none.

    predicted, truth: one (T_i,) array per episode. Every `every`-th frame at which at least `least` of the running
    episodes have distinct truths counts; a time at which all predictions are equal is undefined and left out. NaN where
    no time is left. Ours: within an episode time and progress rise together, between episodes they do not.
    """
    scores = []
    for t in range(0, max(map(len, truth), default=0), every):
        p, true = (np.array([x[t] for x in curves if len(x) > t]) for curves in (predicted, truth))
        if len(np.unique(true)) >= least:
            scores.append(spearman(p, true))
    defined = [s for s in scores if not np.isnan(s)]
    return float(np.mean(defined)) if defined else float("nan")


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return the inclusive (first, last) index of every run of true entries in mask (T,)."""
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1, strict=True))


def falling(truth: np.ndarray, shortest: int = 3) -> tuple[list[tuple[int, int]], int]:
    """Return the inclusive windows in which truth (T,) strictly falls, and how many were too short to score."""
    windows = [(first, last + 1) for first, last in runs(np.diff(truth) < 0)]
    kept = [w for w in windows if w[1] - w[0] + 1 >= shortest]
    return kept, len(windows) - len(kept)


def retry_voc(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean Spearman of prediction and truth over the windows where the truth strictly falls (WVM section 3.4).

    +1 when the prediction falls with it, -1 for a clock; NaN without a window of at least 3 frames.
    """
    scores = [spearman(predicted[a : b + 1], truth[a : b + 1]) for a, b in falling(truth)[0]]
    defined = [s for s in scores if not np.isnan(s)]
    return float(np.mean(defined)) if defined else float("nan")


def hesitation_rmse(predicted: np.ndarray, truth: np.ndarray, hesitating: np.ndarray) -> float:
    """Root mean squared error against the truth over each hesitation segment, mean over segments (WVM eq. 8)."""
    errors = [np.sqrt(np.mean((predicted[a : b + 1] - truth[a : b + 1]) ** 2)) for a, b in runs(hesitating)]
    return float(np.mean(errors)) if errors else float("nan")


def hesitation_drift(predicted: np.ndarray, hesitating: np.ndarray, shortest: int = 5) -> float:
    """Mean signed change over the hesitation segments of an episode: slope of a least-squares line times its length.

    A clock drifts by the segment's share of the episode; a value that knows the robot is waiting by 0. Ours. The
    fitted line is used because the difference of two single frames is mostly noise.
    """
    drifts = []
    for a, b in runs(hesitating):
        if b - a + 1 >= shortest:
            drifts.append(np.polyfit(np.arange(b - a + 1), predicted[a : b + 1], 1)[0] * (b - a))
    return float(np.mean(drifts)) if drifts else float("nan")


def sampled(T: int, hz: float, fps: float | None) -> np.ndarray:
    """Indices of the frames that a model of `fps` reads from T frames at `hz`, the first frame first; None: all."""
    if fps is None or fps >= hz:
        return np.arange(T)
    return np.unique(np.minimum(np.round(np.arange(0, T, hz / fps)).astype(int), T - 1))


def tau_b(predicted: np.ndarray) -> float:
    """Kendall's tau-b of the prediction with the frame index; NaN where constant or of fewer than 3 frames."""
    if len(predicted) < 3 or np.ptp(predicted) == 0:
        return float("nan")
    return float(stats.kendalltau(predicted, np.arange(len(predicted))).statistic)


def rmse(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Root mean squared error over all frames; NaN where the truth is unknown."""
    return float(np.sqrt(np.mean((predicted - truth) ** 2)))


def error_change(predicted: np.ndarray, onset: int, frames: int) -> float:
    """Change of the value over the `frames` after an error begins, p[onset + frames] - p[onset]; NaN past the end."""
    if onset < 0 or onset + frames >= len(predicted):
        return float("nan")
    return float(predicted[onset + frames] - predicted[onset])


def error_rank(predicted: np.ndarray, onset: int, frames: int, advancing: np.ndarray) -> float:
    """Share of the advancing moments of the same episode over which the value rises more than after the error.

    The area under the ROC curve of "the value falls now" as a detector of this error: 1/2 by chance and for a clock, 1
    where no advance looks as bad. Ties count one half. advancing (T,): frames that are no part of a mistake. Ours, for
    ViVa's figures of drops at labelled errors.
    """
    own = error_change(predicted, onset, frames)
    starts = [t for t in range(len(predicted) - frames) if advancing[t : t + frames + 1].all()]
    if np.isnan(own) or not starts:
        return float("nan")
    others = predicted[np.array(starts) + frames] - predicted[starts]
    return float(np.mean(others > own) + 0.5 * np.mean(others == own))
