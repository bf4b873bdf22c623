"""What happened: observations, episodes, stores, returns, labels, windows, intervals and workers (numpy, pyarrow, av; no torch)."""

from episodes.actor import Actor
from episodes.types import SEGMENTS, Episode, EnvSpec, Observation, Provenance

__all__ = ["SEGMENTS", "Actor", "EnvSpec", "Episode", "Observation", "Provenance"]
