"""Stable-Baselines3's agents on shaped rewards: learning, logging, saving, and the settings that must agree."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from agents.sb3 import ShapedVecEnv, ShapingLog, bind
from tests.helpers.line_walk import GAMMA, Line
from valuefns.shaping.readers import InfoReader
from valuefns.shaping.terms import ShapingConfig


def shaped_line(**changes: Any) -> ShapedVecEnv:
    venv = DummyVecEnv([lambda: Monitor(Line(pictures=False))] * 2)
    return ShapedVecEnv(venv, InfoReader("progress"), ShapingConfig(gamma=GAMMA, **changes))


@pytest.mark.filterwarnings("ignore:Training and eval env are not of the same type")
@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_agents_learn_log_save_load_and_evaluate(algorithm: Any, tmp_path: Path) -> None:
    venv = shaped_line()
    small = {"n_steps": 32, "batch_size": 32} if algorithm is PPO else {"learning_starts": 16}
    agent = algorithm("MultiInputPolicy", venv, gamma=GAMMA, seed=0, device="cpu", tensorboard_log=str(tmp_path),
                      policy_kwargs={"net_arch": [16]}, **small)  # fmt: skip
    apart = DummyVecEnv([lambda: Monitor(Line(pictures=False))])
    evaluation = EvalCallback(apart, eval_freq=16, n_eval_episodes=2, verbose=0,
                              best_model_save_path=str(tmp_path), log_path=str(tmp_path))  # fmt: skip
    agent.learn(64, callback=[ShapingLog(), evaluation], log_interval=1)
    assert evaluation.evaluations_timesteps and set(agent.ep_info_buffer[0]) >= {"r", "l"}
    assert all(info["r"] in (0.0, 1.0) for info in agent.ep_info_buffer), "Monitor inside sees the true rewards"
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next(tmp_path.glob(f"{algorithm.__name__}_*"))))
    events.Reload()
    assert {"value/calls", "value/frames", "shaping/mean"} <= set(events.Tags()["scalars"])
    agent.save(tmp_path / "agent")
    again = bind(algorithm.load(tmp_path / "agent", env=shaped_line(), device="cpu"))
    assert again.shaping == venv.shaping and again.shaping["kind"] == "potential"
    with pytest.raises(ValueError, match="trained with weight=1"):
        bind(algorithm.load(tmp_path / "agent", env=shaped_line(weight=2.0), device="cpu"))


def test_another_gamma_than_the_agents_is_refused() -> None:
    agent = PPO("MultiInputPolicy", shaped_line(), gamma=0.99, n_steps=8, batch_size=8, device="cpu")
    with pytest.raises(ValueError, match=r"gamma=0\.9 but the agent's is 0\.99"):
        bind(agent)
    with pytest.raises(ValueError, match=r"gamma=0\.9 but"):
        agent.learn(16, callback=ShapingLog())
    with pytest.raises(ValueError, match="no ShapedVecEnv"):
        bind(PPO("MultiInputPolicy", DummyVecEnv([partial(Line, pictures=False)]), n_steps=8, batch_size=8))
    assert bind(PPO("MultiInputPolicy", VecNormalize(shaped_line()), gamma=GAMMA, n_steps=8, batch_size=8))


def test_replay_buffers_hold_the_shaped_rewards() -> None:
    """Stable-Baselines3 stores what VecNormalize calls the original reward: it must have seen the shaped one."""
    settings = ShapingConfig(gamma=GAMMA, weight=3.0)
    line = DummyVecEnv([lambda: Monitor(Line(pictures=False))] * 2)
    for venv in (ShapedVecEnv(line, InfoReader(), settings), VecNormalize(ShapedVecEnv(line, InfoReader(), settings))):
        agent = bind(SAC("MultiInputPolicy", venv, gamma=GAMMA, learning_starts=100, device="cpu", seed=0))
        agent.learn(20)
        stored = agent.replay_buffer.rewards[:10]
        assert not np.isin(stored, (0.0, 1.0)).any()
    inside = ShapedVecEnv(VecNormalize(line), InfoReader(), settings)
    with pytest.raises(ValueError, match="put it outside"):
        bind(SAC("MultiInputPolicy", inside, gamma=GAMMA, device="cpu"))
