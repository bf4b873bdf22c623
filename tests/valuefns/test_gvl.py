"""GVL end to end over HTTP: the truth comes back through shuffling, JPEG and parsing; chance and clocks are exposed."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from episodes import Observation
from episodes.store import EpisodeStore
from tests.helpers.vlm_server import (
    Server,
    asked_frames,
    made_episode,
    read_parts,
    said,
    seen_progress,
    serving,
    truthful,
)
from valuefns.gvl.method import GVL
from valuefns.gvl.prefixes import RoboReward, TopReward
from valuefns.gvl.quality import dataset_quality, instruction_matrix, keep
from valuefns.gvl.settings import BackendConfig, GVLConfig, RoboRewardConfig, TopRewardConfig
from valuefns.gvl.success import SuccessQuestion, by_voc, classified, null_spread, success_vqa, threshold_sweep

RNG = np.random.default_rng(0)
CURVE = np.interp(np.arange(31), [0, 10, 15, 20, 30], [0, 0.5, 0.5, 0.25, 1])  # waits, loses ground, gets there


def backend(server: Server, tmp_path: Path, **changes: Any) -> BackendConfig:
    settings = {"model": "tiny", "url": server.url, "key_env": "", "cache": str(tmp_path / "cache"), "backoff": 0.01}
    return BackendConfig(**(settings | changes))


def gvl(server: Server, tmp_path: Path, **changes: Any) -> GVL:
    return GVL(GVLConfig(backend=backend(server, tmp_path), **changes))


def clock(parts: list) -> str:
    """Counts the images and looks at none."""
    n = len(asked_frames(parts))
    return "\n".join(f"Frame {i}: {100 * i / n:.1f}%" for i in range(1, n + 1))


def chance(parts: list) -> str:
    return "\n".join(f"Frame {i}: {RNG.uniform(0, 100):.2f}%" for i in asked_frames(parts))


def reversed_video(episode: Any) -> Any:
    return dataclasses.replace(episode, images={c: v[::-1] for c, v in episode.images.items()})


def static_video(episode: Any) -> Any:
    return dataclasses.replace(episode, images={c: np.repeat(v[:1], len(v), 0) for c, v in episode.images.items()})


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_truth_comes_back(tmp_path: Path, shuffle: bool) -> None:
    episodes = [made_episode(0), made_episode(1, T=44), made_episode(2, T=12), made_episode(3, curve=CURVE)]
    with serving(truthful) as server:
        value = gvl(server, tmp_path, shuffle=shuffle)
        predictions = list(value.predict(episodes))
        scores = value.score_all(episodes)
        assert len(server.bodies) == 4  # one question per episode, the second time from the cache
        backwards = next(iter(value.predict([reversed_video(episodes[1])])))
    assert [p.voc for p in predictions[:3]] == pytest.approx([1.0] * 3) and backwards.voc == pytest.approx(-1.0)
    assert predictions[3].voc < 0.95
    assert [len(p.frames) for p in predictions] == [30, 30, 13, 30]  # a short episode has fewer frames than that
    for episode, score, prediction in zip(episodes, scores, predictions, strict=True):
        assert score.dtype == np.float32 and score.shape == (len(episode) + 1,)
        assert prediction.missing == 0 and prediction.frames[0] == 0 and prediction.frames[-1] == len(episode)
        np.testing.assert_allclose(score, (1 + episode.progress) / 2, atol=0.02)


def test_frames_are_sent_in_a_seeded_order_behind_the_anchor(tmp_path: Path) -> None:
    episode = made_episode(0)
    with serving(truthful) as server:
        list(gvl(server, tmp_path).predict([episode]))
        list(gvl(server, tmp_path / "other cache").predict([episode]))
        list(gvl(server, tmp_path, seed=1).predict([episode]))
        list(gvl(server, tmp_path, shuffle=False).predict([episode]))
    prompts = [read_parts(b) for b in server.bodies]
    orders = [[round(30 * seen_progress(f)) for f in asked_frames(p).values()] for p in prompts]
    assert orders[0] == orders[1] != orders[2] and orders[3] == sorted(orders[3])
    assert orders[0] != sorted(orders[0]) and sorted(orders[0]) == orders[3] and len(orders[0]) == 30
    anchor = next(p for before, p in itertools.pairwise(prompts[0]) if "initial scene" in str(before))
    assert seen_progress(anchor) < 0.01
    text = " ".join(p for p in prompts[0] if isinstance(p, str))
    assert episode.instruction in text and "random order" in text and "0%" in text
    assert "random order" not in " ".join(p for p in prompts[3] if isinstance(p, str))


def test_chance_is_near_zero_within_its_interval(tmp_path: Path) -> None:
    with serving(chance) as server:
        quality = dataset_quality(gvl(server, tmp_path, frames=12), [made_episode(i, T=20) for i in range(40)])
    vocs = np.array(quality.vocs)
    assert abs(vocs.mean()) < 3 * null_spread(11) / np.sqrt(40)
    assert vocs.std() == pytest.approx(null_spread(11), rel=0.35)
    row = quality.row()
    assert row["voc_low"] < 0 < row["voc_high"] or abs(row["voc"]) < 3 * row["null_spread"]
    assert row["null_spread"] == pytest.approx(null_spread(11) / np.sqrt(40))


def test_a_clock_is_exposed_by_static_and_reversed_videos_and_by_shuffling(tmp_path: Path) -> None:
    episode = made_episode(0)
    videos = [episode, static_video(episode), reversed_video(episode)]
    with serving(clock) as server:
        unshuffled = [p.voc for p in gvl(server, tmp_path, shuffle=False).predict(videos)]
        shuffled = [p.voc for p in gvl(server, tmp_path).predict(made_episode(i) for i in range(20))]
    assert unshuffled == pytest.approx([1.0, 1.0, 1.0])  # the clock does not care what it sees
    assert abs(np.mean(shuffled)) < 3 * null_spread(29) / np.sqrt(20)
    with serving(truthful) as server:
        honest = [p.voc for p in gvl(server, tmp_path / "b", shuffle=False).predict(videos)]
    assert honest[0] == pytest.approx(1) and np.isnan(honest[1]) and honest[2] == pytest.approx(-1)


def test_missing_values_are_asked_for_again_then_reported_never_invented(tmp_path: Path) -> None:
    half = "\n".join(f"Frame {i}: 50%" for i in range(1, 16))
    worse = "\n".join(f"Frame {i}: 70%" for i in range(1, 6))
    with serving(lambda parts: half, [said("I can't help."), said(worse)]) as server:
        value = gvl(server, tmp_path, attempts=4)
        (prediction,) = value.predict([made_episode(0)])
        assert len(server.bodies) == 4  # every try left frames out
        assert (prediction.asked, prediction.refused, prediction.missing) == (4, 1, 15)
        np.testing.assert_array_equal(np.unique(prediction.progress[~np.isnan(prediction.progress)]), [0.5])
        assert not np.isnan(value.score(made_episode(0))).any()  # half of them suffices
    with serving(lambda parts: "no.") as server:
        value = gvl(server, tmp_path / "b")
        (prediction,) = value.predict([made_episode(0)])
        assert (prediction.asked, prediction.refused, prediction.missing) == (3, 3, 30) and np.isnan(prediction.voc)
        assert np.isnan(value.score(made_episode(0))).all()
        assert dataset_quality(value, [made_episode(0)]).row()["voc_undefined_minus_1"] == -1
    with serving(lambda parts: worse) as server:
        assert np.isnan(gvl(server, tmp_path / "c").score(made_episode(0))).all()  # five of thirty: nothing to go by


def test_few_shot_examples_are_shuffled_pairs_and_never_the_scored_episode(tmp_path: Path) -> None:
    with EpisodeStore.create(tmp_path / "store", _spec()) as store:
        store.append([made_episode(i, T=10 + i, success=i != 1) for i in range(4)])
        other = EpisodeStore.create(tmp_path / "other", _spec())
        other.append([made_episode(i, T=8, instruction="fold the dress") for i in (7, 8)])
        with serving(truthful) as server:
            value = gvl(server, tmp_path, shots=2, frames=6).fit(store)
            (prediction,) = value.predict([store[0]])
            assert prediction.voc == pytest.approx(1)
            crossed = gvl(server, tmp_path, shots=1, frames=6, shots_store=str(other.path)).fit(store)
            list(crossed.predict([store[0]]))
            with pytest.raises(ValueError, match=r"3 successes for 3 examples.*use shots of at most 2"):
                gvl(server, tmp_path, shots=3).fit(store)
            with pytest.raises(ValueError, match="not fitted"):
                gvl(server, tmp_path, shots=1).score(store[0])
    own, cross = (read_parts(b) for b in server.bodies)
    shown = [(seen_progress(a), b) for a, b in itertools.pairwise(own) if str(b).startswith("Task completion: ")]
    assert len(shown) == 12
    assert all(f"{round(100 * p)}" in b or abs(100 * p - float(b.split()[2][:-1])) < 2 for p, b in shown)
    assert [p for p, _ in shown[:6]] != sorted(p for p, _ in shown[:6])
    assert len([s for s in map(str, own) if s.startswith("\nExample")]) == 2
    assert not [s for s in map(str, own) if s.startswith("\nExample") and "lift cube 1" in s]  # that one failed
    assert any("fold the dress" in str(s) for s in cross) and not any("fold" in str(s) for s in own)


def test_cross_fitting_scores_every_episode_and_leaves_the_bill(tmp_path: Path) -> None:
    from networks.settings import LatentsConfig
    from valuefns.crossfit import cross_fit

    with EpisodeStore.create(tmp_path / "store", _spec()) as store, serving(truthful) as server:
        store.append([made_episode(i, T=10) for i in range(4)])
        config = GVLConfig(backend=backend(server, tmp_path, price_in=1.0), frames=6, shots=1)
        values = cross_fit(config, LatentsConfig(), store, 2, tmp_path / "folds")
        for value, episode in zip(values, store, strict=True):
            np.testing.assert_allclose(value, (1 + episode.progress) / 2, atol=0.02)
    bills = [json.loads((tmp_path / "folds" / f"fold-{k}" / "usage.json").read_text()) for k in range(2)]
    assert [b["answers"] for b in bills] == [2, 2] and bills[0]["dollars"] == pytest.approx(200e-6)


def _spec() -> Any:
    from tests.helpers.some_episodes import make_spec

    return make_spec(hz=10.0)


def test_image_goals_single_frames_cameras_and_sizes(tmp_path: Path) -> None:
    mute = made_episode(0, instruction="")
    other = np.zeros_like(mute.images["wrist"])
    two = dataclasses.replace(mute, images={"front": mute.images["front"], "wrist": other})
    with serving(truthful) as server:
        (by_image,) = gvl(server, tmp_path).predict([mute])
        goal = read_parts(server.bodies[-1])[2]
        assert by_image.voc == pytest.approx(1) and seen_progress(goal) > 0.98
        with pytest.raises(ValueError, match="no instruction; use goal=image"):
            gvl(server, tmp_path, goal="text").score(mute)
        before = len(server.bodies)
        (single,) = gvl(server, tmp_path, context="single", frames=5).predict([made_episode(0)])
        assert len(server.bodies) == before + 5 and single.voc == pytest.approx(1)
        assert all(len(asked_frames(read_parts(b))) == 1 for b in server.bodies[before:])
        assert np.isnan(next(iter(gvl(server, tmp_path, camera="wrist").predict([two]))).voc)  # a black picture
        list(gvl(server, tmp_path, image_size=48).predict([mute]))
        assert asked_frames(read_parts(server.bodies[-1]))[1].shape == (32, 48, 3)
        with pytest.raises(ValueError, match="camera='top'; the episode has front, wrist"):
            gvl(server, tmp_path, camera="top").score(mute)
        with pytest.raises(ValueError, match="no causal form"):
            gvl(server, tmp_path).score(mute, causal=True)


def prefix_judge(parts: list) -> Any:
    """Knows the truth of a prefix: its last image; as log probability, score or yes / no."""
    p = seen_progress([x for x in parts if not isinstance(x, str)][-1])
    if "Score:" in parts[-1]:
        return f"The video ends well.\nScore: {1 + round(4 * p)}"
    if "Yes or No" in parts[-1]:
        return "It goes up.\n**Yes**" if p > 0.9 else "No"
    top = [
        {"token": " True", "logprob": np.log(max(p, 1e-3) / 2)},
        {"token": "True", "logprob": np.log(max(p, 1e-3) / 2)},
    ]
    top.append({"token": "False", "logprob": np.log(1 - p + 1e-3)})
    content = [{"token": "True", "logprob": top[1]["logprob"], "top_logprobs": top}]
    return {"message": {"content": "True"}, "logprobs": {"content": content}}


def test_topreward_reads_the_log_probability_of_true(tmp_path: Path) -> None:
    episodes = [made_episode(0, T=40), made_episode(1, T=40, curve=np.linspace(0, 0.5, 41))]
    with serving(prefix_judge) as server:
        settings = TopRewardConfig(backend=backend(server, tmp_path), scale="probability")
        value = TopReward(settings)
        whole, half = value.score_all(episodes)
        np.testing.assert_allclose(whole, (1 + episodes[0].progress) / 2, atol=0.02)
        np.testing.assert_allclose(half[-1], 0.75, atol=0.02)
        frames, progress = TopReward(dataclasses.replace(settings, scale="episode")).predict(episodes[1:])[0]
        assert progress[0] == 0 and progress[-1] == 1 and (np.diff(progress) > 0).all()
        assert len(frames) == 9 and len(server.bodies) == 2 * 9  # 4 s at 2 fps; the second scale costs nothing
        causal = value.score(episodes[0], causal=True)
        assert (causal <= whole + 0.02).all() and len(np.unique(causal)) == 9
    untold = {
        "message": {"content": "No"},
        "logprobs": {"content": [{"token": "No", "logprob": -0.1, "top_logprobs": []}]},
    }
    with serving(lambda parts: untold) as server:  # True is not among the likeliest: missing, not minus infinity
        assert np.isnan(TopReward(TopRewardConfig(backend=backend(server, tmp_path / "b"))).score(episodes[0])).all()


def test_scores_from_one_to_five_and_their_stream(tmp_path: Path) -> None:
    episode = made_episode(0, T=40)
    with serving(prefix_judge, [said("What a nice video.")]) as server:
        value = RoboReward(RoboRewardConfig(backend=backend(server, tmp_path), stride=10))
        score = value.score(episode)
        np.testing.assert_allclose(score[[0, 10, 20, 30, 40]], [0.5, 0.625, 0.75, 0.875, 1.0])
        assert len(server.bodies) == 6
        stream = value.stream(2)
        stream.reset(np.array([True, True]), ["lift", "lift"])
        seen = []
        for t in range(41):
            frame = Observation({c: v[t] for c, v in episode.images.items()}, episode.proprio[t], "lift")
            start = Observation({c: v[0] for c, v in episode.images.items()}, episode.proprio[0], "lift")
            seen.append(stream.step([frame, start]))
        assert {tuple(v) for v in seen[30:40]} == {(0.875, 0.5)} and tuple(seen[40]) == (1.0, 0.5)
        stream.reset(np.array([True, False]), ["lift", "lift"])
        assert stream.step([start, start])[0] == 0.5


def test_a_video_stands_out_under_its_own_instruction(tmp_path: Path) -> None:
    videos = [made_episode(0, instruction="lift the cube"), made_episode(1, instruction="open the drawer")]

    def knows_tasks(parts: list) -> str:
        # the second video's frames have no pattern under the first instruction, and the other way round
        return truthful(parts) if own[0] in str(parts) else chance(parts)

    with serving(knows_tasks) as server:
        value = gvl(server, tmp_path)
        own = ["lift the cube"]
        matrix = instruction_matrix(value, videos, [v.instruction for v in videos])
    assert matrix.shape == (2, 2) and matrix[:, 0] == pytest.approx([1, 1]) and (abs(matrix[:, 1]) < 0.9).all()


@pytest.mark.parametrize("think", [False, True])
def test_success_questions(tmp_path: Path, think: bool) -> None:
    from valuefns.gvl.backends import make_backend

    episodes = [made_episode(0), made_episode(1, curve=np.linspace(0, 0.5, 31), success=False)]
    with serving(prefix_judge, [said("Yes and no"), said("Yes, cut off", "length")]) as server:
        asked = make_backend(backend(server, tmp_path))
        assert success_vqa(asked, episodes, SuccessQuestion(think=think)) == [True, False]
    with serving(lambda parts: "Hm.") as server:
        told = success_vqa(make_backend(backend(server, tmp_path / "b")), episodes)
    assert told == [None, None] and classified(told, [True, False]).missing == 2


def test_success_by_voc() -> None:
    vocs, truth = [0.9, 0.5, 0.49, float("nan"), 0.8], [True, True, True, False, False]
    assert by_voc(vocs) == [True, True, False, False, True]
    result = classified(by_voc(vocs), truth)
    assert (result.accuracy, result.precision, result.recall) == (3 / 5, 2 / 3, 2 / 3)
    assert keep(vocs, 0.5) == [0, 1, 4] and keep(vocs, -1) == [0, 1, 2, 3, 4]
    assert [r["kept"] for r in threshold_sweep(vocs, truth)] == [5, 4, 4, 3, 2]
    assert np.isnan(classified([False], [False]).precision)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"frames": 2}, "frames=2"), ({"shots": 6}, "shots=6"), ({"context": "pair"}, "context='pair'")],
)
def test_bad_settings_are_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        GVLConfig(**change)
