"""What the planner builds and feeds: each learned model at its settings, without weights, and batches of its shapes.

Shapes: B batch, V views, H W pixels, C' latent channels, L text tokens, P proprioception, A action, K chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from networks.clips import STRIDE
from networks.settings import LatentsConfig, TrainerConfig

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


def planned_value(config: Any, latents: LatentsConfig, views: int, size: int) -> Planned | None:
    """The value function that `config` describes; None for one without parameters of its own to train."""
    if config.name == "viva":
        from valuefns.viva_model import ViVaModel

        channels = latent_channels(latents)
        wan = replace(config.wan, checkpoint="", channels=config.wan.channels if config.wan.checkpoint else channels)
        side = size // 16

        def frames(n: int) -> dict[str, Tensor]:
            latent = torch.zeros(n, views, wan.channels, side, side)
            batch = {"latents": latent, "proprio": torch.zeros(n, PROPRIO), "future_proprio": torch.zeros(n, PROPRIO)}
            batch |= {"cost_to_go": torch.zeros(n), "text": torch.zeros(n, config.text.max_length, wan.text_dim)}
            return batch | ({"future_latents": latent} if config.future_image else {})

        small = replace(config, wan=wan)
        return Planned("viva", lambda: ViVaModel(small, PROPRIO), frames, config.training, config.wan.checkpoint)
    if config.name == "wvm":
        from valuefns.wvm_model import WVMModel

        channels = latent_channels(latents) * (1 if latents.name == "wan_vae" else STRIDE)
        wan = replace(config.wan, checkpoint="", channels=config.wan.channels if config.wan.checkpoint else channels)
        side, length = size // 16, config.chunk // STRIDE

        def clips(n: int) -> dict[str, Tensor]:
            clip = torch.zeros(n, wan.channels, length, side, side * views)
            batch = {"current": clip, "future": clip, "values": torch.zeros(n, config.chunk)}
            batch |= {"video_weight": torch.ones(n)}
            return batch | {"text": torch.zeros(n, config.text.max_length, wan.text_dim)}

        small = replace(config, wan=wan)
        return Planned("wvm", lambda: WVMModel(small), clips, config.training, config.wan.checkpoint)
    if config.name == "distributional":
        from valuefns.distributional_model import DistributionalModel

        none = replace(config.encoder, checkpoint="", vision_checkpoint="", language_checkpoint="")
        small = replace(config, encoder=none)

        def pictures(n: int) -> dict[str, Tensor]:
            images = torch.zeros(n, views, size, size, 3, dtype=torch.uint8)
            tokens = torch.zeros(n, 32, dtype=torch.long)  # an instruction's length
            return {"images": images, "tokens": tokens, "real": tokens == 0, "returns": torch.zeros(n)}

        source = config.encoder.checkpoint or config.encoder.vision_checkpoint
        return Planned("distributional", lambda: DistributionalModel(small), pictures, config.training, source)
    return None


def planned_policy(config: Any, views: int, size: int) -> Planned | None:
    """The policy that `config` describes; None for one that is too small to plan."""
    if config.name == "pi05":
        from agents.pi05_model import Pi05Model

        class Objective(Pi05Model):
            def forward(self, batch: dict[str, Tensor]) -> Tensor:
                return self.losses(batch, batch["indicator"])

        small = replace(config, checkpoint="")

        def chunks(n: int) -> dict[str, Tensor]:
            tokens = torch.zeros(n, 3, config.max_tokens, dtype=torch.long)
            return {
                "images": torch.zeros(n, views, size, size, 3, dtype=torch.uint8),
                "tokens": tokens,
                "tokens_mask": tokens == 0,
                "actions": torch.zeros(n, config.chunk, ACTIONS),
                "valid": torch.ones(n, config.chunk, dtype=torch.bool),
                "indicator": torch.zeros(n, dtype=torch.long),
            }

        return Planned("pi05", lambda: Objective(small, PROPRIO, ACTIONS), chunks, config.training, config.checkpoint)
    if config.name == "videovla":
        from agents.videovla_model import VideoVlaModel

        class Denoising(VideoVlaModel):
            pretrained = ("transformer",)

            def forward(self, batch: dict[str, Tensor]) -> Tensor:
                return self.losses(batch, batch["text"])

        transformer = replace(config.transformer, checkpoint="")
        own, side = replace(config, transformer=transformer), size // 8
        wide = side * (len(config.cameras) or 1)

        def futures(n: int) -> dict[str, Tensor]:
            return {
                "latents": torch.zeros(n, config.latents, transformer.channels, side, wide),
                "text": torch.zeros(n, config.text.max_length, transformer.text_dim),
                "actions": torch.zeros(n, config.chunk, ACTIONS),
                "valid": torch.ones(n, config.chunk, dtype=torch.bool),
            }

        source = config.transformer.checkpoint
        return Planned("videovla", lambda: Denoising(own, ACTIONS), futures, config.training, source)
    return None


def latent_channels(latents: LatentsConfig) -> int:
    """C' of a latent frame."""
    return latents.vae.z_dim if latents.name == "wan_vae" else latents.channels
