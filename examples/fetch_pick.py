"""The loop on an environment of somebody else's: Gymnasium-Robotics' FetchPickAndPlace.

    pip install "foresight-rl[robotics]"
    python examples/fetch_pick.py demonstrations            # records a store: good, slow and failing pick-and-places
    foresight recap task=own task.env_id=examples.fetch_pick:make task.hz=25 collect.store=demonstrations \\
        collect.max_steps=50 evaluation.max_steps=50 "methods=[bc,filtered_bc,awr,recap]"

`make` is all that the loop needs of an environment; `Picker` is a script that knows where things are.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import envs
from envs.rollout import Trial, rollout
from episodes import Observation
from episodes.store import EpisodeStore

EPISODES = 100


def make(image_size: int = 64, max_steps: int = 50) -> Any:
    """The environment as the loop wants it: one camera, the gripper's state and the goal as proprioception."""
    import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what cannot be inferred is known here
        return envs.adapt(
            gymnasium.make(
                "FetchPickAndPlace-v4",
                render_mode="rgb_array",
                width=image_size,
                height=image_size,
                max_episode_steps=max_steps,
            ),
            "move the block to the red dot",
            proprio=["observation", "desired_goal"],
            progress=_nearer,
        )


def _nearer(observation: Any, info: dict[str, Any]) -> float:
    """1 where the block is at the goal, falling with its distance; 0.3 m away is 0."""
    distance = np.linalg.norm(observation["achieved_goal"] - observation["desired_goal"])
    return float(np.clip(1 - distance / 0.3, 0, 1))


class Picker:
    """A scripted demonstrator of mixed quality: by its episode's seed it is fast, slow, or closes beside the block."""

    execute = 1

    def reset(self, mask: Any, seeds: Any, instructions: Sequence[str]) -> None:
        kind = np.random.default_rng(int(seeds[0])).random()
        self.gain, self.miss = (6.0 if kind < 0.5 else 3.0), (0.06 if kind > 0.8 else 0.0)
        self.clock, self.holding = 0, 0

    def act(self, observations: Sequence[Observation | None]) -> np.ndarray:
        (seen,) = observations
        assert seen is not None
        grip, block, goal = seen.proprio[:3], seen.proprio[3:6], seen.proprio[25:28]
        target = block + [self.miss, 0, 0.0]
        self.clock += 1
        if self.holding == 0 and np.linalg.norm(grip - target) > 0.02:
            above = target + [0, 0, 0.08 if np.linalg.norm(grip[:2] - target[:2]) > 0.015 else 0]
            move, finger = self.gain * (above - grip), 1.0
        elif self.holding < 4:
            self.holding += 1
            move, finger = np.zeros(3), -1.0
        else:
            move, finger = self.gain * (goal - grip), -1.0
        return np.append(np.clip(move, -1, 1), finger)[None, None].astype(np.float32)


def main(folder: Path, episodes: int = EPISODES) -> EpisodeStore:
    env = make()
    with EpisodeStore.create(folder, env.spec_) as store:
        store.append(rollout(Picker(), [env], [Trial(s) for s in range(episodes)], source="script", action_noise=0.05))
        print(f"{folder}: {len(store)} episodes, {sum(row['success'] for row in store.index)} succeed")
    env.close()
    return store


if __name__ == "__main__":
    main(Path(sys.argv[1]))
