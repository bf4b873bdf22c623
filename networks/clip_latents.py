"""The latents of every training clip of a data set, encoded once, in memory or shared between runs on disk.

Shapes: M steps, F latent frames, C channels, h w latent pixels, V views.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.files import atomic_folder, make_once, sync
from episodes.mapped import new_array
from episodes.store_index import named
from episodes.windows import DecodedCache
from networks.augment import move_images
from networks.checkpoint import content_sha256
from networks.cogvideox_vae import VideoEncoder

ENCODED_TOGETHER = 1_200_000
"""Pixels that are encoded at once: sixteen clips of two 64-pixel views, or one at the published size."""


def clip_rows(data: DecodedCache, frames: int, stride: int) -> np.ndarray:
    """Rows (M, frames) of `data.images`: the clip that begins at each step, its end repeated past the episode's."""
    episode = np.repeat(np.arange(len(data)), data.lengths)
    first = np.arange(len(data.actions)) - data.step_offsets[episode]
    ahead = first[:, None] + stride * np.arange(frames)
    return data.frame_offsets[episode][:, None] + np.minimum(ahead, data.lengths[episode][:, None])


def views_of(data: DecodedCache, cameras: Sequence[str]) -> list[int]:
    """Places of the cameras among those of the data's EnvSpec."""
    return [data.spec.cameras.index(name) for name in cameras]


def join_views(latents: Tensor) -> Tensor:
    """(N, V, F, C, h, w) -> (N, F, C, h, V w)."""
    return latents.permute(0, 2, 3, 4, 1, 5).flatten(4, 5)


def apart(latents: Tensor, views: int) -> Tensor:
    """Inverse of `join_views`: (N, F, C, h, V w) -> (N, V, F, C, h, w)."""
    return latents.unflatten(4, (views, -1)).permute(0, 4, 1, 2, 3, 5)


def vae_clips(data: DecodedCache, views: Sequence[int], stride: int) -> Callable[[np.random.Generator, int], Any]:
    """What a VAE is trained on: random clips of nine frames (three latent frames) of a random view."""
    rows = clip_rows(data, 9, stride)

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        chosen = rows[np.sort(rng.integers(len(rows), size=n))]
        return np.asarray(data.images[chosen, rng.choice(views, size=n)[:, None]])

    return draw


@torch.no_grad()
def encode_views(encoder: VideoEncoder, clips: np.ndarray, first_only: bool = False) -> Tensor:
    """Latents float32 (N, F, C, h, V w) of clips uint8 (N, frames, V, H, W, 3); each view is encoded by itself."""
    flat = torch.as_tensor(clips).transpose(1, 2).flatten(0, 1)
    return join_views(encoder.encode(flat, first_only).unflatten(0, (len(clips), -1)))


def clip_latents(
    encoder: VideoEncoder,
    data: DecodedCache,
    views: Sequence[int],
    frames: int,
    stride: int,
    shift: int,
    copies: int,
    seed: int,
    folder: Path | None = None,
) -> np.ndarray:
    """Latents float16 (copies, M, F, C, h, V w) of the clips of `frames` frames that begin at each step.

    Copy 0 is unshifted; in the others each view of a clip is shifted by its own whole-pixel draw, the same for all its
    frames, so that nothing seems to move. Encoded in bfloat16. With `folder` they are kept there, addressed by what
    made them, and memory-mapped.
    """
    rows = clip_rows(data, frames, stride)
    batch = max(1, ENCODED_TOGETHER // (frames * len(views) * data.images[0, 0, :, :, 0].size))

    def fill(shape_of: Callable[[tuple[int, ...]], np.ndarray]) -> np.ndarray:
        out = None
        for copy in range(copies):
            rng = np.random.default_rng([seed, copy])
            for start in range(0, len(rows), batch):
                clips = np.asarray(data.images[rows[start : start + batch]][:, :, list(views)])
                if copy:
                    moved = rng.integers(-shift, shift + 1, (len(clips), len(views), 2))
                    clips = np.stack([move_images(c, m) for c, m in zip(clips, moved, strict=True)])
                with torch.autocast(encoder.latent_mean.device.type, torch.bfloat16):
                    z = encode_views(encoder, clips)
                out = shape_of((copies, len(rows), *z.shape[1:])) if out is None else out
                out[copy, start : start + len(z)] = z.cpu().numpy()
        assert out is not None, "no clips to encode"
        return out

    if folder is None:
        return fill(lambda shape: np.empty(shape, np.float16))
    facts = [data.content_hash, content_sha256(encoder.state_dict(), ""), list(views), frames, stride]
    facts += [shift, copies, seed if copies > 1 else 0]
    place = Path(folder) / f"clips-{address(*facts)}"
    make_once(place, place.exists, lambda: _write(place, fill))
    with named(place / "latents.npy", "delete its folder, it is encoded again"):
        found: np.ndarray = np.load(place / "latents.npy", mmap_mode="r", allow_pickle=False)
        if found.shape[:3] != (copies, len(rows), 1 + frames // 4) or found.dtype != np.float16:
            raise ValueError(f"{found.dtype} {found.shape} are not the latents of {len(rows)} clips")
    return found


def address(*facts: Any) -> str:
    """A short content address of json-able facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _write(place: Path, fill: Callable[[Callable[[tuple[int, ...]], np.ndarray]], np.ndarray]) -> None:
    with atomic_folder(place) as beside:
        fill(lambda shape: new_array(beside / "latents.npy", np.float16, shape)).flush()  # type: ignore[attr-defined]
        sync(beside / "latents.npy")
