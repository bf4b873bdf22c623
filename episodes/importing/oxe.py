"""What the Open X-Embodiment datasets fractal20220817_data (RT-1's Google robot) and Bridge (WidowX) say nowhere.

Both as LeRobotDatasets have images under `observation.images.*`, `observation.state` (8) and `action` (7): a
displacement of the hand in metres, roll, pitch and yaw in radians, and the gripper, 1 open and 0 closed (the form they
have after Octo's and OpenVLA's standardisation). Episodes carry no rewards; demonstrations are taken as successes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from episodes.importing.known import Known

_ACTIONS = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
_INF = float("inf")
_SAID: dict[str, Any] = {
    "action_names": _ACTIONS,
    "action_low": (-_INF,) * 6 + (0.0,),
    "action_high": (_INF,) * 6 + (1.0,),
    "action_units": ("m",) * 3 + ("rad",) * 3 + ("0 closed, 1 open",),
    "rotation": "euler_xyz",
    "gripper_close": 0.0,
}


def _simpler(words: str, close: float) -> dict[str, Any]:
    """SIMPLER's actions without its bounds, as EnvSpec fields."""
    return {
        "action_names": ("dx", "dy", "dz", "drx", "dry", "drz", "gripper"),
        "action_low": (-_INF,) * 6 + (-1.0,),
        "action_high": (_INF,) * 6 + (1.0,),
        "action_units": ("m",) * 3 + ("rad",) * 3 + (words,),
        "rotation": "rotation_vector",
        "gripper_close": close,
    }


@dataclass(frozen=True)
class OXEDataset:
    """EnvSpec fields that hold for the data set, those its actions are converted to, and what a policy looks at."""

    spec: dict[str, Any]
    becomes: dict[str, Any]
    camera: str


OXE = {
    # the Google robot's gripper moves by what it is told: closing again when closed changes nothing
    "fractal20220817_data": OXEDataset(
        _SAID | {"env_id": "oxe/fractal20220817_data"},
        _simpler("-1 opens by 1.31 rad, +1 closes by 1.31 rad, 0 keeps", 1.0),
        "image",
    ),
    "bridge": OXEDataset(_SAID | {"env_id": "oxe/bridge"}, _simpler("-1 is closed, +1 is open", -1.0), "image"),
}


def oxe_known(name: str, known: Known) -> Known:
    """`known` with the facts of the data set `name` where it says nothing; an unknown name is a ValueError."""
    if name not in OXE:
        raise ValueError(f"oxe={name!r}: choose {' or '.join(OXE)}")
    facts = OXE[name]
    return replace(
        known,
        spec=facts.spec | dict(known.spec),
        becomes=facts.becomes,
        cameras=known.cameras or (facts.camera,),
        success=True if known.success is None else known.success,
    )
