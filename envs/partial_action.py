"""An agent that moves only some of the robot's dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt


class PartialAction(gym.ActionWrapper):
    """Actions of the named dimensions alone, in the order of `names`; the others are 0. ValueError: an unknown name."""

    def __init__(self, env: gym.Env[Any, Any], names: Sequence[str]) -> None:
        super().__init__(env)
        known = env.get_wrapper_attr("spec_").action_names
        unknown = [name for name in names if name not in known]
        if unknown or not names or len(set(names)) != len(names):
            raise ValueError(f"actions={list(names)}: name some of {', '.join(known)}, each once")
        whole = env.action_space
        assert isinstance(whole, gym.spaces.Box)
        self._where = [known.index(name) for name in names]
        self._whole = np.zeros(whole.shape, np.float32)
        self.action_space = gym.spaces.Box(whole.low[self._where], whole.high[self._where], dtype=np.float32)

    def action(self, action: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The whole action (A,) from the chosen dimensions."""
        whole = self._whole.copy()
        whole[self._where] = action
        return whole
