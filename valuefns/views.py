"""The cameras a value was trained with, taken from an episode or from observations in that order."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from episodes.fit import require_episode, require_observation, require_spec
from episodes.store import Episodes
from episodes.types import EnvSpec, Episode, Observation
from valuefns.protocol import ValueFunction

BLANK = 0.01
"""Share of pictures of one colour from which a value says so: a camera that was covered, off or not read."""


def require_store(value: ValueFunction, store: Episodes) -> None:
    """A ValueError with both sides where a learned value was made for other data than `store` holds."""
    spec = getattr(value, "spec", None)
    if spec is not None:
        require_spec(spec, store.spec, f"store {store.path}, value {value.name!r}", value.reads_proprio)


def episode_views(episode: Episode, spec: EnvSpec, what: str, proprio: bool = True) -> np.ndarray:
    """Stack the images of an episode as (T + 1, V, H, W, 3); one that does not fit `spec` is a ValueError.

    Pictures of one colour are warned of: a value that is shown nothing still gives a number.
    """
    require_episode(episode, spec, what, proprio)
    views = np.stack([episode.images[camera] for camera in spec.cameras], 1)
    warn_of_blank(views, spec.cameras, what)
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


def observed_views(observations: Sequence[Observation], spec: EnvSpec, what: str, proprio: bool = True) -> np.ndarray:
    """Stack the images of n observations as (n, V, H, W, 3); one that does not fit `spec` is a ValueError."""
    for observation in observations:
        require_observation(observation, spec, what, proprio)
    return np.stack([np.stack([o.images[camera] for camera in spec.cameras]) for o in observations])


def require_finite(values: np.ndarray, what: str) -> np.ndarray:
    """Return `values`; one that is not finite is a ValueError that names its frame."""
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ValueError(
            f"{what}: the value of frame {bad[0]} is {values.flat[bad[0]]}; the weights are damaged or training "
            "diverged, train again with a lower learning rate"
        )
    return values
