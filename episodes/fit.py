"""Whether what somebody gives fits what a value or a policy was made for: one check, one line with both sides.

Used at the first touch by everything that reads: labels, training, the bench, rankings, shaped rewards, servers, and
`score` and `act` in Python. Nothing is clipped or resized here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from episodes.types import EnvSpec, Episode, Observation


def require_spec(mine: EnvSpec, theirs: EnvSpec, what: str, proprio: bool = True) -> None:
    """A ValueError naming the first thing in which data of `theirs` differs from what `what` was made for (`mine`).

    proprio: whether it reads the proprioception. Cameras may be more than wanted; actions do not matter to a value.
    """
    if missing := [camera for camera in mine.cameras if camera not in theirs.cameras]:
        has = ", ".join(theirs.cameras) or "none"
        raise ValueError(
            f"{what}: it sees the cameras {', '.join(mine.cameras)}, the data has {has}; record or import "
            f"{missing[0]!r} under that name"
        )
    if theirs.image_size != mine.image_size:
        raise ValueError(_sizes(what, mine.image_size, theirs.image_size) + _READ.format(*mine.image_size))
    if theirs.hz != mine.hz:
        raise ValueError(f"{what}: it was made at {mine.hz:g} Hz, the data has {theirs.hz:g} Hz; record at that rate")
    if proprio and theirs.proprio_names != mine.proprio_names:
        raise ValueError(
            f"{what}: it reads the state {_names(mine.proprio_names)}, the data has {_names(theirs.proprio_names)}; "
            "import the same vectors (state=[...])"
        )


_READ = "read the store with image_size=[{},{}]"
_SHOW = "give pictures of that size (to the environment: image_size={})"


def require_same_data(mine: EnvSpec, theirs: EnvSpec, what: str, proprio: bool = True) -> None:
    """The same for data that what was made for `mine` is to be trained further on: the cameras are the same, too."""
    require_spec(mine, theirs, what, proprio)
    if theirs.cameras != mine.cameras:
        raise ValueError(
            f"{what}: it sees the cameras {', '.join(mine.cameras)}, the data has {', '.join(theirs.cameras)}; record "
            "or import these alone, in that order"
        )


def require_episode(episode: Episode, spec: EnvSpec, what: str, proprio: bool = True) -> None:
    """The same for the arrays of one episode."""
    for camera in spec.cameras:
        _require_pictures(episode.images, camera, spec, what, _READ.format(*spec.image_size))
    if episode.hz != spec.hz:
        raise ValueError(f"{what}: it was made at {spec.hz:g} Hz, the episode has {episode.hz:g} Hz")
    if proprio:
        _require_proprio(episode.proprio, spec, what)
        warn_of_still_proprio(episode.proprio, spec.proprio_names, what)


def warn_of_still_proprio(proprio: npt.NDArray[Any], names: Sequence[str], what: str) -> None:
    """Warn where a proprioception (N, P) that is read says nothing: 0 throughout, or the same in every frame."""
    proprio = np.asarray(proprio)
    if not proprio.size or len(proprio) < 2 or (proprio != proprio[0]).any(-1).any():
        return
    found = "0" if not proprio.any() else "the same"
    warnings.warn(
        f"{what}: the proprioception ({_names(tuple(names))}) is {found} in every frame, and it is read; record the "
        "robot's state, or use a model that reads none",
        stacklevel=3,
    )


def require_observation(observation: Observation, spec: EnvSpec, what: str, proprio: bool = True) -> None:
    """The same for the arrays of one observation."""
    for camera in spec.cameras:
        _require_pictures(observation.images, camera, spec, what, _SHOW.format(spec.image_size[0]))
    if proprio:
        _require_proprio(observation.proprio, spec, what)


def require_actions(actions: npt.NDArray[Any], spec: EnvSpec, what: str) -> None:
    """A ValueError where actions (M, A) lie outside the bounds to which a policy of `spec` would clip its own."""
    for i, name in enumerate(spec.action_names):
        low, high = float(actions[:, i].min()), float(actions[:, i].max())
        if low < spec.action_low[i] - 1e-3 or high > spec.action_high[i] + 1e-3:
            raise ValueError(
                f"{what}: actions {name} are {low:.4g}..{high:.4g}, its EnvSpec says {spec.action_low[i]:g}.."
                f"{spec.action_high[i]:g}, to which a policy would clip; import with other bounds (spec=FILE)"
            )


def require_multiple(size: tuple[int, int], multiple: int, what: str) -> None:
    """A ValueError where a size (H, W) is no multiple, with the next one that is; what: "latents need"."""
    if size[0] % multiple or size[1] % multiple:
        H, W = (math.ceil(n / multiple) * multiple for n in size)
        raise ValueError(
            f"image size {size[0]} x {size[1]}: {what} multiples of {multiple}; for a recorded store "
            f"image_size=[{H},{W}] (or import it with image_size=[{H},{W}]), for a simulated task "
            f"task.image_size={max(H, W)}"
        )


def _require_pictures(images: Mapping[str, Any], camera: str, spec: EnvSpec, what: str, way: str) -> None:
    wanted = (*spec.image_size, 3)
    if camera not in images:
        raise ValueError(
            f"{what}: camera {camera!r} is missing among {sorted(images)}; record it, it was trained with it"
        )
    pictures = np.asarray(images[camera])
    shape = pictures.shape[-3:]
    if pictures.dtype != np.uint8:
        raise ValueError(
            f"{what}: pictures of {camera} are {pictures.dtype}, it was made for uint8 0..255; "
            + (
                "give them as uint8"
                if pictures.dtype.kind in "iu"
                else "leave out the wrapper that scales them, or scale them back"
            )
        )
    if shape == wanted and pictures.ndim in (3, 4):
        return
    if pictures.ndim >= 3 and len(shape) == 3 and shape[-1] == 3:
        raise ValueError(_sizes(f"{what}, {camera}", spec.image_size, (shape[0], shape[1])) + way)
    turned = len(shape) == 3 and shape[0] == 3
    grey = pictures.ndim == 2 or shape[-1] == 1
    raise ValueError(
        f"{what}: pictures of {camera} have shape {pictures.shape}, it was made for {wanted}; "
        + (
            "put the colours last"
            if turned
            else "leave out the wrapper that makes them grey"
            if grey
            else "give single RGB pictures, without a frame stack"
        )
    )


def _require_proprio(proprio: npt.NDArray[Any], spec: EnvSpec, what: str) -> None:
    shape = np.asarray(proprio).shape
    if shape[-1:] != (spec.proprio_dim,):
        raise ValueError(
            f"{what}: proprioception has shape {shape}, it was made for {spec.proprio_dim} numbers a frame: "
            f"{_names(spec.proprio_names)}; give these"
        )


def _sizes(what: str, mine: tuple[int, int], theirs: tuple[int, int]) -> str:
    return f"{what}: pictures are {theirs[0]}x{theirs[1]}, it was made for {mine[0]}x{mine[1]}; "


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:4])
    return f"{shown}{', ...' if len(names) > 4 else ''} ({len(names)})"
