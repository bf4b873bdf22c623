"""The value that has learned nothing about the state: the control that every claim about values must beat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from episodes.returns import viva_return
from episodes.store import Episodes
from episodes.types import Episode, Observation
from valuefns.protocol import ValueFunction, ValueStream
from valuefns.settings import ConstantConfig


class ConstantValue(ValueFunction):
    """V_t = c, the mean exact value (ViVa's scale) over all frames it was fitted on.

    Through the same n-step advantage it still labels: the time cost, the terminal return and the failure penalty are
    all in the rewards. Ours; whatever a learned value adds must show against it.
    """

    name = ConstantConfig.name
    settings = ConstantConfig

    def __init__(self, config: ConstantConfig | None = None) -> None:
        self.config = config or ConstantConfig()
        self.value = 0.5

    def fit(self, store: Episodes, folder: Path | None = None) -> ConstantValue:
        exact = [viva_return(row["length"], row["success"])[:-1] for row in store.index]
        self.value = float(np.concatenate(exact).mean())
        return self

    def score(self, episode: Episode, causal: bool = False) -> np.ndarray:
        return np.full(len(episode) + 1, self.value, np.float32)

    def stream(self, n: int) -> ValueStream:
        return _ConstantStream(n, self.value)


class _ConstantStream:
    def __init__(self, n: int, value: float) -> None:
        self.values = np.full(n, value, np.float32)

    def reset(self, mask: np.ndarray, instructions: Sequence[str]) -> None: ...

    def step(self, observations: Sequence[Observation | None]) -> np.ndarray:
        return np.where([o is None for o in observations], np.float32(np.nan), self.values)
