"""The value that knows: the simulator's own task progress in ViVa's scale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from episodes.store import Episodes
from episodes.types import Episode
from valuefns.protocol import ValueFunction


@dataclass
class OracleConfig:
    """Settings of the oracle value: none."""

    name: str = "oracle"


class OracleValue(ValueFunction):
    """V_t = (1 + p_t) / 2 with p_t the simulator's staged task progress in [0, 1].

    The same scale as ViVa's exact value of a success (1 at the end, 1/2 at the start), so the same rewards and
    terminal returns apply. Ours: an upper control for learned values; privileged, never the default.
    Raises ValueError for an episode whose progress is unknown.
    """

    name = "oracle"

    def __init__(self, config: OracleConfig | None = None) -> None:
        self.config = config or OracleConfig()

    def fit(self, store: Episodes, folder: Path | None = None) -> OracleValue:
        return self

    def score(self, episode: Episode, causal: bool = False) -> np.ndarray:
        if np.isnan(episode.progress).any():
            raise ValueError(
                f"oracle value: episode with seed {episode.provenance.seed} has no simulator progress; use viva"
            )
        return ((1 + episode.progress) / 2).astype(np.float32)
