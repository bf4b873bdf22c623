"""Stack: put one cube on another.

Description: a Panda arm grasps the small red cube (4 cm) and puts it on the larger green one (5 cm).

Randomizations: the positions of both cubes uniform within +-8 cm of the table's centre, apart from each other, and
their rotations about z uniform in [0, 2 pi); Gaussian noise of 0.02 rad on the arm's initial joint angles.

Success Conditions: the red cube touches the green one, its centre is more than 4 cm above the table top and it is not
in the grasp (robosuite's own criterion). The environment additionally asks for several consecutive steps.

Staged Progress (`staged`): 0.25 for reaching, 0.15 for the grasp, 0.2 for raising, 0.25 for the way to the green cube
and 0.15 for lowering onto it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.tasks.base import Camera, Task
from envs.tasks.pick_and_place import centre, outline, robosuite_success, staged

CLEAR = 0.07  # m, lower side of the red cube above the table: enough to pass over the green one


def progress(raw: Any) -> float:
    """`staged` in [0, 1], 1 where the goal holds; the goal is the middle of the green cube's upper side."""
    if robosuite_success(raw):
        return 1.0
    bottom = float(outline(raw, raw.cubeA)[:, 2].min())
    top = float(outline(raw, raw.cubeB)[:, 2].max())
    gap = float(np.linalg.norm((centre(raw, raw.cubeA) - centre(raw, raw.cubeB))[:2]))
    table = float(raw.table_offset[2])
    return staged(raw, raw.cubeA, raised=bottom - table, clear=CLEAR, gap=gap, farthest=0.25, above=bottom - top)


TASK = Task(
    name="stack",
    env_id="foresight/Stack-v0",
    robosuite_name="Stack",
    instruction="stack the red cube on the green cube",
    success=robosuite_success,
    progress=progress,
    cameras={
        "agentview": Camera("agentview", position=(0.5, 0.0, 1.35), target=(-0.01, 0.0, 0.89), fovy=31.0),
        "wrist": Camera("robot0_eye_in_hand"),
    },
    seconds=20.0,
    objects=lambda raw: [raw.cubeA, raw.cubeB],
)
