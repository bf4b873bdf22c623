"""What a robosuite task must say about itself, and the few facts its functions read from the raw environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Camera:
    """A camera of the MuJoCo model; `position` and `target` (m, world frame) and `fovy` (degrees) replace its own."""

    name: str  # in the MuJoCo model
    position: tuple[float, float, float] | None = None
    target: tuple[float, float, float] | None = None
    fovy: float | None = None


@dataclass(frozen=True)
class Task:
    """One task: a robosuite environment, its instruction, and its success and progress read from the raw one."""

    name: str
    env_id: str
    robosuite_name: str
    instruction: str
    success: Callable[[Any], bool]  # raw environment -> does the goal hold at this instant
    progress: Callable[[Any], float]  # raw environment -> [0, 1], 1 exactly where `success` is true
    cameras: Mapping[str, Camera] = field(default_factory=dict)  # name in observations -> camera
    kwargs: Mapping[str, Any] = field(default_factory=dict)  # further arguments of robosuite.make
    seconds: float = 10.0  # default time limit
    prepare: Callable[[Any], None] | None = None  # changes the raw environment once, after it was built


def grip_position(raw: Any) -> npt.NDArray[np.float64]:
    """Position of the point between the finger pads, (3,) m, world frame."""
    return raw.sim.data._data.site_xpos[raw.robots[0].eef_site_id["right"]].copy()


def grip_rotation(raw: Any) -> npt.NDArray[np.float64]:
    """Rotation matrix (3, 3) of the grip site; its third column points out of the hand."""
    return raw.sim.data._data.site_xmat[raw.robots[0].eef_site_id["right"]].reshape(3, 3).copy()


def grasped(raw: Any, geoms: list[str]) -> bool:
    """True while both finger pads touch one of the named geoms."""
    model, contacts = raw.sim.model, raw.sim.data._data.contact.geom  # (ncon, 2) geom ids
    object_ids = [model.geom_name2id(name) for name in geoms]
    pads = raw.robots[0].gripper["right"].important_geoms
    a, b = contacts[:, 0], contacts[:, 1]
    on_object = np.isin(a, object_ids) | np.isin(b, object_ids)
    for side in ("left_fingerpad", "right_fingerpad"):
        pad_ids = [model.geom_name2id(name) for name in pads[side]]
        if not np.any(on_object & (np.isin(a, pad_ids) | np.isin(b, pad_ids))):
            return False
    return True
