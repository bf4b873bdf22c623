"""The names that a notebook starts from, in one place; nothing is loaded before its name is used.

import foresight

episode = foresight.Episode.from_video("clip.mp4", "lift the cube", hz=10)
value = foresight.load_value("runs/recap_sim")
foresight.plot_value(episode, value.score(episode), "value.png")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.make import load_policy, make_policy
    from envs.check import check_env
    from envs.rollout import Trial, rollout
    from episodes.store import EpisodeStore
    from episodes.types import EnvSpec, Episode, Observation
    from experiments.report.value_plot import plot_value
    from valuefns.make import load_value, make_value

_HOMES = {
    "EnvSpec": "episodes.types",
    "Episode": "episodes.types",
    "EpisodeStore": "episodes.store",
    "Observation": "episodes.types",
    "Trial": "envs.rollout",
    "check_env": "envs.check",
    "load_policy": "agents.make",
    "load_value": "valuefns.make",
    "make_policy": "agents.make",
    "make_value": "valuefns.make",
    "plot_value": "experiments.report.value_plot",
    "rollout": "envs.rollout",
}

__all__ = [
    "EnvSpec", "Episode", "EpisodeStore", "Observation", "Trial", "check_env", "load_policy", "load_value",
    "make_policy", "make_value", "plot_value", "rollout",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'foresight' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
