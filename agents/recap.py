"""The loop of RECAP (pi*0.6, Algorithm 1); AWR and filtered BC are the same loop with another labeller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from agents.extraction import Labeller
from agents.policy import Policy
from agents.settings import ExtractionConfig
from episodes.labels import Labels
from episodes.store import Episodes, EpisodeStore
from episodes.types import Episode


@dataclass(frozen=True)
class Improvement:
    """What one iteration made: the values of every episode so far, the labels, and the policy fitted to them."""

    iteration: int
    values: list[np.ndarray]
    labels: Labels
    policy: Policy


def improve(
    store: EpisodeStore,
    fit_values: Callable[[Episodes, int], list[np.ndarray]],
    label: Labeller,
    settings: ExtractionConfig,
    fit_policy: Callable[[Episodes, Labels, int], Policy],
    collect: Callable[[Policy, int], Iterable[Episode]],
    iterations: int,
) -> Iterator[Improvement]:
    """Yield each iteration of: value on ALL data so far, advantages, policy, its own rollouts added to the data.

    `store` begins with the demonstrations and grows. Both `fit_values(store, k)` and `fit_policy(store, labels, k)`
    start from their pretrained state every time, never from iteration k - 1 (Algorithm 1: nothing drifts). A store that
    already holds the rollouts of an iteration, because the loop was interrupted after them, is not given them again.
    """
    for k in range(iterations):
        data = store.select(i for i, row in enumerate(store.index) if row["iteration"] <= k)
        values = fit_values(data, k)
        labels = label(data, values, settings)
        policy = fit_policy(data, labels, k)
        yield Improvement(k, values, labels, policy)
        if k + 1 < iterations and not any(row["iteration"] == k + 1 for row in store.index):
            store.append(collect(policy, k + 1))
