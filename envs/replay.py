"""An episode seen again: its environment is stepped through the same actions, with other cameras or larger pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from envs.rollout import executed_action, noise_of
from episodes.types import Episode

CLOSE = 1e-4  # by how much the state may differ: the unit in the last place of another machine's arithmetic


def replay(env: Any, episode: Episode, action_noise: float = 0.0) -> dict[str, npt.NDArray[np.uint8]] | None:
    """The pictures {camera: uint8 (T+1, H, W, 3)} of an episode as `env` draws them; None where it goes another way.

    `env` begins from the episode's seed and steps its actions with the noise they were executed with; its
    proprioception must be the recorded one in every frame, so that the pictures are of this episode and no other.
    """
    env = env.unwrapped
    noise = noise_of(episode.provenance.seed)
    observation, _ = env.reset(seed=episode.provenance.seed, options=None)
    frames = [observation]
    for t in range(len(episode)):
        if not np.allclose(observation["proprio"], episode.proprio[t], atol=CLOSE):
            return None
        observation = env.step(executed_action(episode.actions[t], action_noise, noise))[0]
        frames.append(observation)
    if not np.allclose(observation["proprio"], episode.proprio[-1], atol=CLOSE):
        return None
    cameras = [name for name in frames[0] if name not in ("proprio", "state")]
    return {name: np.stack([frame[name] for frame in frames]) for name in cameras}
