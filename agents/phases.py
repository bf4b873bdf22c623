"""Which part of the task a step belongs to: tenths of the simulator's progress, or of the value where it is unknown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from episodes.store import Episodes

PHASES = 10
"""Phase k holds the steps whose progress lies in [k, k + 1) tenths; the last also holds 1."""

Phase = npt.NDArray[np.int64]


def progress_phases(store: Episodes) -> Phase:
    """The phase of every step by the simulator's staged progress, (M,); -1 where it is unknown."""
    progress = np.concatenate(store.column("progress")).astype(np.float64)
    known = ~np.isnan(progress)
    phase = np.full(len(progress), -1)
    phase[known] = np.clip((PHASES * progress[known]).astype(np.int64), 0, PHASES - 1)
    return phase


def value_phases(store: Episodes, values: Sequence[np.ndarray]) -> Phase:
    """The phase of every step of a success by its value, (M,): tenths of those steps, equally many; -1 in failures.

    What a labeller may know: a value is learned, the simulator's progress is privileged.
    """
    outcome = of_steps(store, [row["success"] for row in store.index]).astype(bool)
    v = np.concatenate([np.asarray(x[:-1], np.float64) for x in values])
    phase = np.full(len(v), -1)
    if outcome.any():
        edges = np.quantile(v[outcome], np.arange(1, PHASES) / PHASES)
        phase[outcome] = np.searchsorted(edges, v[outcome], "right")
    return phase


def of_steps(store: Episodes, per_episode: Sequence[object]) -> npt.NDArray[np.generic]:
    """One entry per step, (M,), of what is said once of every episode."""
    return np.repeat(np.asarray(per_episode), [row["length"] for row in store.index])
