"""From a store and its values to training labels: each method is one short labeller.

    Labeller = (store, values) -> Labels     values: one float32 (T + 1,) per episode

Every labeller is `label(store, values, config)`; METHODS of agents/registry.py maps its name to it. `weight` is the
objective: a policy minimises sum_i w_i l_i / sum_i w_i, by weighting the loss or by drawing steps in proportion to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.advantages import EQUAL, Values, advantages
from agents.phases import Phase, of_steps, value_phases
from agents.registry import METHODS
from agents.settings import ExtractionConfig
from episodes.labels import NEGATIVE, POSITIVE, Labels
from episodes.store import Episodes
from episodes.types import SEGMENTS

Float = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]


def bc(store: Episodes, values: Values, config: ExtractionConfig) -> Labels:
    """Behaviour cloning: every step weighs 1."""
    return _labels(store, "bc", np.ones(_steps(store)))


def success_bc(store: Episodes, values: Values, config: ExtractionConfig) -> Labels:
    """Behaviour cloning of the episodes that succeeded: what knowing the outcome alone is worth."""
    return _labels(store, "success_bc", _succeeded(store, "success_bc"))


def success_random(store: Episodes, values: Values, config: ExtractionConfig) -> Labels:
    """Control of filtered_bc: as many steps as it keeps, drawn at random from the episodes that succeeded."""
    candidates = np.flatnonzero(_succeeded(store, "success_random"))
    n = min(len(candidates), round(config.keep * _steps(store)))
    kept = np.zeros(_steps(store))
    kept[np.random.default_rng([config.seed, 2]).choice(candidates, n, replace=False)] = 1
    return _labels(store, "success_random", kept)


def label_bc(store: Episodes, values: Values, config: ExtractionConfig) -> Labels:
    """Behaviour cloning of the steps whose true segment label is `advance` (privileged: an upper control)."""
    advance = SEGMENTS.index("advance")
    return _labels(store, "label_bc", np.concatenate(store.column("segments")) == advance)


def filtered_bc(store: Episodes, values: Values, config: ExtractionConfig) -> Labels:
    """Clone the steps whose advantage passes: w = 1[A >= kappa] (WVM E.6), kappa a percentile, 0, or strictly 0."""
    A = np.concatenate(advantages(store, values, config.advantage))
    if config.filter == "percentile":
        passed = best(A, config.keep, config.phase_floor, value_phases(store, values))
    else:
        passed = A >= 0 if config.filter == "binary" else A > 0
    if not passed.any():
        raise ValueError(
            f"filtered_bc: no step has an advantage above the {config.filter} threshold; use filter=percentile"
        )
    return _labels(store, "filtered_bc", passed, advantage=A)


def success_filtered_bc(store: Episodes, values: Values, config: ExtractionConfig) -> Labels:
    """Clone the steps of the successes whose advantage is among the best `keep` of theirs (ours)."""
    A = np.concatenate(advantages(store, values, config.advantage))
    won = _succeeded(store, "success_filtered_bc")
    passed = won.copy()
    passed[won] = best(A[won], config.keep, config.phase_floor, value_phases(store, values)[won])
    return _labels(store, "success_filtered_bc", passed, advantage=A)


def awr(store: Episodes, values: Values, config: ExtractionConfig) -> Labels:
    """Advantage-weighted regression: w = min(exp(tau A), delta), renormalised to mean 1 (WVM appendix E.4)."""
    A = np.concatenate(advantages(store, values, config.advantage))
    x = A.astype(np.float64)
    if np.ptp(x) < EQUAL:
        x = np.zeros_like(x)  # rounding is no preference, and would be one in standard deviations of itself
    elif config.awr_standardise:
        x = (x - np.median(x)) / x.std()
    # min(exp(x), delta) with the minimum taken in the exponent, where nothing overflows
    w = np.exp(np.minimum(config.awr_temperature * x, np.log(config.awr_clip)))
    return _labels(store, "awr", w / w.mean(), advantage=A)


def recap(store: Episodes, values: Values, config: ExtractionConfig) -> Labels:
    """RECAP: indicator I = 1[A >= eps], eps per task so that a set share is positive; corrections are forced positive.

    The policy learns both kinds and is told which is which (pi*0.6, section IV). Every step weighs 1, or, with
    `batch_positive` b and a share s of positives, b / s and (1 - b) / (1 - s).
    """
    A = np.concatenate(advantages(store, values, config.advantage))
    tasks = of_steps(store, [row["tasks"][0] for row in store.index])
    phases, positive = value_phases(store, values), np.zeros(len(A), bool)
    for task in np.unique(tasks):
        mine = tasks == task
        positive[mine] = best(A[mine], config.positive, config.phase_floor, phases[mine])
    positive |= np.concatenate(store.column("intervention")).astype(bool)
    b, s = config.batch_positive, float(positive.mean())
    weight = np.where(positive, b / s, (1 - b) / (1 - s)) if b > 0 and 0 < s < 1 else np.ones(len(A))
    return _labels(store, "recap", weight, advantage=A, indicator=np.where(positive, POSITIVE, NEGATIVE))


def best(A: Float, share: float, floor: float, phase: Phase) -> Mask:
    """The steps (M,) of the highest advantage, `share` of all; with a floor, floor * share of every phase at least.

    phase (M,): steps of phase -1 have no floor. Where floors lift a phase the common threshold rises, so that the share
    of all stays. Steps that tie with the last one in are in: with equal advantages every step is.
    Ours: the floor. A slow but necessary phase scores low at every step, and a policy that never sees it stops there.
    """
    if np.ptp(A) < EQUAL:
        return np.ones(len(A), bool)
    lowest = np.full(len(A), inf)  # what a step needs to be among the floor of its phase
    for k in np.unique(phase[phase >= 0]) if floor > 0 else ():
        lowest[phase == k] = np.quantile(A[phase == k], 1 - floor * share)
    order = np.sort(A)
    low, high = np.searchsorted(order, np.quantile(A, 1 - share)), len(A) - 1
    while floor > 0 and low < high:  # the lowest common threshold that does not keep more than the share
        middle = (low + high) // 2
        if (np.minimum(order[middle], lowest) <= A).mean() > share:
            low = middle + 1
        else:
            high = middle
    passed: Mask = np.minimum(order[low], lowest) <= A
    return passed


def _steps(store: Episodes) -> int:
    return int(sum(row["length"] for row in store.index))


def _succeeded(store: Episodes, method: str) -> Mask:
    """Which steps (M,) belong to a success; a store without one is a ValueError."""
    won = [bool(row["success"]) for row in store.index]
    if not any(won):
        raise ValueError(
            f"{method}: no episode of {store.path} succeeded; where its source did not record outcomes, give them at "
            "import"
        )
    return of_steps(store, won).astype(bool)


def _labels(store: Episodes, made_by: str, weight: npt.NDArray[Any], **columns: npt.NDArray[Any]) -> Labels:
    """Labels from columns over all steps (M,)."""
    ends = np.cumsum([row["length"] for row in store.index])[:-1]
    split: dict[str, Any] = {name: np.split(column, ends) for name, column in columns.items()}
    return Labels.from_arrays(store, made_by, weight=np.split(weight.astype(np.float32), ends), **split)


Labeller = Callable[[Episodes, Sequence[np.ndarray], ExtractionConfig], Labels]


def labeller(name: str) -> Labeller:
    """Return the labeller of a method; an unknown name, or what cannot be called, is a ValueError."""
    found: Labeller = METHODS.find(name)
    if not callable(found):
        raise ValueError(f"method {name}: {found!r} is no function label(store, values, config)")
    return found
