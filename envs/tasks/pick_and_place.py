"""What the pick-and-place tasks share: the outline of an object, staged progress, and robosuite's bins.

An object counts as lifted or carried only at the grip: one that was dropped or thrown has no credit for it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.tasks.base import Camera, Task, grasped, grip_position

REACH = 0.60  # m, the distance at which the reach stage begins to count
HELD, AWAY = 0.065, 0.095  # m, grip to object: nearer counts as held fully, farther not at all
OVER, BESIDE = 0.01, 0.04  # m, gap: smaller counts as over the goal fully, larger not at all
UNDER = (-0.02, -0.005)  # m, height over the goal: at the first not over it, at the second fully
FLOOR = 0.02  # m, from a bin's origin to the upper side of its floor
WALL = 0.10  # m, from a bin's origin to the upper edge of its walls
MARGIN = np.array([0.05, 0.05])  # m, what an object's centre keeps from the edges of its compartment
COMPARTMENTS = ("milk", "bread", "cereal", "can")  # the order of robosuite's objects

# Along both bins from the goal's end, where they fill a square image; robosuite's view from the front is 1 m wide.
BINS_CAMERA = Camera("agentview", position=(0.1, 1.05, 1.85), target=(0.09, -0.03, 0.88), fovy=36.0)


def outline(raw: Any, item: Any) -> npt.NDArray[np.float64]:
    """Corners of an object's collision shapes, (N, 3) m, world frame: the eight of a box, the vertices of a mesh."""
    model, data = raw.sim.model._model, raw.sim.data._data
    points = []
    for name in item.contact_geoms:
        geom = raw.sim.model.geom_name2id(name)
        mesh = model.geom_dataid[geom]
        if mesh >= 0:
            first = model.mesh_vertadr[mesh]
            local = model.mesh_vert[first : first + model.mesh_vertnum[mesh]].astype(np.float64)
        else:
            signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
            local = signs * model.geom_size[geom]
        points.append(local @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom])
    return np.concatenate(points)


def centre(raw: Any, item: Any) -> npt.NDArray[np.float64]:
    """Position of an object's body, (3,) m, world frame; what robosuite's criteria read."""
    return raw.sim.data._data.xpos[raw.sim.model.body_name2id(item.root_body)].copy()


def share(value: float, none: float, full: float) -> float:
    """Linear from 0 at `none` to 1 at `full`, clipped."""
    return min(max(float((value - none) / (full - none)), 0.0), 1.0)


def staged(raw: Any, item: Any, *, raised: float, clear: float, gap: float, farthest: float, above: float) -> float:
    """Staged progress in [0, 1) of one object on its way to a goal that does not hold yet,

    0.25 max(reach, grasp, up) + 0.15 max(grasp, up) + 0.2 up + 0.25 up carry + 0.15 up over lower.

    reach = 1 - d / 0.6 m with d the distance from grip to object; grasp in {0, 1} is contact with both pads; over falls
    from 1 at a horizontal `gap` (m) to the goal of 1 cm to 0 at 4 cm, and is 0 under it; up = near max(`raised` /
    `clear`, over), where near falls from 1 at d = 6.5 cm to 0 at 9.5 cm, so that an object away from the hand has no
    credit for its height or place; carry = 1 - gap / `farthest`; lower = 1 - `above` / `clear`, with `above` (m) the
    height over its place.
    """
    distance = float(np.linalg.norm(grip_position(raw) - centre(raw, item)))
    reach = share(distance, REACH, 0.0)
    grasp = float(grasped(raw, item.contact_geoms))
    over = share(gap, BESIDE, OVER) * share(above, *UNDER)
    up = share(distance, AWAY, HELD) * max(share(raised, 0.0, clear), over)
    carry, lower = share(gap, farthest, 0.0), share(above, clear, 0.0)
    return min(
        0.25 * max(reach, grasp, up) + 0.15 * max(grasp, up) + 0.2 * up + 0.25 * up * carry + 0.15 * up * over * lower,
        1.0 - 1e-6,
    )


def robosuite_success(raw: Any) -> bool:
    """robosuite's own criterion, at this instant."""
    return bool(raw._check_success())


def compartment(raw: Any, index: int) -> npt.NDArray[np.float64]:
    """Centre of one of the four compartments of the goal bin at floor height, (3,) m, world frame."""
    return raw.target_bin_placements[index] + (0.0, 0.0, FLOOR)


def bins_progress(raw: Any, index: int) -> float:
    """`staged` for the object `index` of robosuite's PickPlace; the goal is its compartment less a 5 cm margin."""
    if robosuite_success(raw):
        return 1.0
    item = raw.objects[index]
    goal = compartment(raw, index)
    raised = float(outline(raw, item)[:, 2].min() - goal[2])  # both bins have one floor height
    room = raw.bin_size[:2] / 4.0 - MARGIN
    gap = float(np.linalg.norm(np.maximum(np.abs(centre(raw, item)[:2] - goal[:2]) - room, 0.0)))
    return staged(raw, item, raised=raised, clear=WALL - FLOOR, gap=gap, farthest=0.8, above=raised)


def bins_objects(raw: Any, index: int) -> list[Any]:
    """The object to be placed, what the `state` observation describes."""
    return [raw.objects[index]]


def bins_task(item: str, camera: Camera = BINS_CAMERA) -> Task:
    """PickPlace with one object ("can", "bread", "milk" or "cereal"), robosuite's dynamics and criterion."""
    return Task(
        name=f"pick_place_{item}",
        env_id=f"foresight/PickPlace{item.capitalize()}-v0",
        robosuite_name=f"PickPlace{item.capitalize()}",
        instruction=f"put the {item} into its compartment of the other bin",
        success=robosuite_success,
        progress=partial(bins_progress, index=COMPARTMENTS.index(item)),
        cameras={"agentview": camera, "wrist": Camera("robot0_eye_in_hand")},
        seconds=25.0,
        objects=partial(bins_objects, index=COMPARTMENTS.index(item)),
    )
