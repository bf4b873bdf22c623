"""What every policy promises: it is an Actor that can be fitted to labelled episodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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
from networks.pretrained import Pretrained


class Policy(Pretrained, nn.Module, ABC):
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
    _instruction: str = ""  # of the episode that `predict` acts in
    _left: list[np.ndarray] | None = None  # actions that `predict` has still to give; None: no episode has begun

    def __repr__(self) -> str:
        size = sum(p.numel() for p in self.parameters()) / 1e6
        token = {NEGATIVE: "negative", POSITIVE: "positive", NULL: "no"}[self.indicator]
        acts = f"acts on {token} indicator, {self.execute} steps a chunk"
        return f"{type(self).__name__}({self.name}, {size:.3g} M parameters, {self.spec!r}, {acts})"

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
    def act(self, observations: Sequence[Observation | None]) -> np.ndarray:
        """Return a chunk of actions for every slot, float32 (n, K, A); one that is given None is not asked."""

    def begin(self, instruction: str = "", seed: int = 0) -> None:
        """Begin an episode of one environment for `predict`; `seed` is that of its noise."""
        self.reset(np.array([True]), np.array([seed]), [instruction])
        self._instruction, self._left = instruction, []

    def predict(
        self, observation: Mapping[str, np.ndarray] | Observation, instruction: str | None = None
    ) -> np.ndarray:
        """Return the next action of one environment, float32 (A,), from its Gymnasium observation.

        observation: a flat Dict of one uint8 (H, W, 3) picture per camera and `proprio`. A chunk's first `execute`
        actions are given one by one before the network is asked again. Call `begin` where an episode begins, with
        info["instruction"]; an `instruction` given here is the one from now on. ValueError: what does not fit.

            observation, info = env.reset(seed=7)
            policy.begin(info["instruction"], seed=7)
            observation, reward, terminated, truncated, info = env.step(policy.predict(observation))
        """
        if self._left is None:
            self.begin(instruction or "")
        if instruction is not None:
            self._instruction = instruction
        assert self._left is not None
        if not self._left:
            self._left = list(self.act([self._observed(observation)])[0][: self.execute])
        return self._left.pop(0)

    def _observed(self, observation: Mapping[str, np.ndarray] | Observation) -> Observation:
        if isinstance(observation, Observation):
            return observation
        missing = [name for name in (*self.spec.cameras, "proprio") if name not in observation]
        if missing:
            raise ValueError(
                f"policy {self.name!r}: the observation has no {', '.join(missing)}, only {sorted(observation)}; give "
                "a Dict with a picture per camera and proprio"
            )
        several = [name for name in self.spec.cameras if np.ndim(observation[name]) != 3]
        if several:
            shape = np.shape(observation[several[0]])
            raise ValueError(
                f"policy {self.name!r}: {several[0]} has shape {shape}; predict takes one environment's observation, "
                "use act for several"
            )
        return Observation.from_gym(observation, self._instruction)

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
