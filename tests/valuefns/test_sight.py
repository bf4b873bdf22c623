"""Does a value look? The changed inputs, the rank across episodes, counterfactual pictures, verdicts, blind cameras."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.counterfactual import Pair, displacement, pairs, read_pairs, write_pairs
from episodes import Episode
from episodes.store import EpisodeStore
from experiments.report.sight import sight_table
from experiments.studies.engine import Cell, make
from experiments.studies.sight_table import rebuild
from tests.helpers import tiny
from tests.helpers.made_lift import SPEC, made_episode, made_store
from valuefns.bench import metrics, probes
from valuefns.bench.probes import ClockValue
from valuefns.bench.sight import Sight, across_rows, compare, look, rows, verdict, verdict_of
from valuefns.distributional import Distributional
from valuefns.protocol import ValueFunction
from valuefns.views import require_pictures, warn_of_blank
from valuefns.viva import ViVa
from valuefns.wvm import WVM


class Looks(ValueFunction):
    """Reads the brightness of the pictures, which shows the progress, and nothing else."""

    name = "looks"

    def fit(self, store, folder=None):  # type: ignore[no-untyped-def]
        return self

    def score(self, episode: Episode, causal: bool = False) -> np.ndarray:
        level = np.mean([frames.mean((1, 2, 3)) for frames in episode.images.values()], 0)
        return ((1 + (level - 40) / 180) / 2).astype(np.float32)


class Feels(Looks):
    """Reads the first joint, which tells the progress, too, whatever the pictures show."""

    name = "feels"

    def score(self, episode: Episode, causal: bool = False) -> np.ndarray:
        return ((1 + episode.proprio[:, 0]) / 2).astype(np.float32)


def left_behind(episode: Episode, moved: int) -> Pair:
    """The pictures of frame `moved` - 1 from `moved` on."""
    still = np.minimum(np.arange(len(episode) + 1), moved - 1)
    left = replace(episode, images={c: frames[still] for c, frames in episode.images.items()})
    return Pair(episode, left, probes.black_pictures(episode), moved)


def probed(value: ValueFunction) -> Sight:
    episodes = [made_episode(i, 24 + i) for i in range(6)]
    sight = look(value, episodes, "break it", max_steps=100)
    sight.add(compare(value, [left_behind(e, 10) for e in episodes], max_steps=100))
    return sight


def test_each_probe_changes_its_own_input_and_nothing_else() -> None:
    one, other = made_episode(0, 20), made_episode(1, 30)
    times = probes.random_times(one, other)
    assert times.shape == (21,) and times.max() <= 30 and not (np.diff(times) > 0).all()
    assert np.array_equal(times, probes.random_times(one, other)), "a probe is the same whenever it is made"
    assert probes.aligned(one, other)[[0, 10, 20]].tolist() == [0, 15, 30]
    black = probes.black_pictures(one)
    assert not any(frames.any() for frames in black.images.values())
    foreign = probes.foreign_pictures(one, other, times)
    assert np.array_equal(foreign.images["front"], other.images["front"][times])
    for changed in (black, foreign):
        assert changed.proprio is one.proprio and changed.instruction == one.instruction
    felt = probes.foreign_proprio(one, other, times)
    assert np.array_equal(felt.proprio, other.proprio[times]) and felt.images is one.images
    assert (probes.frozen_proprio(one).proprio == one.proprio[0]).all()


def test_across_episodes_a_clock_knows_nothing_and_the_truth_everything() -> None:
    rng = np.random.default_rng(0)
    truth = [np.clip(np.cumsum(rng.random(T) * rng.uniform(0.2, 2)) / 60, 0, 1) for T in rng.integers(40, 60, 24)]
    ticks = [np.arange(len(t)) + rng.normal(0, 0.1, len(t)) for t in truth]
    assert metrics.across(truth, truth) == pytest.approx(1)
    assert abs(metrics.across(ticks, truth)) < 0.1
    assert np.mean([metrics.spearman(c, t) for c, t in zip(ticks, truth)]) > 0.99, "within an episode it is perfect"
    assert np.isnan(metrics.across([np.arange(len(t)) for t in truth], truth)), "at equal time it has no order"
    assert np.isnan(metrics.across(truth[:7], truth[:7])), "seven episodes are too few"
    (row,) = across_rows(truth, truth, np.arange(24) % 2, hz=10.0)
    assert row["mean"] == pytest.approx(1) and row["low"] == pytest.approx(1)
    (row,) = across_rows(ticks, truth, np.arange(24) % 2, hz=10.0)
    assert row["low"] < 0 < row["high"]


def test_a_value_that_looks_and_one_that_does_not() -> None:
    seen, felt = ({row["name"]: row for row in rows(probed(value))} for value in (Looks(), Feels()))
    assert seen["truth"]["mean"] > 0.99 and felt["truth"]["mean"] > 0.99, "their own scores do not tell them apart"
    assert seen["joints_alone_truth"]["mean"] < 0.3 and np.isnan(felt["joints_alone_truth"]["mean"])
    assert "takes no pictures" in felt["joints_alone_truth"]["what"] and felt["black_own"]["n"] == 0
    assert "takes no proprioception" in seen["frozen_own"]["what"] and seen["pictures_alone_change"]["n"] == 0
    assert "takes no instruction" in seen["instruction_own"]["what"]
    assert felt["pictures_alone_truth"]["mean"] < 0.3 and felt["frozen_truth"]["undefined"] == 6
    assert seen["left_lower"]["mean"] == 1 and seen["left_drop"]["mean"] > 0.2 and felt["left_drop"]["mean"] == 0
    assert seen["left_drop_value"]["mean"] == pytest.approx(seen["left_drop"]["mean"] / 2)
    assert [verdict_of(list(found.values())) for found in (seen, felt)] == ["yes", "no"]
    assert verdict_of(rows(probed(ClockValue()))) == "no"


def test_verdicts() -> None:
    nan = float("nan")
    assert verdict(0.9, 0.1, 0.4) == verdict(1.0, 0.3, nan) == "yes"
    assert verdict(0.9, 0.1, 0.6) == verdict(0.9, 0.05, 0.1) == verdict(0.5, 0.2, nan) == "partly"
    assert verdict(0.6, 0.01, 0.1) == verdict(nan, nan, 0.9) == "no"
    assert verdict(nan, nan, nan) == verdict(nan, nan, 0.1) == "unknown"


def test_one_episode_alone_has_nobody_to_lend_pictures() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        look(Looks(), [made_episode(0)], "break it", 100)


def test_lift_is_drawn_again_with_the_cube_where_it_lay(tmp_path: Path) -> None:
    """Real physics: nothing differs before the cube is taken, then only the cube and its shadow; the world goes on."""
    pytest.importorskip("robosuite", reason="pip install -e .[robosuite]")
    from envs.ledger import Trial
    from envs.oracles.lift import ORACLE
    from envs.oracles.mix import OracleMix
    from envs.robosuite_env import RoboSuiteEnv
    from envs.rollout import rollout

    env = RoboSuiteEnv("lift", image_size=64, max_steps=80)
    trial = Trial(1_900_000)
    (pair,) = pairs(ORACLE([env], OracleMix.only("expert")), env, [trial], source="oracle")
    before = env.raw.sim.data._data.qpos.copy(), env.raw.sim.data._data.geom_xpos.copy()
    true, left, moved = pair.true, pair.left, pair.moved
    assert true.success and 5 < moved < len(true)
    for name in ("proprio", "actions", "progress", "segments"):
        assert getattr(left, name) is getattr(true, name)
    cube = {}
    for camera in ("agentview", "wrist"):
        a, b, gone = (e.images[camera].astype(int) for e in (true, left, pair.absent))
        assert np.array_equal(a[:moved], b[:moved]) and np.array_equal(a[:moved], gone[:moved])
        red = [x[-1, :, :, 0] - x[-1, :, :, 1] > 60 for x in (a, b, gone)]
        assert red[0].sum() > 20 and not red[2].any()
        # the agent's picture has a shadow as well, as dark as the cube's own
        changed = (a[-1] != b[-1]).any(-1)
        assert changed.any() and changed.mean() < 0.25 and (changed | ~(red[0] ^ red[1])).all()
        cube[camera] = [np.flatnonzero(x.any(1)).max() if x.any() else 64 for x in red]
    assert cube["agentview"][1] > cube["agentview"][0] + 2, "it lies lower than the one that was lifted"
    env.reset(seed=5)
    env.raw.sim.data._data.qpos[:] = env.raw.sim.data._data.qpos  # the environment still works
    (again,) = rollout(ORACLE([env], OracleMix.only("expert")), [env], [trial], source="oracle")
    assert all(np.array_equal(again.images[c], true.images[c]) for c in true.images), "the same as without the pair"
    assert before[0].shape == env.raw.sim.data._data.qpos.shape
    write_pairs(tmp_path / "pairs", env.spec_, [pair])
    (kept,) = read_pairs(tmp_path / "pairs")
    assert kept.moved == moved and np.array_equal(kept.left.images["wrist"], left.images["wrist"])
    env.close()


def test_drawing_a_counterfactual_leaves_the_environment_untouched() -> None:
    pytest.importorskip("robosuite", reason="pip install -e .[robosuite]")
    from envs.counterfactual import _redrawn, _Watched
    from envs.robosuite_env import RoboSuiteEnv

    env = RoboSuiteEnv("lift", image_size=64, max_steps=20)
    watched = _Watched(env)
    shown = [watched.reset(seed=3)[0]]
    for _ in range(8):
        shown.append(watched.step(np.array([0, 0, -1, 0, 0, 0, 1], np.float32))[0])
    data = env.raw.sim.data._data
    state = {name: getattr(data, name).copy() for name in ("qpos", "qvel", "time", "geom_xpos", "xpos", "cam_xpos")
             if hasattr(getattr(data, name), "copy")}  # fmt: skip
    episode = made_episode(0, 8)
    episode = replace(episode, images={c: np.stack([o[c] for o in shown]) for c in ("agentview", "wrist")})
    drawn = _redrawn(env, episode, watched.states, watched.bodies[0], 7, "left")
    for name, was in state.items():
        np.testing.assert_array_equal(getattr(data, name), was, err_msg=name)
    for camera, frames in drawn.images.items():  # the cube has not moved: the redrawn pictures are the true ones
        np.testing.assert_array_equal(frames, episode.images[camera])
    after = env.look()
    assert all(np.array_equal(after[c], shown[-1][c]) for c in ("agentview", "wrist"))
    env.close()


def test_settling_is_no_displacement() -> None:
    positions = np.zeros((30, 2, 3))
    positions[:3, 0, 2] = [0.02, 0.01, 0.002]  # falls into its place
    positions[20:, 1, 2] = np.linspace(0, 0.2, 10)
    found = displacement(positions, hz=10.0)
    assert found[:, 0].max() == 0 and found[:20, 1].max() == 0 and found[-1, 1] == pytest.approx(0.2)


def test_an_environment_that_cannot_be_drawn_again_is_named() -> None:
    class Blank:
        @property
        def unwrapped(self):  # type: ignore[no-untyped-def]
            return self

    with pytest.raises(ValueError, match="Blank cannot draw another state"):
        next(pairs(None, Blank(), []))  # type: ignore[arg-type]


def blind(folder: Path, camera: str, share: float, frozen: bool = False) -> EpisodeStore:
    """A store in which one camera shows nothing in the last `share` of every episode, or always its first picture."""
    store = EpisodeStore.create(folder, SPEC)
    for i in range(4):
        episode = made_episode(i, 20, success=i > 0)
        frames = episode.images[camera].copy()
        frames[round(21 * (1 - share)) :] = 0
        if frozen:
            frames[:] = made_episode(0).images[camera][0]
        store.append([replace(episode, images=episode.images | {camera: frames})])
    store.close()
    return EpisodeStore.open(folder)


def learners() -> list[ValueFunction]:
    return [
        ViVa(tiny.viva(2), tiny.PCA),
        WVM(tiny.wvm(2), tiny.PCA),
        Distributional(tiny.distributional(2)),
    ]


@pytest.mark.parametrize("value", learners(), ids=lambda v: v.name)
def test_a_camera_that_shows_nothing_is_said_loudly(value: ValueFunction, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=f"{value.name}, fit: every picture of camera 'wrist' is of one colour"
    ) as caught:
        value.fit(blind(tmp_path / "black", "wrist", 1.0))
    assert "\n" not in str(caught.value) and "leave the camera out" in str(caught.value)
    with pytest.raises(ValueError, match=f"{value.name}, fit: camera 'front' shows the same picture in every frame"):
        value.fit(blind(tmp_path / "frozen", "front", 0.0, frozen=True))
    with pytest.warns(UserWarning, match=f"{value.name}, fit: 52 % of the pictures of camera 'wrist'"):
        value.fit(blind(tmp_path / "half", "wrist", 0.5))
    with pytest.warns(UserWarning, match=f"{value.name}, episode with seed 1: 100 % of the pictures of camera 'front'"):
        value.score(probes.black_pictures(made_episode(1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value.score(made_episode(1))  # nothing is said of good pictures
        look(value, [made_episode(0), made_episode(1)], "break it", 100)  # nor of those that are black on purpose


def test_pictures_that_are_nearly_of_one_colour_are_not_blank() -> None:
    images = np.zeros((3, 1, 8, 8, 3), np.uint8)
    images[:, 0, 2, 3] = [[1, 0, 0], [2, 0, 0], [3, 0, 0]]
    require_pictures(images, ["front"], "test")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_blank(images, ["front"], "test")


def test_proprioception_of_another_robot_is_refused(tmp_path: Path) -> None:
    value = ViVa(tiny.viva(2), tiny.PCA).fit(made_store(tmp_path / "store"))
    episode = made_episode(1)
    other = replace(episode, proprio=episode.proprio[:, :7])
    with pytest.raises(ValueError, match=r"viva, episode with seed 1: proprioception has shape \(21, 7\).*11 numbers"):
        value.score(other)
    stream = value.stream(1)
    stream.reset(np.array([True]), ["raise it"])
    with pytest.raises(ValueError, match=r"viva, stream: proprioception has shape \(7,\)"):
        stream.step([other.observation(0)])


def test_the_table_comes_from_the_cells_and_the_page_says_what_is_not_taken(tmp_path: Path) -> None:
    for name, value in (("looks", Looks()), ("feels", Feels())):
        for seed in (0, 1):
            found = rows(probed(value))
            about = {"task": "lift", "value": name, "seed": seed}
            metric = {"name": "retry_voc", "what": "order", "mean": 0.5, "n": 2, "scores": [0.4, None]}
            facts = {"looks": verdict_of(found), "rows": found, "metrics": [metric]}
            make([Cell(f"lift-seed{seed}-{name}", {}, about)], [facts], dict, tmp_path)
    table = rebuild(tmp_path)
    assert (tmp_path / "table.md").read_text() == table
    assert "| | feels | looks |" in table and "| looks | no | yes |" in table and "| left_lower | 0.00 " in table
    assert "| joints_alone_own | - | " in table and "| retry_voc | 0.40 [0.40, 0.40] |" in table
    read = json.loads((tmp_path / "cells" / "lift-seed0-feels.json").read_text())["result"]
    nan = float("nan")
    shown = sight_table(
        {"looks": "no", "rows": [r | {"mean": nan if r["mean"] is None else r["mean"]} for r in read["rows"]]}
    )
    assert shown is not None and "does not look" in shown["verdict"]
    assert shown["probes"][0]["what"] == "black pictures: the value takes no pictures"
    assert shown["probes"][4]["what"] == "the first frame's proprioception throughout"
    assert [row["name"] for row in shown["rows"]][:2] == ["truth", "left_lower"]
    assert sight_table(None) is None
