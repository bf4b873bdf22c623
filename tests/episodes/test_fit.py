"""One fit check for all who read: another size, type, shape, rate or state is one line with both sides."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper
from gymnasium.wrappers import FrameStackObservation, TransformObservation
from gymnasium.wrappers.vector import DictInfoToList
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecTransposeImage

from agents.sb3 import ShapedVecEnv
from envs.viewed import Viewed
from episodes.fit import require_actions, require_episode, require_multiple, require_observation, require_spec
from episodes.store import EpisodeStore
from networks.latents import require_size
from tests.helpers.commands import foresight
from tests.helpers.line_walk import SPEC as LINE
from tests.helpers.line_walk import Line, Square, config
from tests.helpers.made_lift import SPEC, made_episode, made_store
from tests.helpers.tiny import distributional
from valuefns.distributional import Distributional
from valuefns.framewise import FrameStream
from valuefns.protocol import ValueFunction
from valuefns.shaping.gym_wrapper import ShapedReward
from valuefns.shaping.terms import ShapingConfig
from valuefns.shaping.vector_wrapper import ShapedVectorReward

EPISODE = made_episode(0, 6)


def _images(change: Any) -> Any:
    seen = EPISODE.observation(0)
    return dataclasses.replace(seen, images={c: change(x) for c, x in seen.images.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.repeat(2, 0).repeat(2, 1), "64x64, it was made for 32x32; give pictures .*image_size=32"),
        (lambda x: (x / 255).astype(np.float32), "are float32, it was made for uint8 0..255; leave out the wrapper"),
        (lambda x: np.moveaxis(x, -1, 0), r"shape \(3, 32, 32\), .*put the colours last"),
        (lambda x: np.concatenate([x] * 4, -1), r"shape \(32, 32, 12\), .*without a frame stack"),
    ],
)  # fmt: skip
def test_pictures_that_do_not_fit_are_named_with_both_sides(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        require_observation(_images(change), SPEC, "value 'v'")


def test_state_rate_and_cameras() -> None:
    wide = dataclasses.replace(EPISODE, proprio=np.pad(EPISODE.proprio, ((0, 0), (0, 1))))
    with pytest.raises(ValueError, match=r"proprioception has shape \(7, 12\), it was made for 11 numbers.*: a, b"):
        require_episode(wide, SPEC, "v")
    require_episode(wide, SPEC, "v", proprio=False)  # a value that does not read it
    with pytest.raises(ValueError, match="made at 10 Hz, the episode has 20 Hz"):
        require_episode(dataclasses.replace(EPISODE, hz=20.0), SPEC, "v")
    for change, message in (
        ({"cameras": ("front",)}, "sees the cameras front, wrist, the data has front"),
        ({"image_size": (8, 8)}, "8x8, it was made for 32x32"),
        ({"hz": 5.0}, "made at 10 Hz, the data has 5 Hz"),
        ({"proprio_names": tuple("bacdefghijk")}, r"reads the state a, b.*the data has b, a"),
    ):
        with pytest.raises(ValueError, match=message):
            require_spec(SPEC, dataclasses.replace(SPEC, **change), "v")


def test_actions_outside_the_bounds_a_policy_clips_to() -> None:
    actions = np.zeros((4, 2), np.float32)
    require_actions(actions, SPEC, "store s")
    actions[1, 1] = 1.02
    with pytest.raises(ValueError, match=r"actions dy are 0..1.02, its EnvSpec says -1..1, to which a policy"):
        require_actions(actions, SPEC, "store s")


def test_a_size_without_latents_names_the_next_one_that_has() -> None:
    with pytest.raises(ValueError, match=r"84 x 84: .*image_size=\[96,96\]"):
        require_size((84, 84))
    require_size((96, 96))
    with pytest.raises(ValueError, match=r"84 x 180: videovla needs multiples of 16; .*image_size=\[96,192\]"):
        require_multiple((84, 180), 16, "videovla needs")


def test_labels_are_refused_before_the_first_and_the_way_out_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = made_store(tmp_path / "small", 2, 1)
    Distributional(distributional(2)).fit(small).save(tmp_path / "v")
    spec = dataclasses.replace(SPEC, image_size=(64, 64))
    with EpisodeStore.create(tmp_path / "large", spec) as large:
        for e in small:
            images = {c: x.repeat(2, 1).repeat(2, 2) for c, x in e.images.items()}
            large.append([dataclasses.replace(e, images=images)])
    command = ["label", tmp_path / "large", f"value={tmp_path / 'v'}"]
    with pytest.raises(SystemExit, match=r"64x64, it was made for 32x32; .*image_size=\[32,32\]"):
        foresight(*command)
    assert not (tmp_path / "large/labels").exists()
    assert foresight(*command, "image_size=[32,32]") == 0


class Level(ValueFunction):
    """A learned value as the shaping sees one: the mean of the first camera, of what fits `spec` alone."""

    name = "level"
    spec = LINE

    def fit(self, store: Any, folder: Any = None) -> ValueFunction:
        return self

    def score(self, episode: Any, causal: bool = False) -> np.ndarray:
        raise NotImplementedError

    def stream(self, n: int) -> FrameStream:
        return FrameStream(
            n, LINE, lambda images, proprio, prompts: images[:, 0].mean((1, 2, 3)) + proprio[:, 0], "level"
        )


RAW = ShapingConfig("raw", gamma=0.9)
MOVE = np.array([0.1], np.float32)


def _shaped(wrap: Any) -> list[float]:
    env = ShapedReward(wrap(Line(30)), Level(), RAW)
    env.reset(seed=3)
    return [float(env.step(MOVE)[1]) for _ in range(3)]


def _floats(env: gym.Env) -> gym.Env:
    boxes = dict(env.observation_space.items())
    boxes |= {c: gym.spaces.Box(0, 1, boxes[c].shape, np.float32) for c in LINE.cameras}

    def scaled(seen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {k: (v / 255).astype(np.float32) if v.ndim == 3 else v for k, v in seen.items()}

    return TransformObservation(env, scaled, gym.spaces.Dict(boxes))


@pytest.mark.parametrize("wrap", [_floats, lambda e: FrameStackObservation(e, 4)])
def test_wrappers_around_pictures_change_no_reward(wrap: Any) -> None:
    assert _shaped(wrap) == pytest.approx(_shaped(lambda e: e))


@pytest.mark.parametrize("wrap", [lambda v: VecFrameStack(v, 4), VecTransposeImage])
def test_wrappers_of_stable_baselines_change_no_reward(wrap: Any) -> None:
    def rewards(inside: Any) -> np.ndarray:
        venv = ShapedVecEnv(inside(DummyVecEnv([lambda: Line(30)] * 2)), Level(), RAW)
        venv.seed(3)
        venv.reset()
        return np.array([venv.step(np.stack([MOVE] * 2))[1] for _ in range(3)])

    np.testing.assert_allclose(rewards(wrap), rewards(lambda v: v), atol=1e-5)


def _as(change: Any, high: float, dtype: Any) -> Any:
    """A wrapper around pictures whose box says 0..high."""

    def wrap(env: gym.Env) -> gym.Env:
        boxes = dict(env.observation_space.items())
        boxes |= {c: gym.spaces.Box(0, high, change(np.zeros(boxes[c].shape)).shape, dtype) for c in LINE.cameras}

        def made(seen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {k: change(v).astype(dtype) if v.ndim == 3 else v for k, v in seen.items()}

        return TransformObservation(env, made, gym.spaces.Dict(boxes))

    return wrap


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (_as(lambda x: x / 255, 255, np.float32), "are float32, it was made for uint8 0..255; leave out"),
        (_as(lambda x: x, 1, np.float32), "are float32, it was made for uint8 0..255; leave out"),
        (_as(lambda x: x, 255, np.int64), "are int64, it was made for uint8 0..255; give them as uint8"),
        (_as(lambda x: x.mean(-1, keepdims=True), 255, np.uint8), "leave out the wrapper that makes them grey"),
        (_as(lambda x: x.mean(-1), 255, np.uint8), "leave out the wrapper that makes them grey"),
    ],
)
def test_pictures_that_are_not_what_their_box_says_are_refused_for_what_they_are(wrap: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _shaped(wrap)


def test_vector_wrappers_do_not_hide_what_the_environments_say() -> None:
    def rewards(wrap: Any) -> np.ndarray:
        env = ShapedVectorReward(wrap(SyncVectorEnv([lambda: Line(9)] * 2)), Level(), RAW)
        env.reset(seed=[1, 2])
        return np.asarray(env.step(np.stack([MOVE] * 2))[1])

    np.testing.assert_array_equal(rewards(VectorWrapper), rewards(lambda v: v))
    with pytest.raises(ValueError, match="put DictInfoToList around it"):
        rewards(DictInfoToList)


def test_float_pictures_of_unknown_range_are_refused() -> None:
    def unknown(env: gym.Env) -> gym.Env:
        boxes = {k: gym.spaces.Box(-9, 9, s.shape, np.float32) for k, s in env.observation_space.items()}
        return TransformObservation(
            env, lambda o: {k: v.astype(np.float32) for k, v in o.items()}, gym.spaces.Dict(boxes)
        )

    with pytest.raises(ValueError, match="float32, it was made for uint8"):
        _shaped(unknown)


def test_a_value_read_where_nothing_is_drawn_is_refused_at_once() -> None:
    class Looking(Line):
        def __init__(self) -> None:
            super().__init__(30, pictures=False)
            self.view_spec = LINE

        def look(self) -> dict[str, Any]:
            return Line._seen(self) | {c: np.zeros((8, 8, 3), np.uint8) for c in LINE.cameras}

    with pytest.raises(ValueError, match=r"every 3 steps, Viewed draws every 2; .*Viewed\(env, every=3\)"):
        ShapedReward(Viewed(Looking(), every=2), Level(), ShapingConfig(gamma=0.9, every=3))
    ShapedReward(Viewed(Looking(), every=3), Level(), ShapingConfig(gamma=0.9, every=3)).reset(seed=0)


def test_a_partial_reset_begins_the_masked_episodes_alone() -> None:
    env = ShapedVectorReward(SyncVectorEnv([Line, Line], autoreset_mode=AutoresetMode.DISABLED), Square(), config())
    env.reset(seed=[10, 11])
    for _ in range(2):
        env.step(np.stack([MOVE] * 2))
    before = env.rewarder.shaper.phi.copy()
    env.reset(seed=[5, None], options={"reset_mask": np.array([True, False])})
    assert env.rewarder.shaper.clock.tolist() == [0, 2]
    assert env.rewarder.shaper.phi[1] == before[1] and env.rewarder.shaper.phi[0] != before[0]
