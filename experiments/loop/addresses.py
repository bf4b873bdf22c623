"""Addresses of what settings make, and what they were before a setting had a name: what was made before stays valid."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from agents.registry import POLICIES
from networks.settings import ScaleConfig
from valuefns.registry import VALUES

LATER: dict[str, dict[str, Any]] = {
    "TrainerConfig": {"scale": asdict(ScaleConfig())},
    "GemmaShape": {"vision_checkpoint": "", "vision_revision": "main"}
    | {"language_checkpoint": "", "language_revision": "main"},
    "TaskConfig": {"gripper": ""},
    "CollectConfig": {"store": ""},
    "AgentConfig": {"pixels": False},
    "FlowConfig": {"weighting": "loss", "init": ""},
    "Pi05Config": {"weighting": "loss", "init": ""},
    "VideoVlaConfig": {"weighting": "loss", "init": ""},
    "ViVaConfig": {"format": 1, "proprio_swap": 0.0, "init": ""},
    "WVMConfig": {"format": 1, "init": ""},
    "DistributionalConfig": {"init": ""},
    "LatentsConfig": {"init": ""},
    "OracleConfig": {"format": 1},
}
"""By settings class: those that came later, and what they were before; `digest` leaves them out where they still are.

`format` is a value's own: a value that now computes something else from the same settings has a higher one.
"""

_OF_KEY = {"training": "TrainerConfig", "encoder": "GemmaShape", "task": "TaskConfig", "agent": "AgentConfig"} | {
    "collect": "CollectConfig",
    "latents": "LatentsConfig",
}


def later(settings: Mapping[str, Any], key: str = "") -> dict[str, Any]:
    """What the later settings of a dict were; `key` is where the dict stood, its `name` tells a value or policy."""
    name = settings.get("name")
    for kind in (VALUES, POLICIES):
        if isinstance(name, str) and name in kind.own:
            return LATER.get(kind.own[name].__name__, {})
    return LATER.get(_OF_KEY.get(key, key), {})


def digest(*parts: Any) -> str:
    """A short content address of settings: dataclasses, dicts, strings, numbers."""
    plain = [_first(p, "") for p in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _first(value: Any, key: str) -> Any:
    """The value without the later settings that are as before."""
    if is_dataclass(value) and not isinstance(value, type):
        value, key = asdict(value), type(value).__name__
    if isinstance(value, dict):
        before = later(value, key)
        return {k: _first(v, k) for k, v in value.items() if not (k in before and v == before[k])}
    return [_first(v, key) for v in value] if isinstance(value, (list, tuple)) else value
