"""Random image shift, the augmentation that image policies and values here share."""

from __future__ import annotations

import numpy as np


def shift_images(images: np.ndarray, pixels: int, rng: np.random.Generator) -> np.ndarray:
    """Shift each uint8 image of (N, V, H, W, C) by its own whole-pixel draw in [-pixels, pixels]^2, edges repeated.

    Source: DrQ (Kostrikov et al. 2020), section 3.1.
    """
    if pixels == 0:
        return images
    return move_images(images, pixels - rng.integers(0, 2 * pixels + 1, size=(*images.shape[:2], 2)))


def move_images(images: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Shift each image of (N, V, H, W, C) by its (down, right) pixels in moved (N, V, 2), edges repeated.

    moved (V, 2) shifts all images of a view alike. Runs beside the data, one small copy per image: index arithmetic on
    the whole batch is ten times slower.
    """
    if not moved.any():
        return images
    N, V, H, W, _ = images.shape
    p = int(np.abs(moved).max())
    padded = np.pad(images, ((0, 0), (0, 0), (p, p), (p, p), (0, 0)), mode="edge")
    corner = p - np.broadcast_to(moved, (N, V, 2))
    out = np.empty_like(images)
    for i, v in np.ndindex(N, V):
        y, x = corner[i, v]
        out[i, v] = padded[i, v, y : y + H, x : x + W]
    return out
