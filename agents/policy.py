"""What every policy promises: it is an Actor that can be fitted to labelled episodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from episodes.labels import Labels
from episodes.store import Episodes
from episodes.types import EnvSpec, Observation


class Policy(nn.Module, ABC):
    """A policy: `fit` on a store with labels, `act` on observations; noise is seeded per episode.

    indicator: the advantage token it acts with, POSITIVE after labels with indicators, else NULL. guidance:
    classifier-free guidance weight beta, 1 is none (pi*0.6 appendix: beta > 1 sharpens towards I = positive).
    """

    name: str
    config: Any  # the settings it was made from
    spec: EnvSpec
    execute: int  # steps of each chunk that are executed before the next one is asked for
    indicator: int
    guidance: float
    started: bool = False  # from saved weights, whose scales of observations and actions stay
    _noise: list[np.random.Generator]  # of each slot's episode

    @abstractmethod
    def loss(self, batch: dict[str, Tensor], indicator: Tensor) -> Tensor:
        """Return the unweighted loss of each sample (B,); indicator int (B,)."""

    @abstractmethod
    def fit(
        self, store: Episodes, labels: Labels, seed: int = 0, folder: Path | None = None, cache: Path | None = None
    ) -> Policy:
        """Train from this policy's own initialisation; `cache` is where decoded frames are shared between runs."""

    def reset(self, mask: np.ndarray, seeds: np.ndarray, instructions: Sequence[str]) -> None:
        """Seed the noise of the episodes that begin; that of the others goes on."""
        self._noise += [np.random.default_rng(0)] * (len(mask) - len(self._noise))
        for i in np.flatnonzero(mask):
            self._noise[i] = np.random.default_rng([int(seeds[i]), 7])

    @abstractmethod
    def act(self, observations: Sequence[Observation | None]) -> np.ndarray: ...

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights, settings and the EnvSpec to `folder`."""

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """The Trainer's objective: the loss with the batch's own indicator."""
        return self.loss(batch, batch["indicator"])
