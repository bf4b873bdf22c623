"""An episode drawn again is the same episode, in larger pictures, or none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("robosuite", reason="pip install -e .[robosuite]")

from envs.oracles.mix import OracleMix
from envs.oracles.reach import ORACLE
from envs.replay import replay
from envs.robosuite_env import RoboSuiteEnv
from envs.rollout import Trial, rollout


def test_the_pictures_are_of_this_episode_or_there_are_none() -> None:
    small, large = (RoboSuiteEnv("reach", image_size=size, max_steps=15) for size in (16, 48))
    oracle = ORACLE([small], OracleMix.only("expert"))
    (episode,) = rollout(oracle, [small], [Trial(5)], source="oracle", action_noise=0.1)
    pictures = replay(large, episode, 0.1)
    assert pictures is not None and list(pictures) == list(episode.images)
    assert pictures["agentview"].shape == (len(episode) + 1, 48, 48, 3)
    shrunk = pictures["agentview"].reshape(-1, 16, 3, 16, 3, 3).mean((2, 4))
    assert np.abs(shrunk - episode.images["agentview"]).mean() < 12, "the same scene at the same moments"
    assert replay(large, episode, 0.0) is None, "executed without the noise it goes another way"
    other = dataclasses.replace(episode, proprio=episode.proprio + np.float32(0.01))
    assert replay(large, other, 0.1) is None
    small.close()
    large.close()
