"""Imagined against executed motion: the measure on made videos, the simulator's foreground, a whole small run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.videovla import VideoVlaPolicy
from experiments.loop.schemas import TaskConfig
from experiments.loop.stages import make_env
from experiments.models.imagination import rank_share, summarised
from experiments.models.motion import MotionConfig, keypoints, motion_similarity
from tests.helpers import small_videovla as small
from tests.helpers.commands import foresight

RNG = np.random.default_rng(0)
BACKGROUND = RNG.integers(90, 110, (64, 64, 3), dtype=np.uint8)
THING = np.kron(RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8))  # 24 x 24 pixels


def moving(dy: int, dx: int, frames: int = 6) -> np.ndarray:
    video = np.stack([BACKGROUND] * frames)
    for m in range(frames):
        y, x = 20 + m * dy, 20 + m * dx
        video[m, y : y + 24, x : x + 24] = THING
    return video


FOREGROUND = np.zeros((64, 64), bool)
FOREGROUND[20:44, 20:44] = True


def test_the_same_motion_is_alike_the_opposite_is_not_and_stillness_says_nothing() -> None:
    def score(a: np.ndarray, b: np.ndarray) -> tuple[float, int]:
        return motion_similarity(a, b, FOREGROUND, MotionConfig())

    right = moving(0, 2)
    same, pairs = score(right, right)
    assert same > 0.99 and pairs >= 5
    assert score(right, moving(0, -2))[0] < -0.8
    assert abs(score(right, moving(2, 0))[0]) < 0.4
    assert abs(score(right, moving(0, 0))[0]) < 0.2  # one moves, the other does not
    nothing, none = score(moving(0, 0), moving(0, 0))
    assert np.isnan(nothing) and none == 0
    empty = motion_similarity(right, right, np.zeros((64, 64), bool), MotionConfig())
    assert np.isnan(empty[0]) and empty[1] == 0


def test_keypoints_lie_in_the_foreground() -> None:
    grey = np.repeat(np.repeat(moving(0, 0)[0].mean(-1).astype(np.uint8), 4, 0), 4, 1)
    inside = np.repeat(np.repeat(FOREGROUND, 4, 0), 4, 1)
    found = keypoints(grey, inside, MotionConfig(points=10))
    assert 5 <= len(found) <= 10 and ((found >= 80) & (found <= 176)).all()


def test_successes_and_failures_are_summarised_apart() -> None:
    rows: list[dict[str, Any]] = [{"success": s, "similarity": v} for s, v in
                                  ((True, 0.9), (True, 0.7), (False, 0.7), (False, 0.1), (False, None))]  # fmt: skip
    found = summarised(rows)
    assert found["successes"]["similarity"] == pytest.approx(0.8) and found["failures"]["n"] == 2
    assert found["success_ranked_above_failure"] == pytest.approx((2 + 1 + 0.5) / 4) and found["undefined"] == 1
    assert np.isnan(rank_share([], [1.0]))


@pytest.fixture(scope="module")
def env() -> Any:
    made = make_env(TaskConfig("foresight/Lift-v0", image_size=64), 14)
    yield made
    made.close()


def test_the_foreground_is_the_robot_and_the_cube(env: Any) -> None:
    before, _ = env.reset(seed=3)
    masks = env.foreground()
    assert set(masks) == {"agentview", "wrist"} and masks["agentview"].shape == (64, 64)
    assert 0.02 < masks["agentview"].mean() < 0.7
    image = before["agentview"].astype(int)
    red = (image[..., 0] > 1.6 * image[..., 1]) & (image[..., 0] > 1.6 * image[..., 2]) & (image[..., 0] > 80)
    assert red.sum() > 10 and masks["agentview"][red].mean() > 0.8  # the cube is the only red thing
    for name, image in env.look().items():  # and drawing goes on as before
        np.testing.assert_array_equal(image, before[name])


@pytest.mark.slow
def test_a_run_leaves_videos_rows_and_a_plot(env: Any, tmp_path: Path) -> None:
    config = small.config(cameras=["agentview"], latents=2)
    VideoVlaPolicy(config, env.spec_).save(tmp_path / "policy")
    command = ["imagine", tmp_path / "policy", "trials=2", "max_steps=9", f"out={tmp_path / 'out'}"]
    assert foresight(*command, "videos=1") == 0
    rows = json.loads((tmp_path / "out" / "rows.json").read_text())
    assert [row["plans"] for row in rows] == [2, 2]  # plans at 0, 3 and 6; the last one reaches beyond the trial
    assert len(list((tmp_path / "out" / "videos").glob("*.mp4"))) == 1
    assert (tmp_path / "out" / "similarity.png").stat().st_size > 1000
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["trials"] == 2 and summary["motion"]["height"] == 256
    with pytest.raises(SystemExit, match="view=top"):
        foresight(*command, "view=top")
