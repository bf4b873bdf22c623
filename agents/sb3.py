"""Stable-Baselines3 with a value as reward: the VecEnv wrapper, the checks, a logger, and its agents as Actors.

    venv = ShapedVecEnv(make_vec_env(make, n_envs=4), load_value(folder), ShapingConfig(gamma=0.98))
    agent = bind(SAC("MlpPolicy", venv, gamma=0.98), venv)
    agent.learn(100_000, callback=ShapingLog())

Monitor belongs inside (make_vec_env puts it there): it then records the environment's own rewards, which is what a
study reports; VecMonitor outside would record the shaped ones. Stable-Baselines3's own zip files hold pickles: load
only those you trust, as its documentation says. Nothing in this project loads one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize, unwrap_vec_wrapper

from episodes.types import Observation
from valuefns.protocol import ValueFunction
from valuefns.shaping.readers import Reader
from valuefns.shaping.rewarder import Rewarder
from valuefns.shaping.terms import ShapingConfig

A = TypeVar("A", bound=BaseAlgorithm)


class ShapedVecEnv(VecEnvWrapper):
    """Adds the shaping term of a value to the rewards of a VecEnv, one model call for all its environments.

    A VecEnv has reset an environment whose episode ended when `step_wait` returns: the value of the last observation is
    read from "terminal_observation" and the ended episode's info, that of the next one from `reset_infos`. Where the
    value sees more than the agent, wrap each environment in envs.viewed.Viewed. infos keep the environment's own reward
    as "env_reward". Errors: a value that does not fit, is not causal, or is not finite is a ValueError.
    """

    def __init__(self, venv: VecEnv, source: ValueFunction | Reader, config: ShapingConfig) -> None:
        super().__init__(venv)
        self.rewarder = Rewarder(source, config, venv.num_envs, self._first, venv.observation_space)

    @property
    def shaping(self) -> dict[str, Any]:
        """What made the rewards: the value, its version, and every setting of the term."""
        return self.rewarder.card

    def reset(self) -> Any:
        observations = self.venv.reset()
        self._begin(np.ones(self.num_envs, bool), observations)
        return observations

    def step_wait(self) -> tuple[Any, npt.NDArray[np.float32], npt.NDArray[np.bool_], list[dict[str, Any]]]:
        observations, rewards, dones, infos = self.venv.step_wait()
        dones = np.asarray(dones, bool)
        timeouts = np.array([info.get("TimeLimit.truncated", False) for info in infos], bool)
        reached = [
            info["terminal_observation"] if done else _slot(observations, i)
            for i, (info, done) in enumerate(zip(infos, dones, strict=True))
        ]
        shaped = self.rewarder.step(rewards, reached, infos, dones & ~timeouts)
        self._begin(dones, observations)
        for info, own in zip(infos, rewards, strict=True):
            info["env_reward"] = float(own)
            info.pop("view", None)  # pictures would lie in every buffer that keeps infos
        return observations, shaped.astype(np.float32), dones, infos

    def _first(self, name: str) -> Any:
        if not self.venv.has_attr(name):  # asking for one that is missing would end a process of SubprocVecEnv
            raise AttributeError(name)
        return self.venv.get_attr(name)[0]

    def _begin(self, mask: npt.NDArray[np.bool_], observations: Any) -> None:
        slots = [_slot(observations, i) for i in range(self.num_envs)]
        self.rewarder.begin(mask, slots, self.unwrapped.reset_infos)  # wrappers in between keep an empty one


def _slot(batch: Any, i: int) -> Any:
    return {name: values[i] for name, values in batch.items()} if isinstance(batch, dict) else batch[i]


def shaped_env(env: VecEnv | None) -> ShapedVecEnv | None:
    """The ShapedVecEnv among the wrappers of a VecEnv, if there is one."""
    return env if env is None or isinstance(env, ShapedVecEnv) else unwrap_vec_wrapper(env, ShapedVecEnv)


def bind(agent: A, env: VecEnv | None = None) -> A:
    """Check that an agent and its shaped environment belong together, and note the shaping in the agent; returns it.

    Call it after making or loading the agent. The note travels with `agent.save`. ValueError: an agent whose gamma is
    not the shaping's (a potential would then change the optimal policy), or one that was trained with another value or
    other settings (its critic, and its replay buffer, hold the other rewards).
    """
    shaped = shaped_env(agent.get_env() if env is None else env)
    if shaped is None:
        raise ValueError("bind: the agent's environment has no ShapedVecEnv; wrap it first, or leave bind out")
    if unwrap_vec_wrapper(shaped.venv, VecNormalize) is not None:
        raise ValueError(
            "bind: VecNormalize is inside ShapedVecEnv; put it outside, VecNormalize(ShapedVecEnv(venv, ...)): replay "
            "buffers take the rewards that VecNormalize has seen, which would be those without shaping"
        )
    gamma = shaped.rewarder.config.gamma
    if agent.gamma != gamma:  # type: ignore[attr-defined]
        raise ValueError(
            f"shaping: gamma={gamma} but the agent's is {agent.gamma}; "  # type: ignore[attr-defined]
            "gamma Phi(s') - Phi(s) leaves the optimal policy alone only with the agent's own, give both the same"
        )
    known, card = getattr(agent, "shaping", None), shaped.shaping
    if known is not None and known != card:
        name = next(k for k in [*known, *card] if known.get(k) != card.get(k))
        raise ValueError(
            f"shaping: the agent was trained with {name}={known.get(name)!r}, this environment has {card.get(name)!r}; "
            "use the same value and settings, or train anew"
        )
    agent.shaping = card  # type: ignore[attr-defined]
    return agent


class ShapingLog(BaseCallback):
    """Logs what the value costs and pays: value/calls, value/frames, value/seconds, shaping/mean (per step, since the
    last logging); refuses to start with an agent that `bind` would refuse."""

    def _on_training_start(self) -> None:
        bind(self.model)
        shaped = shaped_env(self.training_env)
        assert shaped is not None, "bind has found it"
        self.reader, self.weighted = shaped.rewarder.reader, 0.0

    def _on_step(self) -> bool:
        owns = [info["env_reward"] for info in self.locals["infos"]]
        self.weighted += float(np.sum(self.locals["rewards"]) - np.sum(owns))
        self.logger.record("value/calls", self.reader.calls)
        self.logger.record("value/frames", self.reader.frames)
        self.logger.record("value/seconds", self.reader.seconds)
        self.logger.record("shaping/mean", self.weighted / max(self.num_timesteps, 1))
        return True


class SB3Actor:
    """A trained agent as an Actor, so that `rollout` evaluates it as every other policy.

    `envs` are the environments of its slots: the agent learned from `state` and `proprio` (flattened in the order of
    `FlattenObservation`), and reads the state from them. `actions` are the dimensions it moves (PartialAction; all by
    default). A VecNormalize around the agent's environment normalises here too.
    """

    execute = 1

    def __init__(self, agent: BaseAlgorithm, envs: Sequence[Any], actions: Sequence[str] = ()) -> None:
        self.agent, self.envs = agent, [env.unwrapped for env in envs]
        names = self.envs[0].spec_.action_names
        self.where = [names.index(name) for name in actions or names]
        self.normalise = agent.get_vec_normalize_env()

    def reset(self, mask: npt.NDArray[np.bool_], seeds: npt.NDArray[np.int64], instructions: Sequence[str]) -> None:
        """Nothing to begin: the agent keeps nothing from step to step."""

    def act(self, observations: Sequence[Observation | None]) -> npt.NDArray[np.float32]:
        """One action per asked slot, float32 (n, 1, A)."""
        answers = np.zeros((len(observations), 1, self.envs[0].spec_.action_dim), np.float32)
        asked = [i for i, o in enumerate(observations) if o is not None]
        boxes = [self._boxes(i, observations[i]) for i in asked]
        space = self.agent.observation_space
        if isinstance(space, spaces.Dict):
            seen: Any = {name: np.stack([box[name] for box in boxes]) for name in space}
        else:
            seen = np.stack([np.concatenate([box["proprio"], box["state"]]) for box in boxes])
        if self.normalise is not None:
            seen = self.normalise.normalize_obs(seen)
        actions, _ = self.agent.predict(seen, deterministic=True)
        answers[np.ix_(asked, [0], self.where)] = actions[:, None]
        return answers

    def _boxes(self, i: int, observation: Observation | None) -> dict[str, npt.NDArray[Any]]:
        assert observation is not None
        return {**observation.images, "proprio": observation.proprio, "state": self.envs[i].state()}
