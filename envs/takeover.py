"""Corrections: a scripted oracle takes over from a policy that gets nowhere (the human corrections of pi*0.6)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from episodes.actor import Actor
from episodes.settings import require


@dataclass
class TakeoverConfig:
    """When a policy is taken over from."""

    patience: float = 2.0  # s without progress
    gain: float = 0.02  # progress in [0, 1]; a smaller rise of the best so far is none

    def __post_init__(self) -> None:
        require(self, patience=(0, math.inf), gain=(0, 1))


@dataclass(frozen=True)
class Takeover:
    """Who takes over, and when: once the episode's best progress has not risen by `gain` for `patience` seconds.

    From then on `corrector`, an Actor of as many slots as the rollout, acts until the episode ends; it is reset with
    the slot's seed at that moment, so it begins from wherever the policy has come to. Those steps carry `intervention`,
    the corrector's actions and its segment labels. Progress is the simulator's: the corrector is privileged, as a
    person is.
    """

    corrector: Actor
    config: TakeoverConfig

    def due(self, progress: list[float], hz: float) -> bool:
        """Whether an episode with this progress so far, (t + 1,), has stalled."""
        best, since = -math.inf, 0
        for t, p in enumerate(progress):
            if p >= best + self.config.gain:
                best, since = p, t
        return len(progress) - 1 - since >= self.config.patience * hz
