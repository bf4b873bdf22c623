"""Values with a network of their own: saved as settings, EnvSpec and weights, and read back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch import nn

from episodes.settings import from_json
from episodes.store import Episodes
from episodes.types import EnvSpec, Episode
from networks.checkpoint import load_config, load_module, reading_checkpoint, save_module
from networks.latents import LatentEncoder, latents_config
from networks.settings import LatentsConfig
from valuefns.protocol import ValueFunction
from valuefns.views import require_store


class LearnedValue(ValueFunction):
    """A value with a network. encoder: what makes its latent frames, of a value that reads them."""

    config: Any
    device: str
    spec: EnvSpec | None = None  # of what it was fitted on
    model: Any = None  # its network
    encoder: LatentEncoder | None = None

    def score_all(self, episodes: Iterable[Episode], causal: bool = False) -> list[np.ndarray]:
        """The values of several episodes; a store that does not fit is refused before the first (ValueError)."""
        if isinstance(episodes, Episodes):
            require_store(self, episodes)
        return super().score_all(episodes, causal)

    def _told(self) -> str:
        if self.model is None:
            return ", not fitted"
        return f", {sum(p.numel() for p in self.model.parameters()) / 1e6:.3g} M parameters, {self.spec!r}"

    @abstractmethod
    def network(self, spec: EnvSpec) -> nn.Module:
        """The network with random weights, for data of an EnvSpec."""

    @classmethod
    def without_sources(cls, config: Any) -> Any:
        """The settings without the places its weights once came from: a saved value has them in its own folder."""
        return config

    def save(self, folder: Path) -> None:
        """Write weights, settings, EnvSpec and latent encoder to `folder`."""
        assert self.model is not None and self.spec is not None, "fit or load the value first"
        if self.encoder is not None:
            self.encoder.save(folder / "latents")
        facts = {"kind": self.name, "config": asdict(self.config), "spec": self.spec.to_json()}
        save_module(folder, self.model, facts)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Self:
        """Load a value saved here; a damaged or foreign folder is a ValueError that names it."""
        assert cls.settings is not None, f"{cls.__name__} has no settings"
        raw, kind = load_config(folder), cls.settings.name
        if raw.get("kind") != kind:
            raise ValueError(f"value {folder}: {raw.get('kind')!r} is not {kind}; name the folder of a {kind} value")
        with reading_checkpoint(folder):
            cls.require_readable(raw["config"], folder)
            config = cls.without_sources(from_json(cls.settings, raw["config"]))
            latents = LatentsConfig()
            if getattr(config, "needs_latents", False):
                latents = latents_config(folder / "latents")
            value = cls.make(config, latents, device=device)
            value.spec = EnvSpec.from_json(raw["spec"])
            value.model = value.network(value.spec).to(device)
            load_module(folder, value.model)
            value.model.eval()
        return value

    @classmethod
    def require_readable(cls, config: dict[str, Any], folder: Path) -> None:
        """Refuse the saved settings of a value whose network computed something else (ValueError)."""
