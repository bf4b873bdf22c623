"""Actions from one convention to another: rotations as Euler angles or rotation vectors, grippers of either polarity.

An action is (x, y, z, three of a rotation, gripper): displacements of the hand in metres, a turn in radians.
    euler_xyz          R = R_z(yaw) R_y(pitch) R_x(roll), about the fixed axes (SciPy "xyz"; RT-1's and Bridge's)
    rotation_vector    axis times angle
    gripper            from the value that closes to the one that opens, linearly
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from episodes.importing.convention import seen
from episodes.importing.known import Draft, Drafts
from episodes.importing.reading import Fault, reading_source
from episodes.types import EnvSpec, Episode

ROTATIONS = ("euler_xyz", "rotation_vector")
Array = npt.NDArray[np.float32]


def convert_rotation(rotation: npt.NDArray[Any], source: str, target: str) -> npt.NDArray[np.float64]:
    """Rotations (N, 3) from one form to another (ROTATIONS); angles come back in [-pi, pi], pitch in [-pi/2, pi/2]."""
    from scipy.spatial.transform import Rotation

    if source == target:
        return np.asarray(rotation, np.float64)
    turn = Rotation.from_euler("xyz", rotation) if source == "euler_xyz" else Rotation.from_rotvec(rotation)
    found: npt.NDArray[np.float64] = turn.as_rotvec() if target == "rotation_vector" else turn.as_euler("xyz")
    return found


def convert_actions(actions: npt.NDArray[Any], source: EnvSpec, target: EnvSpec) -> Array:
    """Actions (N, 7) said as `source` says them, as `target` would say them; float32.

    Bounds are not applied: what lies outside of the target's is for its environment to clip. Errors: specs of which one
    does not say its rotation or gripper, or whose units differ, are a ValueError that names the field.
    """
    for spec in (source, target):
        if spec.action_dim != 7:
            raise ValueError(f"{spec.env_id}: {spec.action_dim} actions, a hand's pose and gripper are 7")
        if spec.rotation not in ROTATIONS:
            raise ValueError(f"{spec.env_id}: rotation is {spec.rotation!r}; say {' or '.join(ROTATIONS)}")
    if source.action_units[:6] != target.action_units[:6]:
        raise ValueError(
            f"{source.env_id}: action_units {source.action_units[:6]} are not those of {target.env_id}, "
            f"{target.action_units[:6]}; give a spec with equal units"
        )
    made = np.array(actions, np.float64)
    made[:, 3:6] = convert_rotation(made[:, 3:6], source.rotation, target.rotation)
    (shut, wide), (closes, opens) = gripper_values(source), gripper_values(target)
    made[:, 6] = closes + (made[:, 6] - shut) * (opens - closes) / (wide - shut)
    return made.astype(np.float32)


def gripper_values(spec: EnvSpec) -> tuple[float, float]:
    """The gripper's values that close and open: the bounds of its action, of which the spec names the closing one."""
    low, high, close = spec.action_low[-1], spec.action_high[-1], spec.gripper_close
    if not (math.isfinite(low) and math.isfinite(high)) or close not in (low, high):
        raise ValueError(
            f"{spec.env_id}: gripper_close {close:g} is neither bound of the gripper's action, {low:g} and {high:g}; "
            "give gripper_close, action_low and action_high"
        )
    return close, high if close == low else low


def converted(spec: EnvSpec, drafts: Drafts, fields: Mapping[str, Any]) -> tuple[EnvSpec, Drafts]:
    """The episodes with their actions as `fields` of an EnvSpec say them, and the spec that then holds for them."""
    target = replace(spec, **fields)
    convert_actions(np.zeros((0, spec.action_dim)), spec, target)  # what cannot work is said before anything is read

    def rewritten(draft: Draft) -> Episode:
        episode = draft.make()
        with reading_source(draft.place, f"episode {draft.number}"):
            if seen([(episode.actions, episode.proprio)]) == "absolute":
                said = "displacements are to be converted, its actions follow the state's first three numbers (poses)"
                raise Fault("conversion", said)
        return replace(episode, actions=convert_actions(episode.actions, spec, target))

    return target, (replace(draft, make=partial(rewritten, draft)) for draft in drafts)
