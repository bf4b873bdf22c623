"""What a robosuite task must say about itself, and the few facts its functions read from the raw environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def robosuite_dense(raw: Any) -> float:
    """robosuite's own shaped reward of the state (reward_shaping=True), in [0, 1]."""
    raw.reward_shaping = True
    return float(raw.reward(None))


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
    objects: Callable[[Any], Sequence[Any]] = lambda raw: [raw.cube]  # what the `state` observation describes
    dense: Callable[[Any], float] = robosuite_dense  # raw environment -> hand-made reward in [0, 1]
    grasps: bool = True  # does the goal need the gripper
    oracle: Callable[..., Any] | None = None  # (environments, OracleMix) -> Actor; None: envs/oracles/<name>.py


def grip_position(raw: Any) -> npt.NDArray[np.float64]:
    """Position of the point between the finger pads, (3,) m, world frame."""
    return raw.sim.data._data.site_xpos[raw.robots[0].eef_site_id["right"]].copy()


def grip_rotation(raw: Any) -> npt.NDArray[np.float64]:
    """Rotation matrix (3, 3) of the grip site; its third column points out of the hand."""
    return raw.sim.data._data.site_xmat[raw.robots[0].eef_site_id["right"]].reshape(3, 3).copy()


def object_state(raw: Any, item: Any) -> npt.NDArray[np.float64]:
    """Position, position from the grip (m) and the first two columns of the rotation matrix of an object, (12,)."""
    data, body = raw.sim.data._data, raw.sim.model.body_name2id(item.root_body)
    position = data.xpos[body]
    rotation = data.xmat[body].reshape(3, 3)[:, :2].T.ravel()
    return np.concatenate([position, position - grip_position(raw), rotation])


def grasped(raw: Any, geoms: list[str]) -> bool:
    """True while both finger pads touch one of the named geoms."""
    named = raw.sim.model.geom_name2id
    item = {named(name) for name in geoms}
    pairs = raw.sim.data._data.contact.geom.tolist()  # of geom ids
    touching = {b for a, b in pairs if a in item} | {a for a, b in pairs if b in item}
    pads = raw.robots[0].gripper["right"].important_geoms
    return all(
        not touching.isdisjoint([named(name) for name in pads[side]]) for side in ("left_fingerpad", "right_fingerpad")
    )
