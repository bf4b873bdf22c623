"""A value as a reward in a Gymnasium vector environment: one model call for all its environments."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from valuefns.protocol import ValueFunction
from valuefns.shaping.readers import Reader
from valuefns.shaping.rewarder import Rewarder
from valuefns.shaping.terms import ShapingConfig


class ShapedVectorReward(gym.vector.VectorWrapper):
    """`ShapedReward` for a vector environment that resets in the next step, in the same one, or when it is told to.

    NEXT_STEP: the step that resets a slot has no term, and reads the first value. SAME_STEP: the ended episode's last
    observation is info["final_obs"]. DISABLED: `reset(options={"reset_mask": mask})` begins the episodes of mask alone,
    as Gymnasium does. infos keep the environments' own rewards as "env_reward".
    Errors: as `ShapedReward`.
    """

    def __init__(self, env: gym.vector.VectorEnv, source: ValueFunction | Reader, config: ShapingConfig) -> None:
        super().__init__(env)
        self.mode = env.metadata.get("autoreset_mode")
        if self.mode not in AutoresetMode:
            known = ", ".join(mode.name for mode in AutoresetMode)
            raise ValueError(f"ShapedVectorReward: autoreset_mode is {self.mode}; choose {known}")
        self.rewarder = Rewarder(source, config, env.num_envs, self._first, env.single_observation_space)
        self._ended = np.zeros(env.num_envs, bool)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        mask = (kwargs.get("options") or {}).get("reset_mask")
        begun = np.ones(self.num_envs, bool) if mask is None else np.array(mask, bool)
        observations, infos = self.env.reset(**kwargs)
        self._ended[begun] = False
        self._begin(begun, observations, infos)
        return observations, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        ended = terminated | truncated
        reached = [_slot(observations, i) for i in range(self.num_envs)]
        said = [_info(infos, i) for i in range(self.num_envs)]
        if self.mode == AutoresetMode.SAME_STEP:
            for i in np.flatnonzero(ended):
                reached[i], said[i] = infos["final_obs"][i], _info(infos["final_info"], i)
            shaped = self.rewarder.step(rewards, reached, said, terminated)
            self._begin(ended, observations, infos)
        else:
            shaped = self.rewarder.step(rewards, reached, said, terminated, active=~self._ended)
            if self.mode == AutoresetMode.NEXT_STEP:
                self._begin(self._ended, observations, infos)
                self._ended = ended
            else:
                self._ended |= ended
        return observations, shaped, terminated, truncated, infos | {"env_reward": np.array(rewards)}

    def _first(self, name: str) -> Any:
        inner: Any = self.env.unwrapped  # vector wrappers hide the environments that know
        if not inner.call("has_wrapper_attr", name)[0]:  # asking for one that is missing would end its process
            raise AttributeError(name)
        return inner.get_attr(name)[0]

    def _begin(self, mask: Any, observations: Any, infos: dict[str, Any]) -> None:
        if not isinstance(infos, dict):
            raise ValueError("ShapedVectorReward: infos are a list; put DictInfoToList around it, not inside")
        slots = range(self.num_envs)
        self.rewarder.begin(mask, [_slot(observations, i) for i in slots], [_info(infos, i) for i in slots])


def _slot(batch: Any, i: int) -> Any:
    """The observation of one slot."""
    return {name: values[i] for name, values in batch.items()} if isinstance(batch, dict) else batch[i]


def _info(infos: dict[str, Any], i: int) -> dict[str, Any]:
    """The info of one slot: Gymnasium batches every entry and marks with "_entry" who has it."""
    found = {}
    for name, values in infos.items():
        if name.startswith("_") or not np.any(np.asarray(infos.get(f"_{name}", [True] * (i + 1)))[i]):
            continue
        found[name] = _info(values, i) if isinstance(values, dict) else values[i]
    return found
