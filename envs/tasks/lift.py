"""Lift: pick a cube up from a table.

Description: a Panda arm grasps the red cube (4.0-4.4 cm wide, the same in every episode) and lifts it off the table.

Randomizations: cube position uniform within +-3 cm of the table's centre and rotation about z uniform in [0, 2 pi);
Gaussian noise of 0.02 rad on the arm's initial joint angles.

Success Conditions: the cube's centre is more than 4 cm above the table top (robosuite's own criterion; it rests at
about 2 cm). The environment additionally asks for several consecutive steps.

Staged Progress (`progress`): 0.4 for reaching, 0.2 for the grasp, 0.4 for lifting.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.tasks.base import Camera, Task, grasped, grip_position

SUCCESS_HEIGHT = 0.04  # m, cube centre above the table top
REACH = 0.30  # m, the distance at which the reach stage begins to count
HELD, AWAY = 0.04, 0.07  # m, grip to cube: nearer counts as lifted fully, farther not at all


def cube_position(raw: Any) -> np.ndarray:
    """Centre of the cube, (3,) m, world frame."""
    return raw.sim.data._data.xpos[raw.cube_body_id].copy()


def height(raw: Any) -> float:
    """Height of the cube's centre above the table top in metres."""
    return float(raw.sim.data._data.xpos[raw.cube_body_id][2] - raw.table_offset[2])


def success(raw: Any) -> bool:
    """True while the cube is higher than SUCCESS_HEIGHT above the table."""
    return height(raw) > SUCCESS_HEIGHT


def progress(raw: Any) -> float:
    """Staged progress 0.4 max(reach, grasp) + 0.2 max(grasp, lift) + 0.4 lift in [0, 1], 1 where the goal holds.

    reach = 1 - d / 0.3 m with d the distance from grip to cube, grasp in {0, 1} is contact with both pads, and lift is
    the fraction of the way from resting to the success height. Lift counts only while the cube is at the grip (faded
    out from 4 to 7 cm), so that a cube in the air after the reset or a drop has none.
    """
    if success(raw):
        return 1.0
    distance = float(np.linalg.norm(grip_position(raw) - cube_position(raw)))
    reach = 1.0 - min(distance / REACH, 1.0)
    grasp = float(grasped(raw, raw.cube.contact_geoms))
    rest = float(raw.cube.size[2])
    near = float(np.clip((AWAY - distance) / (AWAY - HELD), 0.0, 1.0))
    lift = near * float(np.clip((height(raw) - rest) / (SUCCESS_HEIGHT - rest), 0.0, 1.0))
    return min(0.4 * max(reach, grasp) + 0.2 * max(grasp, lift) + 0.4 * lift, 1.0 - 1e-6)


TASK = Task(
    name="lift",
    env_id="foresight/Lift-v0",
    robosuite_name="Lift",
    instruction="lift the red cube",
    success=success,
    progress=progress,
    cameras={
        "agentview": Camera("agentview", position=(0.5, 0.0, 1.35), target=(-0.02, 0.0, 0.95), fovy=28.0),
        "wrist": Camera("robot0_eye_in_hand"),
    },
)
