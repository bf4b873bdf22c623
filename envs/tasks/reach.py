"""Reach: bring the grip to a point above a cube.

Description: a Panda arm brings the point between its finger pads to the goal, 5 cm above the centre of the red cube,
which marks it in the images. Nothing need be touched. The scene is robosuite's Lift with a wider range of cubes.

Randomizations: cube position uniform within +-10 cm (x) and +-15 cm (y) of the table's centre and rotation about z
uniform in [0, 2 pi); Gaussian noise of 0.02 rad on the arm's initial joint angles.

Success Conditions: the grip is within 2 cm of the goal. The environment additionally asks for several consecutive
steps.

Staged Progress (`progress`): the share of the way that is done.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.tasks.base import Camera, Task, grip_position

ABOVE = np.array([0.0, 0.0, 0.05])  # m, from the cube's centre to the goal
TOLERANCE = 0.02  # m
FARTHEST = 0.40  # m, the distance at which progress begins; the arm starts at most 0.33 m away


def goal(raw: Any) -> np.ndarray:
    """The point to reach, (3,) m, world frame."""
    return raw.sim.data._data.xpos[raw.cube_body_id] + ABOVE


def distance(raw: Any) -> float:
    """From the grip to the goal in metres."""
    return float(np.linalg.norm(grip_position(raw) - goal(raw)))


def success(raw: Any) -> bool:
    """True while the grip is closer than TOLERANCE to the goal."""
    return distance(raw) < TOLERANCE


def progress(raw: Any) -> float:
    """1 - (d - 2 cm) / (40 cm - 2 cm) in [0, 1) with d the distance from grip to goal; 1 where the goal holds."""
    if success(raw):
        return 1.0
    return float(np.clip(1.0 - (distance(raw) - TOLERANCE) / (FARTHEST - TOLERANCE), 0.0, 1.0 - 1e-6))


def dense(raw: Any) -> float:
    """1 - tanh(10 d) in [0, 1], d the distance from grip to goal in metres, as robosuite rewards reaching."""
    return float(1.0 - np.tanh(10.0 * distance(raw)))


def widen(raw: Any) -> None:
    """Let the cube lie anywhere in the middle of the table."""
    raw.placement_initializer.x_range, raw.placement_initializer.y_range = [-0.1, 0.1], [-0.15, 0.15]


TASK = Task(
    name="reach",
    env_id="foresight/Reach-v0",
    robosuite_name="Lift",
    instruction="reach the point above the red cube",
    success=success,
    progress=progress,
    cameras={
        "agentview": Camera("agentview", position=(0.5, 0.0, 1.35), target=(-0.02, 0.0, 0.91), fovy=40.0),
        "wrist": Camera("robot0_eye_in_hand"),
    },
    seconds=15.0,
    prepare=widen,
    dense=dense,
    grasps=False,
)
