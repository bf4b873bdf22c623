"""Whoever chooses actions: scripted oracles, random, learned policies (numpy only)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from episodes.types import Observation


@runtime_checkable
class Actor(Protocol):
    """Chooses action chunks for n environments at once; every random draw comes from the slot's own seed."""

    def reset(self, mask: npt.NDArray[np.bool_], seeds: npt.NDArray[np.int64], instructions: Sequence[str]) -> None:
        """Begin new episodes in the slots where mask (n,) is true, with that slot's seed and instruction."""
        ...

    def act(self, observations: Sequence[Observation | None]) -> npt.NDArray[np.float32]:
        """Return the next K actions of each of the n slots, float32 (n, K, A); a slot given None is idle."""
        ...
