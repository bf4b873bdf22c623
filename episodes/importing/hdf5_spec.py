"""The EnvSpec of an HDF5 file of demonstrations: what it says of its actions, compared with what its arrays show."""

from __future__ import annotations

from typing import Any

import numpy as np

from episodes.importing.convention import controller, require_gripper, robosuite_actions, seen
from episodes.importing.hdf5 import array, at, matrix
from episodes.importing.hdf5_layouts import Layout
from episodes.importing.known import Known, make_spec, one_size
from episodes.importing.reading import Fault
from episodes.types import EnvSpec

_ROBOSUITE = 1  # env_args["type"]
_POSITIONS = ("robot0_eef_pos", "ee_pos", "ee_states")  # of the hand, in robomimic's and LIBERO's files
_FINGERS = ("robot0_gripper_qpos", "gripper_states")


def spec_of(
    file: Any,
    layout: Layout,
    known: Known,
    demos: dict[int, str],
    cameras: dict[str, str],
    sizes: dict[str, tuple[int, int]],
    proprio: list[str],
    action: str,
    hz: float,
) -> tuple[EnvSpec, list[str]]:
    """The EnvSpec, and which of its fields the arrays contradict and are therefore left unknown."""
    n = matrix(array(file[next(iter(demos.values()))], action)).shape[1]
    told: dict[str, Any] = {}
    unknown: list[str] = []
    if layout.env.get("type") == _ROBOSUITE:
        arm = controller(layout.kwargs)
        absolute = arm.absolute if known.actions is None else known.actions == "absolute"
        told = robosuite_actions(arm, absolute, n)
        unknown = _compare(file, layout, known, demos, told, absolute, action)
    elif known.actions is not None:
        raise Fault("not_asked", f"is no file of robosuite's, actions={known.actions} names nothing in it")
    spec = make_spec(
        known,
        **{
            "env_id": f"{layout.name.lower()}/{layout.env.get('env_name', 'unknown')}",
            "cameras": tuple(sizes),
            "image_size": one_size(known, sizes),
            "proprio_names": tuple(proprio),
            "action_names": tuple(f"action_{i}" for i in range(n)),
            "hz": hz,
            "max_steps": _longest(file, demos, cameras, action),
            **told,
        },
    )
    return spec, unknown


def rate_of(layout: Layout, known: Known) -> float:
    """The control rate (Hz) that the file says, else the given one; a Fault where there is neither."""
    hz = layout.kwargs.get("control_freq")
    if isinstance(hz, bool) or not isinstance(hz, (int, float)) or not 0 < hz < np.inf:
        hz = known.spec.get("hz") if known.hz is None else known.hz
    if hz is None:
        raise Fault("hz", "does not say its control rate (control_freq)")
    return float(hz)


def frames_in(demo: Any, cameras: dict[str, str], T: int) -> int:
    """How many frames a demonstration of T actions has: T + 1 where it keeps what came after the last action."""
    own = min(len(at(demo, key)) for key in cameras.values())
    return T + 1 if "next_obs" in demo or own == T + 1 else T


def _longest(file: Any, demos: dict[int, str], cameras: dict[str, str], action: str) -> int:
    """The steps of the longest demonstration that can be read."""
    steps = [1]
    for name in demos.values():
        try:
            T = len(at(file[name], action))
            steps.append(frames_in(file[name], cameras, T) - 1)
        except (KeyError, ValueError):
            continue  # it is named when its turn comes
    return max(steps)


def _compare(
    file: Any, layout: Layout, known: Known, demos: dict[int, str], told: dict[str, Any], absolute: bool, action: str
) -> list[str]:
    """Compare what the file says of its actions with the actions; bounds that do not hold become infinite in `told`."""
    n = len(told["action_low"])
    low, high = np.full(n, np.inf), np.full(n, -np.inf)
    reached, fingers = [], []
    for name in demos.values():
        try:
            demo = file[name]
            actions = matrix(array(demo, action))
            if len(actions):
                low, high = np.minimum(low, actions.min(0)), np.maximum(high, actions.max(0))
            position, gripper = (
                next((layout.vector(key) for key in keys if layout.vector(key) in demo), None)
                for keys in (_POSITIONS, _FINGERS)
            )
            if position is not None:
                reached.append((actions, matrix(array(demo, position))))
            if gripper is not None:
                fingers.append((actions[:, -1], matrix(array(demo, gripper))))
        except (KeyError, ValueError):
            continue  # it is named when its turn comes
    shown = seen(reached) if known.actions is None and n >= 6 else ""
    if shown and (shown == "absolute") != absolute:
        raise Fault(
            "convention",
            f"says its actions are {'absolute' if absolute else 'delta'}, its arrays show {shown} ones "
            "(actions follow the hand's " + ("positions)" if shown == "absolute" else "steps)"),
        )
    require_gripper(fingers, float(known.spec.get("gripper_close", told["gripper_close"])))
    outside = [i for i in range(n) if low[i] < told["action_low"][i] - 1e-6 or high[i] > told["action_high"][i] + 1e-6]
    words = [f"{told['action_low'][i]:g}..{told['action_high'][i]:g}" for i in outside[:1]]
    for name, wide in (("action_low", -np.inf), ("action_high", np.inf)):
        told[name] = tuple(float(wide) if i in outside else x for i, x in enumerate(told[name]))
    return [f"action bounds (some actions lie outside {said})" for said in words]
