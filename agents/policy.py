"""What every policy promises: it is an Actor that can be fitted to labelled episodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor, nn

from episodes.labels import NEGATIVE, NULL, POSITIVE, Labels
from episodes.settings import from_json
from episodes.store import Episodes
from episodes.types import EnvSpec, Observation
from networks.checkpoint import load_config, load_module, reading_checkpoint, save_module


class Policy(nn.Module, ABC):
    """A policy: `fit` on a store with labels, `act` on observations; noise is seeded per episode.

    indicator: the advantage token it acts with, POSITIVE after labels with indicators, else NULL. guidance:
    classifier-free guidance weight beta, 1 is none (pi*0.6 appendix: beta > 1 sharpens towards I = positive).
    """

    settings: ClassVar[type[Any]]  # dataclass of its settings
    name: str
    model: nn.Module
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

    @classmethod
    def make(cls, config: Any, spec: EnvSpec, seed: int = 0, device: str = "cpu") -> Self:
        """Build the policy of `config`, an instance of `settings`, before any training here."""
        return cls(config, spec, seed, device)  # type: ignore[call-arg]

    def saved(self) -> tuple[nn.Module, dict[str, Any]]:
        """The network whose weights are saved, and the facts beside them: "config", and what `restore` reads."""
        return self.model, {"config": asdict(self.config)}

    def restore(self, facts: dict[str, Any]) -> None:
        """Take over the further facts of `saved`, before the weights are loaded."""

    def save(self, folder: Path) -> None:
        """Write weights, settings and the EnvSpec to `folder`."""
        model, facts = self.saved()
        facts |= {"kind": self.name, "indicator": self.indicator, "spec": self.spec.to_json()}
        save_module(folder, model, facts)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Self:
        """Load a policy saved here; another kind or architecture is a ValueError that names it."""
        raw, kind = load_config(folder), cls.settings.name
        if raw.get("kind") != kind:
            raise ValueError(f"policy {folder}: {raw.get('kind')!r} is not {kind}; name a folder of a {kind} policy")
        with reading_checkpoint(folder):
            config, spec = from_json(cls.settings, raw["config"]), EnvSpec.from_json(raw["spec"])
            policy = cls(config, spec, device=device)  # type: ignore[call-arg]
            policy.indicator = raw["indicator"]
            if policy.indicator not in (NEGATIVE, POSITIVE, NULL):
                raise ValueError(f"indicator is {policy.indicator!r}, expected 0, 1 or 2")
            policy.restore(raw)
            load_module(folder, policy.saved()[0])
        return policy.eval()

    @classmethod
    def planned(cls, config: Any, views: int, size: int) -> Any:
        """What the planner needs to size its training (`networks.planned.Planned`); None: nothing large to train."""
        return None

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """The Trainer's objective: the loss with the batch's own indicator."""
        return self.loss(batch, batch["indicator"])
