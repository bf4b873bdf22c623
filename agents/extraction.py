"""From a store and its values to training labels: each method is one short labeller.

    Labeller = (store, values) -> Labels     values: one float32 (T + 1,) per episode

Every labeller is `label(store, values, config)`; LABELLERS maps its name to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np

from episodes.labels import NEGATIVE, POSITIVE, Labels
from episodes.returns import viva_return, viva_rewards
from episodes.settings import require, require_one_of
from episodes.store import Episodes
from episodes.types import SEGMENTS
from valuefns import advantage

Values = Sequence[np.ndarray]


@dataclass
class AdvantageConfig:
    """How values become advantages."""

    kind: str = "n_step"  # n_step (RECAP) or chunk (WVM E.4)
    n: int = 50  # steps, or the chunk length H
    tail: str = "scaled"  # of the chunk advantage: printed or scaled
    time_cost: str = (
        "own"  # n_step: own: a step costs 1/(2T) of its episode's T (ViVa eq. 1); task: T is the time limit
    )

    def __post_init__(self) -> None:
        require(self, n=(1, inf))
        require_one_of(self, kind=("n_step", "chunk"), tail=("scaled", "printed"), time_cost=("own", "task"))


@dataclass
class ExtractionConfig:
    """Settings of every labeller; the defaults are the papers' (WVM appendix E, pi*0.6)."""

    advantage: AdvantageConfig = field(default_factory=AdvantageConfig)
    filter: str = "percentile"  # filtered_bc: percentile, binary (A >= 0, WVM E.6) or strict (A > 0)
    keep: float = 0.7  # share of windows a percentile filter keeps, over the training set
    awr_temperature: float = 10.0  # tau: w = min(exp(tau A), delta), renormalised to mean 1
    awr_clip: float = 2.0  # delta
    awr_standardise: bool = False  # ours: divide A by its standard deviation over the training set first
    positive: float = 0.4  # RECAP: share of windows with a positive indicator, per task

    def __post_init__(self) -> None:
        require(self, keep=(0, 1), awr_temperature=(0, inf), awr_clip=(0, inf), positive=(0, 1))
        require_one_of(self, filter=("percentile", "binary", "strict"))


def advantages(store: Episodes, values: Values, config: AdvantageConfig) -> list[np.ndarray]:
    """Return the advantage of every step of every episode, each float32 (T,), in ViVa's scale.

    Ours: time_cost="task". With each episode's own T a step of a fast success costs more than one of a slow failure,
    and the comparison across episodes, which every labeller makes, prefers the slow ones.
    """
    result = []
    for row, v in zip(store.index, values, strict=True):
        T, success = row["length"], row["success"]
        if config.kind == "n_step":
            scale = 1.0 if config.time_cost == "own" else T / store.spec.max_steps
            result.append(advantage.n_step(v, scale * viva_rewards(T), viva_return(T, success)[:T], config.n))
        else:
            result.append(advantage.chunk(v, config.n, config.tail))
    return result


def _split(store: Episodes, flat: np.ndarray) -> list[np.ndarray]:
    return np.split(flat, np.cumsum([row["length"] for row in store.index])[:-1])


def _labels(store: Episodes, made_by: str, weight: Sequence[np.ndarray], **columns: Any) -> Labels:
    return Labels.from_arrays(store, made_by, weight=[w.astype(np.float32) for w in weight], **columns)


def bc(store: Episodes, values: Values, config: ExtractionConfig) -> Labels:
    """Behaviour cloning: every step weighs 1."""
    return _labels(store, "bc", [np.ones(row["length"]) for row in store.index])


def success_bc(store: Episodes, values: Values, config: ExtractionConfig) -> Labels:
    """Behaviour cloning of the episodes that succeeded."""
    return _labels(store, "success_bc", [np.full(row["length"], float(row["success"])) for row in store.index])


def label_bc(store: Episodes, values: Values, config: ExtractionConfig) -> Labels:
    """Behaviour cloning of the steps whose true segment label is `advance` (privileged: an upper control)."""
    advance = SEGMENTS.index("advance")
    return _labels(store, "label_bc", [s == advance for s in store.column("segments")])


def filtered_bc(store: Episodes, values: Values, config: ExtractionConfig) -> Labels:
    """Clone the steps whose advantage passes: w = 1[A >= kappa] (WVM E.6), kappa a percentile, 0, or strictly 0."""
    A = np.concatenate(advantages(store, values, config.advantage))
    if config.filter == "percentile":
        passed = np.quantile(A, 1 - config.keep) <= A
    else:
        passed = A >= 0 if config.filter == "binary" else A > 0
    if not passed.any():
        raise ValueError(
            f"filtered_bc: no step has an advantage above the {config.filter} threshold; use filter=percentile"
        )
    return _labels(store, "filtered_bc", _split(store, passed), advantage=_split(store, A))


def awr(store: Episodes, values: Values, config: ExtractionConfig) -> Labels:
    """Advantage-weighted regression: w = min(exp(tau A), delta), renormalised to mean 1 (WVM appendix E.4)."""
    A = np.concatenate(advantages(store, values, config.advantage))
    scaled = A / max(float(A.std()), 1e-8) if config.awr_standardise else A
    # min(exp(x), delta) with the minimum taken in the exponent, where nothing overflows
    w = np.exp(np.minimum(config.awr_temperature * scaled, np.log(config.awr_clip)))
    return _labels(store, "awr", _split(store, w / w.mean()), advantage=_split(store, A))


def recap(store: Episodes, values: Values, config: ExtractionConfig) -> Labels:
    """RECAP: indicator I = 1[A > eps], eps per task so that a set share is positive; corrections are forced positive.

    Every step weighs 1: the policy learns both kinds and is told which is which (pi*0.6, section IV).
    """
    A = advantages(store, values, config.advantage)
    tasks = np.array([row["tasks"][0] for row in store.index])
    indicator: list[np.ndarray] = [np.empty(0)] * len(A)
    for task in np.unique(tasks):
        chosen = np.flatnonzero(tasks == task)
        eps = np.quantile(np.concatenate([A[i] for i in chosen]), 1 - config.positive)
        for i in chosen:
            indicator[i] = np.where(A[i] > eps, POSITIVE, NEGATIVE)
    for i, corrected in enumerate(store.column("intervention")):
        indicator[i] = np.where(corrected, POSITIVE, indicator[i])
    return _labels(store, "recap", [np.ones(len(a)) for a in A], advantage=A, indicator=indicator)


Labeller = Callable[[Episodes, Values, ExtractionConfig], Labels]
LABELLERS: dict[str, Labeller] = {
    f.__name__: f
    for f in (bc, filtered_bc, success_bc, label_bc, awr, recap)  # type: ignore[attr-defined]
}


def labeller(name: str) -> Labeller:
    """Return the labeller of a method; an unknown name is a ValueError that lists them."""
    if name not in LABELLERS:
        raise ValueError(f"method {name!r}: choose from {', '.join(LABELLERS)}")
    return LABELLERS[name]
