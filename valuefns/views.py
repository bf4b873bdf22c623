"""The cameras a value was trained with, taken from an episode or from observations in that order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from episodes.types import Observation


def episode_views(images: Mapping[str, np.ndarray], cameras: Sequence[str], what: str) -> np.ndarray:
    """Stack images {camera: (N, H, W, 3)} as (N, V, H, W, 3); a missing camera is a ValueError that names it."""
    return np.stack([_camera(images, camera, what) for camera in cameras], 1)


def observed_views(observations: Sequence[Observation], cameras: Sequence[str], what: str) -> np.ndarray:
    """Stack the images of n observations as (n, V, H, W, 3); a missing camera is a ValueError that names it."""
    return np.stack([np.stack([_camera(o.images, camera, what) for camera in cameras]) for o in observations])


def _camera(images: Mapping[str, Any], camera: str, what: str) -> Any:
    if camera not in images:
        raise ValueError(
            f"{what}: camera {camera!r} is missing among {sorted(images)}; record it, it was trained with it"
        )
    return images[camera]


def require_finite(values: np.ndarray, what: str) -> np.ndarray:
    """Return `values`; one that is not finite is a ValueError that names its frame."""
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ValueError(
            f"{what}: the value of frame {bad[0]} is {values.flat[bad[0]]}; the weights are damaged or training "
            "diverged, train again with a lower learning rate"
        )
    return values
