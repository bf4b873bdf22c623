"""What a model says of itself to be planned: how to build it without weights, and batches of its shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from networks.settings import LatentsConfig, TrainerConfig, WanConfig

PROPRIO, ACTIONS = 9, 7
"""Lift's; neither shows in the sums."""


@dataclass(frozen=True)
class Planned:
    """A model to be planned: how to build it and its batch of n samples, and the settings it is trained with."""

    name: str
    build: Callable[[], nn.Module]
    batch: Callable[[int], dict[str, Tensor]]
    training: TrainerConfig
    source: str = ""  # of the published weights; empty: trained from random ones


def planned_channels(wan: WanConfig, latents: LatentsConfig, stacked: int = 1) -> int:
    """Channels of the latent frames that a Wan transformer reads; without a checkpoint those of `latents`."""
    return wan.channels if wan.checkpoint else latents.width * stacked
