"""Shaped rewards through Gymnasium, its vector environments and Stable-Baselines3: same episodes, same terms."""

from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from some_episodes import make_spec
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from agents.sb3 import ShapedVecEnv, ShapingLog, bind
from valuefns.constant import ConstantValue
from valuefns.oracle import OracleValue
from valuefns.protocol import ValueFunction
from valuefns.shaping.gym_wrapper import ShapedReward
from valuefns.shaping.readers import ClockReader, InfoReader, ShuffledReader, version_of
from valuefns.shaping.terms import ShapingConfig
from valuefns.shaping.vector_wrapper import ShapedVectorReward

SPEC = make_spec(image_size=(8, 8), proprio_names=("x",), hz=10.0)
GAMMA = 0.9


class Line(gym.Env):
    """Walk from 0 to 1 on a line; beyond it is success, after `limit` steps the time is up. Episodes differ by seed."""

    spec_ = SPEC

    def __init__(self, limit: int = 7, pictures: bool = True) -> None:
        boxes: dict[str, gym.Space] = {"proprio": gym.spaces.Box(-9, 9, (1,), np.float32)}
        if pictures:
            boxes |= {c: gym.spaces.Box(0, 255, (8, 8, 3), np.uint8) for c in SPEC.cameras}
        self.observation_space, self.pictures = gym.spaces.Dict(boxes), pictures
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.limit = limit

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.x, self.t = float(self.np_random.uniform(0, 0.4)), 0
        return self._seen(), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.x, self.t = self.x + 0.2 * float(action[0]), self.t + 1
        won = self.x >= 1
        return self._seen(), float(won), won, not won and self.t >= self.limit, self._info()

    def _info(self) -> dict[str, Any]:
        return {"instruction": f"walk {self.t}", "progress": self.x, "is_success": self.x >= 1}

    def _seen(self) -> dict[str, Any]:
        seen: dict[str, Any] = {"proprio": np.array([self.x], np.float32)}
        return seen | {c: np.full((8, 8, 3), self.t, np.uint8) for c in SPEC.cameras} if self.pictures else seen


class _Stream:
    """Reads x off proprio and counts what it is asked, so that tests see batching, resets and slots left alone."""

    def __init__(self, n: int) -> None:
        self.log: list[tuple[str, list[int]]] = []
        self.instructions = [""] * n

    def reset(self, mask: Any, instructions: Any) -> None:
        self.log.append(("reset", np.flatnonzero(mask).tolist()))
        self.instructions = [b if m else a for m, a, b in zip(mask, self.instructions, instructions, strict=True)]

    def step(self, observations: Any) -> np.ndarray:
        asked = [i for i, o in enumerate(observations) if o is not None]
        self.log.append(("step", asked))
        assert all(self.instructions[i].startswith("walk") for i in asked)
        return np.array([np.nan if o is None else o.proprio[0] ** 2 for o in observations], np.float32)


class Square(ValueFunction):
    """V = x^2, frame by frame."""

    name, spec = "square", SPEC

    def __init__(self) -> None:
        self.model = torch.nn.Linear(1, 1)

    def fit(self, store: Any, folder: Any = None) -> "Square":
        return self

    def score(self, episode: Any, causal: bool = False) -> np.ndarray:
        return episode.proprio[:, 0] ** 2

    def stream(self, n: int) -> _Stream:
        self.last = _Stream(n)
        return self.last


def config(**changes: Any) -> ShapingConfig:
    return ShapingConfig(**({"gamma": GAMMA, "low": -0.1, "high": 0.9} | changes))


ACTIONS = np.random.default_rng(0).uniform(-0.3, 1, size=(60, 2, 1)).astype(np.float32)


def by_hand(slot: int, seed: int, settings: ShapingConfig, steps: int) -> list[list[tuple[float, bool]]]:
    """Episodes of one environment under ACTIONS: (shaped reward, ended by success) of every step."""
    env = Line()
    env.reset(seed=seed)

    def phi() -> float:
        x = np.float32(env.x)
        return (x * x - settings.low) / (settings.high - settings.low)

    episodes, held, terms, k = [], phi(), [], 0
    for action in ACTIONS[:steps, slot]:
        _, reward, won, late, _ = env.step(action)
        k += 1
        new = phi() if k % settings.every == 0 else held
        terms.append((reward + GAMMA * (0.0 if won else new) - held, won))
        held = new
        if won or late:
            episodes.append(terms)
            env.reset()
            held, terms, k = phi(), [], 0
    return [*episodes, terms]


def flat(episodes: list[list[tuple[float, bool]]]) -> list[float]:
    return [term for episode in episodes for term, _ in episode]


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


def test_automatic_resets_that_are_off_are_refused() -> None:
    with pytest.raises(ValueError, match="use NEXT_STEP or SAME_STEP"):
        ShapedVectorReward(SyncVectorEnv([Line], autoreset_mode=AutoresetMode.DISABLED), Square(), config())


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
