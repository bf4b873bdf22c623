"""The cameras a value was trained with, taken from an episode or from observations in that order."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from episodes.types import Observation

BLANK = 0.01
"""Share of pictures of one colour from which a value says so: a camera that was covered, off or not read."""


def episode_views(images: Mapping[str, np.ndarray], cameras: Sequence[str], what: str) -> np.ndarray:
    """Stack images {camera: (N, H, W, 3)} as (N, V, H, W, 3); a missing camera is a ValueError that names it.

    Pictures of one colour are warned of: a value that is shown nothing still gives a number.
    """
    views = np.stack([_camera(images, camera, what) for camera in cameras], 1)
    warn_of_blank(views, cameras, what)
    return views


def require_pictures(images: np.ndarray, cameras: Sequence[str], what: str) -> None:
    """Refuse pictures (N, V, H, W, 3) that show nothing to learn from, and warn of some of one colour.

    ValueError naming the camera: every picture is of one colour, or all are the same picture.
    """
    for v, camera in enumerate(cameras):
        share = _blank(images[:, v]).mean()
        if share == 1:
            raise ValueError(
                f"{what}: every picture of camera {camera!r} is of one colour ({images[0, v, 0, 0].tolist()} in "
                "the first): there is nothing to see; record them again, or leave the camera out of the task's cameras"
            )
        if len(images) > 1 and all(np.array_equal(images[0, v], picture) for picture in images[1:, v]):
            raise ValueError(
                f"{what}: camera {camera!r} shows the same picture in every frame; record again with a camera that "
                "runs, or leave it out of the task's cameras"
            )
    warn_of_blank(images, cameras, what)


def warn_of_blank(images: np.ndarray, cameras: Sequence[str], what: str) -> None:
    """Warn of a camera with BLANK or more of its pictures (N, V, H, W, 3) of one colour."""
    for v, camera in enumerate(cameras):
        share = _blank(images[:, v]).mean()
        if share >= BLANK:
            warnings.warn(
                f"{what}: {100 * share:.0f} % of the pictures of camera {camera!r} are of one colour, a value sees "
                "nothing there; was the camera covered or off?",
                stacklevel=3,
            )


def _blank(pictures: np.ndarray) -> np.ndarray:
    """Which pictures (N, H, W, 3) are of one colour, bool (N,)."""
    flat = pictures.reshape(len(pictures), -1, pictures.shape[-1])
    suspects = (flat[:, 0] == flat[:, flat.shape[1] // 2]).all(1) & (flat[:, 0] == flat[:, -1]).all(1)
    blank = np.zeros(len(pictures), bool)
    at = np.flatnonzero(suspects)  # most pictures are cleared by three pixels
    blank[at] = [bool((flat[i] == flat[i, 0]).all()) for i in at]
    return blank


def require_proprio(proprio: np.ndarray, names: Sequence[str], what: str) -> None:
    """ValueError unless proprioception (N, P) has the numbers that the value was trained with."""
    if proprio.ndim != 2 or proprio.shape[1] != len(names):
        raise ValueError(
            f"{what}: proprioception has shape {proprio.shape}, the value was trained with {len(names)} numbers a "
            f"frame ({', '.join(names[:3])}, ...); score episodes of the robot it was trained on"
        )


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
