"""Random image shift, the augmentation that image policies and values here share."""

from __future__ import annotations

import numpy as np


def shift_images(images: np.ndarray, pixels: int, rng: np.random.Generator) -> np.ndarray:
    """Shift each uint8 image of (N, V, H, W, C) by its own whole-pixel draw in [-pixels, pixels]^2, edges repeated.

    Runs beside the data, one small copy per image: index arithmetic on the whole batch is ten times slower.
    Source: DrQ (Kostrikov et al. 2020), section 3.1.
    """
    if pixels == 0:
        return images
    N, V, H, W, _ = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
    corner = rng.integers(0, 2 * pixels + 1, size=(N, V, 2))
    out = np.empty_like(images)
    for i in range(N):
        for v in range(V):
            y, x = corner[i, v]
            out[i, v] = padded[i, v, y : y + H, x : x + W]
    return out


def move_images(images: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Shift every image of (N, V, H, W, C) by its view's (down, right) pixels in moved (V, 2), edges repeated."""
    if not moved.any():
        return images
    H, W = images.shape[2:4]
    out = np.empty_like(images)
    for v, (down, right) in enumerate(moved):
        y, x = np.clip(np.arange(H) - down, 0, H - 1), np.clip(np.arange(W) - right, 0, W - 1)
        out[:, v] = images[:, v][:, y][:, :, x]
    return out
