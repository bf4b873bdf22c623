"""From the values of a store to the advantage of every step: the settings, the scales and the cost of time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.settings import AdvantageConfig
from episodes.returns import recap_return, recap_rewards
from episodes.store import Episodes
from valuefns import advantage

Values = Sequence[np.ndarray]
"""One float32 (T + 1,) per episode of a store, in the scale of the value that made them."""

EQUAL = 1e-6
"""Progress: advantages that spread by less are equal; what is left is the rounding of float32 values."""


def advantages(store: Episodes, values: Values, config: AdvantageConfig) -> list[np.ndarray]:
    """Return the advantage of every step of every episode, each float32 (T,), in progress units.

    An episode that succeeded or terminated ends in its outcome, one whose time ran out in the value of its final
    observation (`truncation`). Every step costs the same share of the time that `time_cost` names, to the very end.
    Ours: time_cost="task". With each episode's own T a step of a fast success costs more than one of a slow failure,
    and the comparison across episodes, which every labeller makes, prefers the slow ones.
    Errors (ValueError): values of other episodes, not finite, or of another scale.
    """
    progress = as_progress(store, values, config.scale)
    if config.kind == "chunk":
        return [advantage.chunk(p, config.n, config.tail).astype(np.float32) for p in progress]
    result = []
    for row, ends, p in zip(store.index, store.column("terminated"), progress, strict=True):
        rewards, outcome = _time_and_outcome(row["length"], row["success"], store.spec.max_steps, config)
        known = row["success"] or bool(ends[-1]) or config.truncation == "outcome"
        U = advantage.surplus(p, rewards, outcome if known else None, config.smoothing)
        A = advantage.n_step(U, config.n) if config.kind == "n_step" else advantage.gae(U, config.lam)
        result.append(A.astype(np.float32))
    return result


def as_progress(store: Episodes, values: Values, scale: str) -> list[np.ndarray]:
    """The values in progress units, float64 (T+1,): viva p = 2V - 1, recap p = 1 + V; 1 is success in both."""
    lengths = [row["length"] + 1 for row in store.index]
    if [len(v) for v in values] != lengths:
        raise ValueError(f"values of {len(values)} episodes do not fit the {len(lengths)} of {store.path}; score it")
    for row, v in zip(store.index, values, strict=True):
        if not np.isfinite(v).all():
            raise ValueError(f"the value of episode {row['episode_index']} of {store.path} is not finite; train again")
    middle = float(np.median(np.concatenate(list(values))))
    other = {"viva": "recap", "recap": "viva"}[scale]
    low, high = {"viva": (0, 1), "recap": (-1, 0)}[scale]
    if not low - 0.1 <= middle <= high + 0.1:
        raise ValueError(
            f"advantage.scale={scale}: its values lie in [{low}, {high}], these around {middle:.3g}; use scale={other} "
            "if they are of that scale, or the values of another model"
        )
    return [2 * np.asarray(v, np.float64) - 1 if scale == "viva" else 1 + np.asarray(v, np.float64) for v in values]


def _time_and_outcome(T: int, success: bool, max_steps: int, config: AdvantageConfig) -> tuple[np.ndarray, float]:
    """Step rewards (T,) and the outcome in progress units; the last step costs nothing (ViVa eq. 1, pi*0.6 eq. 5)."""
    if config.scale == "recap":
        rewards = recap_rewards(T, success, max_steps, config.c_fail)
        return rewards, 1 + float(recap_return(T, success, max_steps, config.c_fail)[-1])
    rewards = np.full(T, -1.0 / (T if config.time_cost == "own" else max_steps))
    rewards[-1] = 0.0
    return rewards, float(success)
