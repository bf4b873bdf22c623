"""CogVideoX's causal video VAE: one latent frame of the current picture, one of every four frames that follow.

Shapes: N clips, F latent frames (1 + 4 (F - 1) frames), C latent channels, h = H / 8, w = W / 8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from episodes.fit import require_multiple
from networks.conv3d import safe_precision
from networks.published import load_pretrained
from networks.settings import CogVideoXVAEConfig
from networks.trainer import Trainer

STRIDE = 4
"""Frames in a latent frame after the first."""


class VideoEncoder(nn.Module):
    """Frozen `AutoencoderKLCogVideoX` with the scale that gives its latents about unit variance.

    The current picture is always encoded alone. The class is causal in its convolutions, but its group norms average
    over all frames of a clip: the first latent of a whole clip depends on the frames after it, which are what the model
    is to predict, and differs from the one that inference can compute.
    Differs from the paper: there, training encodes the whole clip at once (VideoVLA section 3.3).
    """

    def __init__(self, config: CogVideoXVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.vae = _load(config)
        self.fitted = bool(config.checkpoint)
        channels = self.vae.config.latent_channels
        scale = self.vae.config.scaling_factor if config.checkpoint else 1.0
        self.register_buffer("latent_mean", torch.zeros(channels))
        self.register_buffer("latent_std", torch.full((channels,), 1 / scale))
        self.requires_grad_(False)

    @torch.no_grad()
    def encode(self, clips: Tensor, first_only: bool = False) -> Tensor:
        """Latents float (N, F, C, h, w) of uint8 clips (N, 1 + 4k, H, W, 3); `first_only` gives the first frame's."""
        assert clips.shape[1] % STRIDE == 1, f"a clip has 1 + 4k frames, not {clips.shape[1]}"
        pixels = self._pixels(clips[:, :1] if first_only else clips)
        z = latents_of(pixels, lambda x: self.vae.encode(x).latent_dist.mode()).float().transpose(1, 2)
        return (z - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Clips uint8 (N, 1 + 4 (F - 1), H, W, 3) of latents (N, F, C, h, w).

        The class decodes an even number of latent frames to 4 F frames, three too many, without a word: the last one is
        repeated and its frames are cut off.
        """
        z = (latents * self.latent_std[:, None, None] + self.latent_mean[:, None, None]).transpose(1, 2)
        count = z.shape[2]
        if count % 2 == 0:
            z = torch.cat([z, z[:, :, -1:]], 2)
        pixels = self.vae.decode(z.to(self.vae.dtype)).sample[:, :, : 1 + STRIDE * (count - 1)].float()
        return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1)

    def fit(
        self,
        clips: Callable[[np.random.Generator, int], np.ndarray],
        seed: int = 0,
        device: str = "cpu",
        folder: Path | None = None,
    ) -> VideoEncoder:
        """Train on unlabelled clips: `clips(rng, n)` gives n of them, uint8 (n, 1 + 4k, H, W, 3)."""
        training = self.config.training
        if training is None:
            raise ValueError("videovla: a VAE without a checkpoint needs vae.training; use policy=videovla_tiny")

        def batch(step: int) -> dict[str, np.ndarray]:
            return {"clips": clips(np.random.default_rng([seed, step]), training.batch_size)}

        height, width = batch(0)["clips"].shape[2:4]
        safe = safe_precision(training, height, width, device)
        self.vae.requires_grad_(True)
        objective = _Objective(self)
        Trainer(safe, folder, "vae", seed, device).fit(objective, batch)
        self.vae.requires_grad_(False)
        self.eval()
        drawn = torch.as_tensor(clips(np.random.default_rng([seed]), 64))
        z = torch.cat([self.encode(part.to(device)) for part in drawn.split(16)])
        self.latent_mean.copy_(z.mean((0, 1, 3, 4)))
        self.latent_std.copy_(z.std((0, 1, 3, 4)).clamp(min=1e-4))
        self.fitted = True
        return self

    def shape(self) -> CogVideoXVAEConfig:
        """Settings that build this class again without a checkpoint, for weights that are saved with it."""
        found = self.vae.config
        return replace(
            self.config,
            checkpoint="",
            widths=tuple(found.block_out_channels),
            channels=found.latent_channels,
            layers=found.layers_per_block,
            groups=found.norm_num_groups,
        )

    def _pixels(self, clips: Tensor) -> Tensor:
        require_multiple((clips.shape[2], clips.shape[3]), 16, "videovla needs")
        return (clips.to(self.latent_mean.device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1).to(self.vae.dtype)


def latents_of(pixels: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """(N, C, F, h, w): the first frame encoded alone, the others within their clip."""
    first = encode(pixels[:, :, :1])
    return first if pixels.shape[2] == 1 else torch.cat([first, encode(pixels)[:, :, 1:]], 2)


def _load(config: CogVideoXVAEConfig) -> Any:
    from diffusers import AutoencoderKLCogVideoX

    if config.checkpoint:
        return load_pretrained(AutoencoderKLCogVideoX, config.checkpoint, "vae", config.revision, what="cogvideox vae")
    return AutoencoderKLCogVideoX(
        block_out_channels=tuple(config.widths),
        latent_channels=config.channels,
        layers_per_block=config.layers,
        norm_num_groups=config.groups,
    )


class _Objective(nn.Module):
    """Mean squared error of the reconstruction plus the weighted KL of the posterior, per clip."""

    def __init__(self, encoder: VideoEncoder) -> None:
        super().__init__()
        self.vae, self.pixels, self.kl_weight = encoder.vae, encoder._pixels, encoder.config.kl_weight

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        x, kl = self.pixels(batch["clips"]), []

        def encode(part: Tensor) -> Tensor:
            posterior = self.vae.encode(part).latent_dist
            kl.append(posterior.kl().flatten(1).sum(1))  # the class leaves one axis of a video latent unsummed
            return posterior.sample()

        z = latents_of(x, encode)
        assert z.shape[2] % 2 == 1, "the class decodes an odd number of latent frames"
        error = (self.vae.decode(z).sample.float() - x.float()).square().mean((1, 2, 3, 4))
        return error + self.kl_weight * torch.stack(kl).sum(0)
