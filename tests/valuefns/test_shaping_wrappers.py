"""Shaped rewards through Gymnasium, its vector environments and a VecEnv: same episodes, same terms."""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from agents.sb3 import ShapedVecEnv
from tests.helpers.line_walk import ACTIONS, GAMMA, Line, Square, by_hand, config, flat
from valuefns.shaping.gym_wrapper import ShapedReward
from valuefns.shaping.readers import ClockReader, InfoReader, ShuffledReader
from valuefns.shaping.terms import ShapingConfig
from valuefns.shaping.vector_wrapper import ShapedVectorReward


@pytest.mark.parametrize("every", [1, 3])
def test_every_library_gives_the_terms_worked_out_by_hand(every: int) -> None:
    settings, steps = config(every=every), 40
    expected = [flat(by_hand(i, 10 + i, settings, steps)) for i in (0, 1)]
    wins = [end for episode in by_hand(0, 10, settings, steps) for _, end in episode]
    assert any(wins) and len(by_hand(0, 10, settings, steps)) > sum(wins) + 1, "both kinds of ending are in it"

    env = ShapedReward(Line(), Square(), settings)
    env.reset(seed=10)
    mine = []
    for action in ACTIONS[:steps, 0]:
        _, reward, won, late, info = env.step(action)
        assert info["env_reward"] == float(won)
        mine.append(reward)
        if won or late:
            env.reset()
    np.testing.assert_allclose(mine, expected[0], atol=1e-6)

    same = ShapedVectorReward(SyncVectorEnv([Line, Line], autoreset_mode=AutoresetMode.SAME_STEP), Square(), settings)
    same.reset(seed=[10, 11])
    rewards = np.array([same.step(a)[1] for a in ACTIONS[:steps]])
    np.testing.assert_allclose(rewards.T, expected, atol=1e-6)

    for inside in (lambda venv: venv, partial(VecNormalize, norm_obs=False, norm_reward=False)):
        venv = ShapedVecEnv(inside(DummyVecEnv([lambda: Monitor(Line())] * 2)), Square(), settings)
        venv.seed(10)
        venv.reset()
        rewards = np.array([venv.step(a)[1] for a in ACTIONS[:steps]])
        np.testing.assert_allclose(rewards.T, expected, atol=1e-6)


def test_the_next_step_reset_makes_a_step_without_a_term() -> None:
    settings = config()
    env = ShapedVectorReward(SyncVectorEnv([Line], autoreset_mode=AutoresetMode.NEXT_STEP), Square(), settings)
    env.reset(seed=[10])
    mine, waiting, used = [], False, 0
    while used < 20:
        _, reward, won, late, infos = env.step(ACTIONS[used, :1])
        if waiting:
            assert reward[0] == 0 == infos["env_reward"][0]
        else:
            mine.append(float(reward[0]))
            used += 1
        waiting = bool(won[0] or late[0])
    np.testing.assert_allclose(mine, flat(by_hand(0, 10, settings, 20)), atol=1e-6)


def test_one_model_call_serves_all_and_nobody_else_advances() -> None:
    value = Square()
    venv = ShapedVecEnv(DummyVecEnv([partial(Line, 2), partial(Line, 3)]), value, config(every=2))
    venv.reset()
    for _ in range(4):
        venv.step(np.zeros((2, 1)))
    assert value.last.log == [
        ("reset", [0, 1]), ("step", [0, 1]),  # first observations
        ("step", [0, 1]),  # step 2: the last of slot 0
        ("reset", [0]), ("step", [0]),
        ("reset", [1]), ("step", [1]),  # step 3: time is up in slot 1, whose value was not due
        ("step", [0]),  # step 4
        ("reset", [0]), ("step", [0]),
    ]  # fmt: skip
    assert venv.rewarder.reader.calls == 6 and venv.rewarder.reader.frames == 8


def test_pictures_do_not_stay_in_infos() -> None:
    class View(gym.Wrapper):
        def step(self, action: Any) -> Any:
            *rest, info = self.env.step(action)
            return *rest, info | {"view": self.env.unwrapped._seen()}

        def reset(self, **kwargs: Any) -> Any:
            observation, info = self.env.reset(**kwargs)
            return observation, info | {"view": self.env.unwrapped._seen()}

    venv = ShapedVecEnv(DummyVecEnv([lambda: View(Line())]), Square(), config())
    venv.reset()
    assert "view" not in venv.step(np.zeros((1, 1)))[3][0]


def test_the_controls_read_what_they_say() -> None:
    for source, first in ((InfoReader("progress"), None), (ClockReader(7), 1 / 7), (ShuffledReader([0.5]), 0.5)):
        env = ShapedReward(Line(pictures=False), source, ShapingConfig("raw", gamma=GAMMA))
        env.reset(seed=0)
        _, reward, _, _, info = env.step(np.array([0.1]))
        assert reward == pytest.approx(info["progress"] if first is None else first)
    with pytest.raises(ValueError, match="no 'dense'"):
        ShapedReward(Line(), InfoReader("dense"), config()).reset()
    with pytest.raises(ValueError, match="pool is empty"):
        ShuffledReader([])


def test_environments_in_processes_give_the_same() -> None:
    rewards = []
    for kind in (DummyVecEnv, partial(SubprocVecEnv, start_method="fork")):
        venv = ShapedVecEnv(kind([Line, Line]), Square(), config())
        venv.seed(10)
        venv.reset()
        rewards.append([venv.step(a)[1] for a in ACTIONS[:12]])
        venv.close()
    np.testing.assert_array_equal(*rewards)
    env = ShapedVectorReward(
        AsyncVectorEnv([Line, Line], context="fork", autoreset_mode=AutoresetMode.SAME_STEP), Square(), config()
    )
    env.reset(seed=[10, 11])
    np.testing.assert_allclose([env.step(a)[1] for a in ACTIONS[:12]], rewards[0], atol=1e-6)
    env.close()
