"""The names a notebook starts from: what they take, what they say of themselves, and what they cost to import."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import foresight
from envs.check import check_env
from episodes import EnvSpec, Episode
from episodes.fit import warn_of_still_proprio
from episodes.labels import Labels
from episodes.store import EpisodeStore
from episodes.video import VideoWriter
from experiments.report.value_plot import plot_value
from networks.saved import find_policy, find_value
from tests import ROOT
from tests.helpers.some_episodes import make_episode, make_spec

LONGEST_REPR = 260


def test_importing_it_loads_nothing_and_every_name_is_there() -> None:
    code = "import sys, foresight; before = set(sys.modules); print(sorted({'numpy', 'torch', 'envs'} & before))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
    assert sorted(foresight.__all__) == sorted(foresight._HOMES)
    for name in foresight.__all__:
        assert getattr(foresight, name).__doc__, name
    with pytest.raises(AttributeError, match=r"no attribute 'load_valeu'; it has .*load_value"):
        _ = foresight.load_valeu


def made_run(folder: Path, arms: dict[str, float]) -> Path:
    for arm in arms:
        for k in (0, 1, 10):
            place = folder / "arms" / arm / f"policy-{k}"
            place.mkdir(parents=True)
            (place / "config.json").write_text("{}")
            if k < 10:  # the third was stopped before its weights
                (place / "model.safetensors").write_text("")
    for fold in (0, 1):
        (folder / "checkpoints" / "value" / f"fold-{fold}").mkdir(parents=True)
        (folder / "checkpoints" / "value" / f"fold-{fold}" / "config.json").write_text("{}")
    rows = [{"method": f"{arm}@2", "arm": arm, "success": success} for arm, success in arms.items()]
    (folder / "summary.json").write_text(json.dumps({"rows": rows}))
    (folder / "run.json").write_text("{}")
    return folder


def test_a_run_gives_its_best_policy_and_its_first_fold(tmp_path: Path) -> None:
    old = made_run(tmp_path / "recap_sim" / "20260101-000000-seed0", {"bc": 0.9})
    run = made_run(tmp_path / "recap_sim" / "20260102-000000-seed0", {"awr": 0.5, "bc": 0.4, "recap": 0.7})
    assert find_policy(str(run)) == run / "arms" / "recap" / "policy-1"
    assert find_policy(tmp_path / "recap_sim") == run / "arms" / "recap" / "policy-1"
    assert find_policy(run, "bc") == find_policy(run / "arms" / "bc") == run / "arms" / "bc" / "policy-1"
    assert find_policy(run / "arms" / "bc" / "policy-0") == run / "arms" / "bc" / "policy-0"
    assert find_value(str(run)) == run / "checkpoints" / "value" / "fold-0"
    assert find_value(old / "checkpoints" / "value" / "fold-1").name == "fold-1"
    with pytest.raises(ValueError, match=r"has no arm 'rcap'; choose from awr, bc, recap$"):
        find_policy(run, "rcap")


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "runs" / "recap_sim" / "1").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"recap_sim/2: is not there; name a folder with .*recap_sim has 1\)$"):
        foresight.load_value(str(tmp_path / "runs" / "recap_sim" / "2"))
    (tmp_path / "runs" / "recap_sim" / "1" / "run.json").write_text("{}")
    for load in (foresight.load_policy, foresight.load_value):
        with pytest.raises(ValueError, match=r"holds no .*; this run has not come that far, give its command again$"):
            load(str(tmp_path / "runs" / "recap_sim" / "1"))


def film(path: Path, n: int, hz: float) -> np.ndarray:
    frames = np.zeros((n, 16, 24, 3), np.uint8)
    frames += np.arange(n, dtype=np.uint8)[:, None, None, None] * 8
    with VideoWriter(path, (16, 24), hz, "mp4 lossless") as writer:
        writer.add(frames)
    return frames


def test_an_episode_of_a_video_takes_the_nearest_pictures(tmp_path: Path) -> None:
    frames = film(tmp_path / "a.mp4", 31, 30)
    episode = Episode.from_video(str(tmp_path / "a.mp4"), "lift", hz=10)
    assert len(episode) == 10 and episode.hz == 10 and episode.instruction == "lift"
    np.testing.assert_array_equal(episode.images["video"], frames[::3])
    assert episode.proprio.shape == (11, 0) and np.isnan(episode.progress).all() and episode.truncated[-1]
    film(tmp_path / "b.mp4", 25, 30)
    both = {"front": tmp_path / "a.mp4", "wrist": tmp_path / "b.mp4"}
    two = Episode.from_video(both, "lift", 30, image_size=(8, 8), proprio=np.ones((25, 3)), success=True)
    assert two.images["front"].shape == (25, 8, 8, 3) and two.proprio.shape == (25, 3) and two.terminated[-1]


@pytest.mark.parametrize(
    ("hz", "more", "said"),
    [
        (60, {}, r"a\.mp4: shows 30 frames a second, hz=60; take hz=30 or less"),
        (0, {}, "hz=0; give pictures per second above 0"),
        (1, {}, "1 pictures at 1 Hz; give a longer one, or a higher hz"),
        (10, {"proprio": np.ones((4, 2))}, "proprio has 4 rows for 10 pictures"),
    ],
)
def test_a_video_that_does_not_fit_is_one_line(tmp_path: Path, hz: float, more: dict, said: str) -> None:
    film(tmp_path / "a.mp4", 30, 30)
    with pytest.raises(ValueError, match=said):
        Episode.from_video(tmp_path / "a.mp4", "lift", hz, **more)


def test_a_video_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no\.mp4: no such file$"):
        Episode.from_video(tmp_path / "no.mp4", "lift", 10)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match=r"text\.mp4: not a readable video"):
        Episode.from_video(tmp_path / "text.mp4", "lift", 10)


@pytest.mark.parametrize("kind", ["png", "svg", "pdf", "mp4", "gif"])
def test_values_are_drawn_into_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    episode = make_episode(T=9)
    values = {"viva": np.linspace(0.2, 0.9, 10), "wvm": np.linspace(0.1, 0.8, 9)}
    path = plot_value(episode, values, tmp_path / f"value.{kind}", truth=np.linspace(0, 1, 10))
    assert path.stat().st_size > 1000
    assert plot_value(episode, values["viva"], str(path)) == path


def test_values_that_do_not_fit_are_named(tmp_path: Path) -> None:
    episode = make_episode(T=9)
    for values, out, more, said in (
        (np.zeros(3), "a.png", {}, r"value has shape \(3,\) for 9 steps; give \(10,\) or \(9,\)"),
        (np.zeros(10), "a.bmp", {}, r"a\.bmp is no \.png"),
        (np.zeros(10), "a.png", {"camera": "top"}, "no camera 'top'; the episode has front, wrist"),
        ({}, "a.png", {}, "no values"),
    ):
        with pytest.raises(ValueError, match=said):
            plot_value(episode, values, tmp_path / out, **more)
    assert not list(tmp_path.iterdir())


class Made(gym.Env):
    """An environment as the loop wants it."""

    def __init__(self) -> None:
        self.spec_ = make_spec()
        boxes = {c: gym.spaces.Box(0, 255, (8, 12, 3), np.uint8) for c in self.spec_.cameras}
        self.observation_space = gym.spaces.Dict(boxes | {"proprio": gym.spaces.Box(-9, 9, (3,), np.float32)})
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def seen(self) -> dict:
        images = {c: np.zeros((8, 12, 3), np.uint8) for c in self.spec_.cameras}
        return {**images, "proprio": self.np_random.random(3).astype(np.float32)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.seen(), {"instruction": "up", "success": False, "progress": 0.0}

    def step(self, action):
        return self.seen(), 0.0, False, False, {"instruction": "up", "success": False, "progress": np.nan}


class Lacking(Made):
    """One that lacks several things at once."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = gym.spaces.Box(-2, 2, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        observation, _ = super().reset(seed=None)
        return observation | {"wrist": np.zeros((3, 8, 12), np.uint8)}, {"instruction": "up"}

    def step(self, action):
        return (*super().step(action)[:4], {"progress": 3.0})


