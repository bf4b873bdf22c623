"""What happened: observations, episodes, stores, returns, labels, windows, intervals, workers (numpy, pyarrow; no torch)."""

from episodes.actor import Actor
from episodes.types import SEGMENTS, EnvSpec, Episode, Observation, Provenance

__all__ = ["SEGMENTS", "Actor", "EnvSpec", "Episode", "Observation", "Provenance"]
