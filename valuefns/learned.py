"""Values with a network of their own: saved as settings, EnvSpec and weights, and read back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from episodes.fit import require_same_data
from episodes.settings import from_json
from episodes.store import Episodes
from episodes.types import EnvSpec, Episode
from networks.checkpoint import load_config, load_module, reading_checkpoint, save_module
from networks.latents import LatentEncoder, latents_config
from networks.saved import found_value
from networks.settings import LatentsConfig
from networks.starting import require_same_model
from valuefns.protocol import ValueFunction
from valuefns.trained_on import names_of, trained_on
from valuefns.views import require_store


class LearnedValue(ValueFunction):
    """A value with a network. encoder: what makes its latent frames, of a value that reads them.

    trained_on: the episodes it learned from (`valuefns.trained_on`); None where that is not known.
    """

    config: Any
    device: str
    spec: EnvSpec | None = None  # of what it was fitted on
    model: Any = None  # its network
    encoder: LatentEncoder | None = None
    seed: int = 0  # of its random weights
    trained_on: tuple[str, ...] | None = None

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

    def begin(self, store: Episodes) -> bool:
        """Build the network to train on `store`: with random weights (false), or those of `config.init` (true).

        Saved weights come with the scales of their inputs, which stay. Errors (ValueError): the saved value is another
        model than these settings describe, or was made for other data; the first thing that differs is named.
        """
        init = str(getattr(self.config, "init", ""))
        torch.manual_seed(self.seed)
        self.spec, self.trained_on = store.spec, names_of(store)
        if not init:
            self.model = self.network(store.spec).to(self.device)
            return False
        folder = found_value(init, f"value {self.name!r}, init").folder
        raw = self.read_saved(folder)
        with reading_checkpoint(folder):
            spec = EnvSpec.from_json(raw["spec"])
        require_same_data(spec, store.spec, f"value {self.name!r}, init={folder}", self.reads_proprio)
        self.config = self.without_sources(self.config)
        self.model = self.network(store.spec).to(self.device)
        load_module(folder, self.model)
        if (before := trained_on(raw)) is None:
            self.trained_on = None
        else:
            self.trained_on = tuple(dict.fromkeys([*before, *self.trained_on]))
        return True

    @classmethod
    def read_saved(cls, folder: Path) -> dict[str, Any]:
        """The config.json of a value of this kind; another kind is a ValueError."""
        assert cls.settings is not None, f"{cls.__name__} has no settings"
        raw, kind = load_config(folder), cls.settings.name
        if raw.get("kind") != kind:
            raise ValueError(f"value {folder}: {raw.get('kind')!r} is not {kind}; name the folder of a {kind} value")
        return raw

    @classmethod
    def started(cls, config: Any, latents: LatentsConfig) -> LatentsConfig:
        """The latent encoder of the saved value that `config.init` names, for weights that were trained on its latents.

        Errors (ValueError): another model than `config` and `latents` describe; the first difference is named.
        """
        what = f"value {config.name!r}, init={config.init}"
        folder = found_value(config.init, f"value {config.name!r}, init").folder
        raw = cls.read_saved(folder)
        with reading_checkpoint(folder):
            cls.require_readable(raw["config"], folder)
            saved = from_json(cls.settings, raw["config"])  # type: ignore[arg-type]
        require_same_model(saved, cls.as_made(config, latents), config.retrained, what)
        if not getattr(config, "needs_latents", False):
            return latents
        own = latents_config(folder / "latents")
        if own.name != latents.name:
            raise ValueError(
                f"{what}: it reads latents={own.name}, asked for is {latents.name}; use latents={own.name}"
            )
        return own

    @classmethod
    def as_made(cls, config: Any, latents: LatentsConfig) -> Any:
        """The settings that `make` gives the value: some are what the latents say."""
        return config

    @classmethod
    def without_sources(cls, config: Any) -> Any:
        """The settings without the places its weights once came from: a saved value has them in its own folder."""
        return config

    def save(self, folder: Path) -> None:
        """Write weights, settings, EnvSpec and latent encoder to `folder`."""
        assert self.model is not None and self.spec is not None, "fit or load the value first"
        if self.encoder is not None:
            self.encoder.save(folder / "latents")
        facts: dict[str, Any] = {"kind": self.name, "config": asdict(self.config), "spec": self.spec.to_json()}
        if self.trained_on is not None:
            facts["trained_on"] = list(self.trained_on)
        save_module(folder, self.model, facts)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Self:
        """Load a value saved here; a damaged or foreign folder is a ValueError that names it."""
        raw = cls.read_saved(folder)
        with reading_checkpoint(folder):
            cls.require_readable(raw["config"], folder)
            config = cls.without_sources(from_json(cls.settings, raw["config"]))  # type: ignore[arg-type]
            if getattr(config, "init", ""):  # its weights have started
                config = replace(config, init="")
            latents = LatentsConfig()
            if getattr(config, "needs_latents", False):
                latents = latents_config(folder / "latents")
            value = cls.make(config, latents, device=device)
            value.spec, value.trained_on = EnvSpec.from_json(raw["spec"]), trained_on(raw)
            value.model = value.network(value.spec).to(device)
            load_module(folder, value.model)
            value.model.eval()
        return value

    @classmethod
    def require_readable(cls, config: dict[str, Any], folder: Path) -> None:
        """Refuse the saved settings of a value whose network computed something else (ValueError)."""