def test_an_environment_that_lacks_nothing_passes() -> None:
    assert check_env(Made()) is None


def test_all_that_an_environment_lacks_is_said_at_once() -> None:
    with pytest.raises(ValueError) as raised:
        check_env(Lacking())
    said = str(raised.value)
    for lack in (
        "bounds of spec_",
        "wrist as uint8 (8, 12, 3) (reset gives uint8 (3, 8, 12))",
        "info['success'] at reset",
        "info['progress'] at reset",
        "proprio differ between two reset(seed=0)",
        "info['instruction'] at step",
        "progress in [0, 1] (it is 3.0 at step)",
    ):
        assert lack in said
    assert "\n" not in said and said.startswith("Lacking lacks ")
    with pytest.raises(ValueError, match=r"spec_, an episodes\.EnvSpec.*observation_space \(derive.*reset\("):
        check_env(type("Empty", (), {"unwrapped": property(lambda self: self)})())


def test_what_is_central_says_itself_in_one_line(tmp_path: Path) -> None:
    spec, episode = make_spec(), make_episode(T=4)
    with EpisodeStore.create(tmp_path / "store", spec) as store:
        store.append([episode])
    labels = Labels.from_arrays(store, "bc", weight=[np.ones(4, np.float32)])
    for thing, words in (
        (spec, ("made/Up-v0", "front+wrist 8x12", "20 Hz")),
        (episode, ("4 steps", "success", "front 8x12")),
        (episode.observation(0), ("front 8x12", "'lift cube 0'")),
        (store, ("1 episodes", "4 steps", "made/Up-v0")),
        (labels, ("weight", "1 episodes", "by bc")),
    ):
        said = repr(thing)
        assert len(said) <= LONGEST_REPR and "\n" not in said
        assert all(word in said for word in words), said


