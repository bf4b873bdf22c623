"""Pictures for a value while the agent learns without them: drawn only at the steps at which they are read."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


class Viewed(gym.Wrapper):
    """Puts `env.unwrapped.look()` into info["view"] at the reset and every `every` steps.

    It happens inside the environment, before any automatic reset, so that the last observation of an episode can be
    seen too. `terminal`: every terminal observation is drawn (True) or none is (False: a potential is 0 there).
    """

    def __init__(self, env: gym.Env[Any, Any], every: int = 1, terminal: bool = False) -> None:
        super().__init__(env)
        if not hasattr(env.unwrapped, "look"):
            raise ValueError(f"Viewed: {type(env.unwrapped).__name__} has no look(); give one of foresight's own")
        self.every, self.terminal, self._clock = every, terminal, 0
        self.view_every = every  # by a name of its own, to be found through other wrappers

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        self._clock = 0
        return observation, info | {"view": self.unwrapped.look()}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._clock += 1
        if self.terminal if terminated else self._clock % self.every == 0:
            info = info | {"view": self.unwrapped.look()}
        return observation, reward, terminated, truncated, info
