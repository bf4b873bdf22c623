"""What the actions of a file mean: what its metadata says, compared with what its arrays show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
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
_CHANCE = 4.0  # standard deviations (of Fisher's z) that a correlation of unrelated numbers does not reach


@dataclass(frozen=True)
class Controller:
    """A robosuite controller: its type, whether its actions are poses to reach, and the range its inputs have."""

    kind: str = ""
    absolute: bool = False
    low: float = -1.0
    high: float = 1.0


def controller(kwargs: dict[str, Any]) -> Controller:
    """The arm's controller: 1.4's flat config (or the first of several), or 1.5's by parts."""
    config = kwargs.get("controller_configs")
    config = config[0] if isinstance(config, list) and config else config
    config = config if isinstance(config, dict) else {}
    parts = config.get("body_parts")
    arm = parts.get("right", parts.get("arms")) if isinstance(parts, dict) else config
    if isinstance(arm, dict) and isinstance(arm.get("right"), dict):
        arm = arm["right"]
    if not isinstance(arm, dict):
        return Controller()
    low, high = arm.get("input_min", -1), arm.get("input_max", 1)
    if not all(type(x) in (int, float) for x in (low, high)) or not low < high:  # one for each input: none for all
        low, high = -inf, inf
    absolute = arm.get("control_delta") is False or arm.get("input_type") == "absolute"
    return Controller(str(arm.get("type")), absolute, float(low), float(high))


def robosuite_actions(arm: Controller, absolute: bool, n: int) -> dict[str, Any]:
    """EnvSpec fields of n actions for a robosuite controller: shares of a step in its range, or poses in m and rad."""
    pose = arm.kind == "OSC_POSE" and n == 7
    hand = arm.kind == "OSC_POSE" and n == 6  # an arm without a gripper
    low, high = (-inf, inf) if absolute else (arm.low, arm.high)
    told: dict[str, Any] = {
        "action_low": (low,) * n if hand else (*(low,) * (n - 1), -1.0),
        "action_high": (high,) * n if hand else (*(high,) * (n - 1), 1.0),
        "gripper_close": 0.0 if hand else 1.0,
    }
    if pose and absolute:
        told["action_units"] = (*_UNITS, "-1 opens, +1 closes")
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
    """The correlation of two series of numbers; 0 where so few may show it by chance."""
    x, y = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    if len(x) < 8 or x.std() < 1e-9 or y.std() < 1e-9:
        return 0.0
    r = float(np.corrcoef(x, y)[0, 1])
    z = np.arctanh(min(abs(r), 1 - 1e-9)) * np.sqrt(len(x) - 3)
    return r if z > _CHANCE else 0.0
