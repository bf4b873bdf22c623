"""VideoVLA's order of an action: rotation 3, translation 3, gripper 0 closed / 1 open (section 3.1).

Everywhere else in the project an action is (translation 3, rotation vector 3, gripper with the environment's polarity).
"""

from __future__ import annotations

import numpy as np

from episodes.types import EnvSpec

ORDER = [3, 4, 5, 0, 1, 2, 6]
"""Entry i of VideoVLA's action is entry ORDER[i] of the environment's; the permutation is its own inverse."""
GRIPPER = 6


def gripper_ends(spec: EnvSpec) -> tuple[float, float]:
    """The gripper commands (closed, open) of an environment: its action's two bounds, told apart by its polarity.

    Errors: an action that is not (3, 3, gripper), or a gripper that closes inside its bounds, is a ValueError.
    """
    if spec.action_dim != 7 or spec.action_names[GRIPPER] != "gripper":
        named = ", ".join(spec.action_names)
        raise ValueError(f"videovla: actions ({named}) are not (translation 3, rotation 3, gripper); use policy=flow")
    low, high = spec.action_low[GRIPPER], spec.action_high[GRIPPER]
    if spec.gripper_close not in (low, high) or low == high:
        raise ValueError(f"videovla: gripper_close={spec.gripper_close} is no bound of [{low}, {high}]; correct it")
    return (high, low) if spec.gripper_close == high else (low, high)


def to_videovla(actions: np.ndarray, spec: EnvSpec) -> np.ndarray:
    """Environment actions (..., 7) in VideoVLA's order; the gripper becomes the share it is open."""
    closed, opened = gripper_ends(spec)
    x = actions[..., ORDER].astype(np.float32)
    x[..., GRIPPER] = (x[..., GRIPPER] - closed) / (opened - closed)
    return x


def from_videovla(x: np.ndarray, spec: EnvSpec) -> np.ndarray:
    """Inverse of `to_videovla`."""
    closed, opened = gripper_ends(spec)
    actions = x[..., ORDER].astype(np.float32)
    actions[..., GRIPPER] = closed + x[..., GRIPPER] * (opened - closed)
    return actions
