"""What the actions of a file mean: what its metadata says, compared with what its arrays show."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt

from episodes.importing.reading import Fault

Array = npt.NDArray[Any]
_DELTA = ("dx", "dy", "dz", "drx", "dry", "drz", "gripper")
_ABSOLUTE = ("x", "y", "z", "rx", "ry", "rz", "gripper")
_UNITS = ("m",) * 3 + ("rad",) * 3
_CLEAR = 0.9  # a correlation from which the arrays speak for themselves
_AGAINST = 0.5


def controller(kwargs: dict[str, Any]) -> tuple[str, bool]:
    """The arm's controller of robosuite and whether its actions are absolute: 1.4's flat config, or 1.5's by parts."""
    config = kwargs.get("controller_configs")
    config = config if isinstance(config, dict) else {}
    parts = config.get("body_parts")
    arm = parts.get("right", parts.get("arms")) if isinstance(parts, dict) else config
    if isinstance(arm, dict) and isinstance(arm.get("right"), dict):
        arm = arm["right"]
    if not isinstance(arm, dict):
        return "", False
    return str(arm.get("type")), arm.get("control_delta") is False or arm.get("input_type") == "absolute"


def robosuite_actions(kind: str, absolute: bool, n: int) -> dict[str, Any]:
    """EnvSpec fields of n actions for a robosuite controller: in [-1, 1] as shares of a step, or poses in m and rad."""
    pose = kind == "OSC_POSE" and n == 7
    told: dict[str, Any] = {"gripper_close": 1.0}
    if absolute:
        told |= {"action_low": (-inf,) * (n - 1) + (-1.0,), "action_high": (inf,) * (n - 1) + (1.0,)}
        if pose:
            told["action_units"] = (*_UNITS, "-1 opens, +1 closes")
    else:
        told |= {"action_low": (-1.0,) * n, "action_high": (1.0,) * n}
    if pose:
        told |= {"action_names": _ABSOLUTE if absolute else _DELTA, "rotation": "rotation_vector"}
    return told


def seen(pairs: Iterable[tuple[Array, Array]]) -> str:
    """ "absolute" where actions (T, 3+) follow the positions (T, 3) reached, "delta" where their steps, "" if unclear.

    The correlation over all axes and episodes, each centred: positions p[t+1] against a[t], or p[t+1] - p[t].
    """
    actions, positions, steps = [], [], []
    for a, p in pairs:
        n = min(len(a), len(p) - 1)
        if n > 0:
            actions.append(a[:n, :3] - a[:n, :3].mean(0))
            positions.append(p[1 : n + 1, :3] - p[1 : n + 1, :3].mean(0))
            steps.append(p[1 : n + 1, :3] - p[:n, :3])
    if not actions:
        return ""
    a = np.concatenate(actions)
    at, by = _correlation(a, np.concatenate(positions)), _correlation(a, np.concatenate(steps))
    if at > _CLEAR and at > by:
        return "absolute"
    return "delta" if by > _CLEAR and by > at else ""


def require_gripper(pairs: Iterable[tuple[Array, Array]], close: float) -> None:
    """A Fault where fingers open when the gripper's actions (T,) have the sign that is said to close.

    pairs: the actions and the fingers' joint positions (T, F), of which the sizes add up to the opening.
    """
    commands, moves = [], []
    for a, q in pairs:
        n = min(len(a), len(q) - 1)
        width = np.abs(q).sum(1)
        commands.append(a[:n] * np.sign(close))
        moves.append(width[1 : n + 1] - width[:n])
    if not commands:
        return
    opens = _correlation(np.concatenate(commands), np.concatenate(moves))
    if opens > _AGAINST:
        raise Fault(
            "gripper", f"gripper_close is {close:g}, but the fingers open where that is sent (correlation {opens:.2f})"
        )


def _correlation(a: Array, b: Array) -> float:
    x, y = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    if len(x) < 8 or x.std() < 1e-9 or y.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])
