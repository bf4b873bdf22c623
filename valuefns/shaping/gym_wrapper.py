"""A value as a reward in one Gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from valuefns.protocol import ValueFunction
from valuefns.shaping.readers import Reader
from valuefns.shaping.rewarder import Rewarder
from valuefns.shaping.terms import ShapingConfig


class ShapedReward(gym.Wrapper):
    """Adds the shaping term of a value to the reward; info keeps the environment's own as "env_reward".

    Usage: `env = ShapedReward(Viewed(env), value, ShapingConfig(gamma=0.99))`, gamma being the agent's. The value is
    read at the reset and after every `config.every` steps; see `terms` for the formulas and what an ending does.
    Errors: a value that does not fit the environment, is not causal, or is not finite is a ValueError.
    """

    def __init__(self, env: gym.Env[Any, Any], source: ValueFunction | Reader, config: ShapingConfig) -> None:
        super().__init__(env)
        self.rewarder = Rewarder(source, config, 1, env.get_wrapper_attr, env.observation_space)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        self.rewarder.begin(np.array([True]), [observation], [info])
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        own = float(reward)
        shaped = self.rewarder.step(np.array([own]), [observation], [info], np.array([bool(terminated)]))
        return observation, float(shaped[0]), terminated, truncated, info | {"env_reward": own}
