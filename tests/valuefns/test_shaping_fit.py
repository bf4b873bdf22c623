"""As a reward, a value that does not fit the environment is refused with the reason; others are frozen and named."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.sb3 import ShapedVecEnv
from tests.helpers.line_walk import Line, Square, config
from tests.helpers.some_episodes import make_spec
from valuefns.constant import ConstantValue
from valuefns.oracle import OracleValue
from valuefns.shaping.gym_wrapper import ShapedReward
from valuefns.shaping.readers import version_of


def test_a_value_that_is_not_causal_or_knows_no_environment_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a finished episode"):
        ShapedReward(Line(), OracleValue(), config())
    with pytest.raises(ValueError, match="does not say which environment"):
        ShapedReward(Line(), ConstantValue(), config())


def other(**changes: Any) -> Square:
    value = Square()
    for name, change in changes.items():
        setattr(value, name, change)
    return value


@pytest.mark.parametrize(
    ("value", "every", "said"),
    [
        (other(spec=make_spec(image_size=(8, 8), cameras=("left", "right"), proprio_names=("x",), hz=10.0)), 1,
         "sees the cameras left, right"),
        (other(spec=make_spec(image_size=(8, 8), proprio_names=("x",), hz=5.0)), 1, "hz is 10.0, expected 5.0"),
        (other(spec=make_spec(image_size=(16, 16), proprio_names=("x",), hz=10.0)), 1, "image_size"),
        (other(spec=None), 1, "does not say which environment"),
        (other(history=4), 2, "looks back on 4 frames"),
        (other(fps=5.0), 3, "use every=1 instead of 3"),
        (other(fps=20.0), 1, "reads 20 frames a second"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused(value: Square, every: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ShapedReward(Line(), value, config(every=every))


def test_an_environment_that_shows_the_value_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no view_spec or spec_"):
        ShapedReward(gym.make("CartPole-v1"), Square(), config())
    venv = DummyVecEnv([lambda: gym.wrappers.FlattenObservation(Line(pictures=False))])
    with pytest.raises(ValueError, match=r"wrap each environment in envs\.viewed\.Viewed"):
        ShapedVecEnv(venv, Square(), config()).reset()


def test_nan_from_the_model_stops_the_run() -> None:
    value = Square()
    env = ShapedReward(Line(), value, config())
    env.reset(seed=0)
    value.last.step = lambda observations: np.array([np.nan])  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="the value of environment 0 is nan 0 steps into"):
        env.step(np.zeros(1))


def test_the_value_is_frozen_and_named() -> None:
    value = Square()
    env = ShapedReward(Line(), value, config())
    assert not any(p.requires_grad for p in value.model.parameters()) and not value.model.training
    assert env.rewarder.card["version"] == version_of(value) and len(version_of(value)) == 16
    again = Square()
    again.model.load_state_dict(value.model.state_dict())
    assert version_of(again) == version_of(value)
    with torch.no_grad():
        again.model.weight += 1
    assert version_of(again) != version_of(value)
