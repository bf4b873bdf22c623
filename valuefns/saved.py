"""A value that was trained before: an ingredient that is applied as it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from episodes.fit import require_spec
from episodes.store import Episodes
from episodes.types import EnvSpec, Episode
from networks.saved import found_value
from networks.settings import LatentsConfig
from valuefns.protocol import ValueFunction, ValueStream
from valuefns.settings import SavedConfig


class SavedValue(ValueFunction):
    """The value saved in `config.folder` (or in a repository of the hub), which nothing fits any more.

    `fit` only compares its EnvSpec with the store's: every episode is scored by the one model, also where others are
    cross-fitted, so that an episode which it was trained on is scored by a model that has seen it
    (`valuefns.trained_on` says which). Name, scale, history, rate and stream are those of the saved value.
    """

    name = SavedConfig.name
    settings = SavedConfig

    def __init__(self, value: ValueFunction, folder: Path, reference: str) -> None:
        self.value, self.folder, self.reference = value, folder, reference
        self.name, self.scale, self.history, self.fps = value.name, value.scale, value.history, value.fps
        self.reads_proprio = value.reads_proprio
        self.spec: EnvSpec | None = getattr(value, "spec", None)
        self.trained_on: tuple[str, ...] | None = getattr(value, "trained_on", None)

    @classmethod
    def make(cls, config: Any, latents: LatentsConfig, seed: int = 0, device: str = "cpu") -> SavedValue:
        from valuefns.make import load_value

        if not config.folder:
            raise ValueError(
                "valuefn=saved: name the value: valuefn.folder=FOLDER, or owner/name[@revision] of the hub"
            )
        found = found_value(config.folder, "valuefn.folder")
        return cls(load_value(found.folder, device), found.folder, found.reference)

    def networks(self) -> dict[str, Any]:
        return self.value.networks()

    def fit(self, store: Episodes, folder: Path | None = None) -> SavedValue:
        if self.spec is not None:
            require_spec(self.spec, store.spec, f"{store.path}, value {self.name!r}", self.reads_proprio)
        return self

    def score(self, episode: Episode, causal: bool = False) -> np.ndarray:
        return self.value.score(episode, causal)

    def score_all(self, episodes: Iterable[Episode], causal: bool = False) -> list[np.ndarray]:
        return self.value.score_all(episodes, causal)

    def stream(self, n: int) -> ValueStream:
        return self.value.stream(n)