def test_policies_and_values_say_themselves_in_one_line_and_predict() -> None:
    from agents.flow import FlowPolicy
    from agents.settings import FlowConfig
    from tests.helpers import tiny
    from valuefns.constant import ConstantValue
    from valuefns.viva import ViVa

    spec = make_spec(image_size=(64, 64))
    policy = FlowPolicy(FlowConfig(chunk=4, execute=3), spec).eval()
    for thing, words in (
        (policy, ("flow", "M parameters", "made/Up-v0", "3 steps a chunk")),
        (ViVa(tiny.viva(1), tiny.PCA), ("viva", "not fitted", "proprioception")),
        (ConstantValue(), ("constant",)),
    ):
        assert len(repr(thing)) <= LONGEST_REPR and "\n" not in repr(thing)
        assert all(word in repr(thing) for word in words), repr(thing)

    seen = make_episode(T=8, spec=spec)
    observations = [{**{c: v[t] for c, v in seen.images.items()}, "proprio": seen.proprio[t]} for t in range(4)]
    policy.begin("lift", seed=5)
    actions = [policy.predict(o) for o in observations]
    assert actions[0].shape == (2,)
    policy.reset(np.array([True]), np.array([5]), ["lift"])
    chunks = [policy.act([seen.observation(t)])[0] for t in (0, 3)]
    np.testing.assert_array_equal(np.stack(actions), [*chunks[0][:3], chunks[1][0]])
    policy.begin("lift", seed=5)
    np.testing.assert_array_equal(policy.predict(observations[0]), actions[0])  # nothing is left of the last episode
    policy.begin()
    with pytest.raises(ValueError, match="observation has no wrist, proprio, only"):
        policy.predict({"front": observations[0]["front"]})
    with pytest.raises(ValueError, match="takes one environment's observation"):
        policy.predict({k: v[None] for k, v in observations[0].items()})


@pytest.mark.parametrize("proprio", [np.zeros((5, 3)), np.ones((5, 3))])
def test_a_state_that_says_nothing_is_warned_of(proprio: np.ndarray) -> None:
    with pytest.warns(UserWarning, match=r"viva: the proprioception \(x, y, z \(3\)\) is .* in every frame"):
        warn_of_still_proprio(proprio, ("x", "y", "z"), "viva")


def test_a_state_that_moves_or_is_not_there_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_still_proprio(np.eye(3), ("x", "y", "z"), "viva")
        warn_of_still_proprio(np.zeros((5, 0)), (), "viva")


def test_a_value_that_reads_the_state_warns_of_one_that_stands_still() -> None:
    from episodes.fit import require_episode

    spec: EnvSpec = make_spec()
    still = dataclasses.replace(make_episode(T=5, spec=spec), proprio=np.zeros((6, 3), np.float32))
    with pytest.warns(UserWarning, match="is 0 in every frame"):
        require_episode(still, spec, "viva")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        require_episode(still, spec, "wvm", proprio=False)
