"""What happened: observations, episodes, stores, returns, labels, windows, intervals, workers (no torch in here)."""

from episodes.actor import Actor
from episodes.types import SEGMENTS, EnvSpec, Episode, Observation, Provenance

__all__ = ["SEGMENTS", "Actor", "EnvSpec", "Episode", "Observation", "Provenance"]
