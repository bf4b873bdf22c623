"""Clips of frames to latent frames, four frames to one: Wan's causal VAE, or the stacked latents of the single frames.

Several views lie side by side in the latent frame, (C', H', V W'). Wan's VAE takes 1 + 4k frames to 1 + k latent ones;
the first, of a single frame, is dropped here (WVM section 3.2). `patch_pca` sees single images only: the latents of
four frames are stacked in the channels, and the frame before the clip is not looked at.

Shapes: N frames, B batch, V views, C' latent channels, H' W' latent pixels, k latent frames.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from networks.latents import LatentEncoder, encode_frames
from networks.settings import STRIDE, LatentsConfig


def clip_channels(encoder: LatentEncoder) -> int:
    """Channels of a clip's latent frame: what the video transformer must take in."""
    return clip_width(encoder.config)


def clip_width(latents: LatentsConfig) -> int:
    """The same, before the encoder is built."""
    return latents.vae.z_dim if latents.name == "wan_vae" else STRIDE * latents.channels


def side_by_side(latents: Tensor) -> Tensor:
    """(B, k, V, C', H', W') -> (B, C', k, H', V W')."""
    return latents.permute(0, 3, 1, 4, 2, 5).flatten(4, 5)


def stack_frames(latents: Tensor) -> Tensor:
    """Latents of single frames (B, 4k, V, C, H', W') -> latent frames (B, 4 C, k, H', V W')."""
    return side_by_side(latents.unflatten(1, (-1, STRIDE)).transpose(2, 3).flatten(3, 4))


def encode_clips(encoder: LatentEncoder, frames: np.ndarray, rows: np.ndarray) -> Tensor:
    """Encode the clips rows (B, 1 + 4k), indices into uint8 frames (N, V, H, W, 3): float32 (B, C', k, H', V W').

    The VAE is causal: the first latent frames of a longer clip are those of a shorter one, up to rounding.

    Single frames are encoded once, however many clips they are in; a VAE encodes every clip.
    """
    assert rows.shape[1] % STRIDE == 1, f"a clip has 1 + 4k frames, not {rows.shape[1]}"
    if encoder.config.name == "wan_vae":
        z = encoder.encode_video(
            torch.as_tensor(frames[rows]).transpose(1, 2).flatten(0, 1)
        )  # (B V, C', 1 + k, H', W')
        return side_by_side(z[:, :, 1:].unflatten(0, (len(rows), -1)).permute(0, 3, 1, 2, 4, 5))
    used, place = np.unique(rows[:, 1:], return_inverse=True)
    z = torch.as_tensor(encode_frames(encoder, frames[used], batch=16)[0])  # small enough for a cache
    return stack_frames(z[torch.as_tensor(place.reshape(len(rows), -1))].float())


class ClipBank:
    """The clips of a data set, ready for training; single-frame latents are cached, with copies of shifted pictures.

    images uint8 (N, V, H, W, 3). `shift`: largest whole-pixel shift of a copy; one draw per copy and view, the same for
    all frames, so that nothing seems to move. Copy 0 is unshifted. A VAE encodes on the fly and has no copies.
    """

    def __init__(self, encoder: LatentEncoder, images: np.ndarray, shift: int, copies: int, seed: int) -> None:
        self.encoder, self.images = encoder, images
        self.copies = 1 if encoder.config.name == "wan_vae" else copies
        self.latents: list[Tensor] = []
        if encoder.config.name == "patch_pca":
            alike = np.zeros(len(images), np.int64)
            self.latents = list(torch.as_tensor(encode_frames(encoder, images, shift, copies, seed, alike=alike)))

    def __call__(self, rows: np.ndarray, copy: np.ndarray) -> Tensor:
        """Latent frames (B, C', k, H', V W') of the clips rows (B, 1 + 4k), each from its copy (B,)."""
        if not self.latents:
            return encode_clips(self.encoder, self.images, rows)
        z = torch.stack([self.latents[c][torch.as_tensor(r[1:])] for c, r in zip(copy, rows, strict=True)])
        return stack_frames(z.float())
