"""What wrappers around pictures did to an observation, undone: frame stacks, colours first, floats in [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from episodes.types import EnvSpec

Array = npt.NDArray[Any]


class Unwrapped:
    """Turns an observation of the space `space` into one of `spec`, where what was done to it can be seen from its box.

    Of a stack the newest frame counts. Floats need a box of 0..1 or 0..255. What is not understood stays as it is, and
    the fit check refuses it with both sides.
    """

    def __init__(self, spec: EnvSpec, space: Any) -> None:
        self.spec = spec
        self.boxes: Mapping[str, Any] = getattr(space, "spaces", {})
        self.scale = {camera: self._scale(camera) for camera in spec.cameras if camera in self.boxes}

    def __call__(self, observation: Mapping[str, Array]) -> dict[str, Array]:
        made = dict(observation)
        for camera in self.spec.cameras:
            if camera in made:
                made[camera] = self._picture(np.asarray(made[camera]), self.scale.get(camera, 0.0))
        P = self.spec.proprio_dim
        proprio = made.get("proprio")
        if proprio is not None and np.shape(proprio) != (P,):
            if np.ndim(proprio) == 2 and np.shape(proprio)[1] == P:
                made["proprio"] = proprio[-1]
            elif np.ndim(proprio) == 1 and len(proprio) % P == 0 and len(proprio) // P == self._stacked():
                made["proprio"] = proprio[-P:]
        return made

    def _picture(self, picture: Array, scale: float) -> Array:
        H, W = self.spec.image_size
        if picture.ndim == 4:  # (frames, H, W, 3) or (frames, 3, H, W)
            picture = picture[-1]
        if picture.ndim == 3 and picture.shape[:2] != (H, W) and picture.shape[1:] == (H, W):
            picture = np.moveaxis(picture, 0, -1)
        if picture.ndim == 3 and picture.shape[:2] == (H, W) and picture.shape[2] > 3 and picture.shape[2] % 3 == 0:
            picture = picture[..., -3:]  # SB3 stacks along the colours, the newest last
        if picture.dtype.kind == "f" and scale and _is_of(picture, scale):
            picture = np.rint(picture * scale).astype(np.uint8)
        return np.ascontiguousarray(picture)

    def _scale(self, camera: str) -> float:
        """What a float picture is multiplied by; 0: its box does not say."""
        box = self.boxes[camera]
        low, high = float(np.min(box.low)), float(np.max(box.high))
        return {(0.0, 1.0): 255.0, (0.0, 255.0): 1.0}.get((low, high), 0.0)

    def _stacked(self) -> int:
        """How many frames the pictures' boxes hold along the colours."""
        sizes = [int(np.prod(self.boxes[camera].shape)) for camera in self.scale]
        H, W = self.spec.image_size
        return sizes[0] // (H * W * 3) if sizes else 0


def _is_of(picture: Array, scale: float) -> bool:
    """Whether a float picture's numbers are what its box says: within 0..1 (scale 255), or no shares of 0..255."""
    low, high = float(picture.min()), float(picture.max())
    shares = scale == 1.0 and high <= 1 and bool((picture % 1 != 0).any())
    return not shares and low >= 0 and round(high * scale) <= 255
