"""An environment of one's own: what adapt infers, what it says it cannot, and the loop on one that others wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hydra import compose, initialize_config_dir

import envs
from envs.check import check_env
from episodes.store import EpisodeStore
from experiments.loop import recap, schemas


class Dot(gymnasium.Env):
    """A dot that moves to the right; pictures, joints and a goal in one dict."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(self, **changes: Any) -> None:
        self.render_mode = changes.get("render_mode")
        boxes: dict[str, Any] = {
            "joints": spaces.Box(-1, 1, (2,), np.float32),
            "goal": spaces.Box(-1, 1, (1,), np.float64),
            "mode": spaces.Discrete(2),
        }
        if changes.get("pictures", True):
            boxes["front"] = spaces.Box(0, 255, (8, 12, 3), np.uint8)
        self.observation_space = spaces.Dict(boxes)
        self.action_space = changes.get("actions", spaces.Box(-2, 2, (2,), np.float32))
        self.told, self.x = changes.get("told", "is_success"), 0.0

    def _seen(self) -> dict[str, Any]:
        seen = {"joints": np.array([self.x, 0], np.float32), "goal": np.ones(1), "mode": 0}
        return seen | ({"front": np.full((8, 12, 3), 9, np.uint8)} if "front" in self.observation_space.spaces else {})

    def render(self) -> Any:
        return np.full((16, 16, 3), 7, np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.x = float(self.np_random.random()) * 0.1
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.x += 0.1 * float(action[0])
        return self._seen(), 0.5, False, False, {self.told: self.x > 0.9}


def test_what_an_environment_says_of_itself_is_its_spec() -> None:
    with pytest.warns(UserWarning, match=r"adapt Dot: not known: the units, .* closes; its progress \(progress=\)"):
        env = envs.adapt(Dot(), "go right", max_steps=9)
    spec = env.spec_
    assert spec.cameras == ("front",) and spec.image_size == (8, 12) and spec.hz == 20 and spec.max_steps == 9
    assert spec.proprio_names == ("goal_0", "joints_0", "joints_1") and spec.action_low == (-2.0, -2.0)
    check_env(env)
    observation, info = env.reset(seed=1)
    assert observation["proprio"].dtype == np.float32 and info["instruction"] == "go right" and not info["success"]
    for _ in range(5):
        _, reward, terminated, truncated, info = env.step(np.array([9.0, 0.0]))  # cut to its bounds
    assert (reward, terminated, truncated, info["success"]) == (0.5, True, False, True)
    env.reset(seed=1)
    ends = [env.step(np.zeros(2))[2:4] for _ in range(9)]
    assert ends[-1] == (False, True) and not any(map(any, ends[:-1])), "the limit given here"


def test_render_is_a_camera_and_progress_can_be_told() -> None:
    with pytest.warns(UserWarning) as said:
        env = envs.adapt(
            Dot(pictures=False, render_mode="rgb_array"), "go", proprio=["joints"], max_steps=5, hz=5,
            progress=lambda observation, info: observation["joints"][0], end_at_success=False,
        )  # fmt: skip
    assert "progress" not in str(said[0].message)
    assert env.spec_.cameras == ("render",) and env.spec_.image_size == (16, 16) and env.spec_.hz == 5
    observation, info = env.reset(seed=0)
    assert observation["render"].shape == (16, 16, 3) and info["progress"] == pytest.approx(observation["proprio"][0])


@pytest.mark.parametrize(
    ("changes", "given", "said"),
    [
        ({"pictures": False}, {}, r"give cameras=\[\.\.\.\] \(no uint8.*; max_steps=N$"),
        ({}, {"instruction": " ", "max_steps": 5}, r"give instruction='what to do'$"),
        ({}, {"max_steps": 5, "cameras": ["wrist"]}, r"'wrist' is no uint8 \(H, W, 3\) box; there are .*front"),
        ({}, {"max_steps": 5, "cameras": ["render"]}, r"render_mode='rgb_array' when it is made"),
        ({}, {"max_steps": 5, "proprio": ["front"]}, r"'front' is no 1-D box"),
        ({"actions": spaces.Discrete(3)}, {"max_steps": 5}, r"a 1-D Box of actions \(it has Discrete\(3\)"),
        ({"actions": spaces.Box(-np.inf, np.inf, (2,))}, {"max_steps": 5}, r"bounds of its actions"),
        (
            {"render_mode": "rgb_array"},
            {"max_steps": 5, "cameras": ["front", "render"]},
            r"cameras of one size \(they have \{'front': \(8, 12\), 'render': \(16, 16\)\}",
        ),
    ],
)
def test_all_that_is_missing_is_asked_for_at_once(changes: dict, given: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        envs.adapt(Dot(**changes), **({"instruction": "go"} | given))
    assert "\n" not in str(raised.value)


def test_an_outcome_under_another_name_is_named() -> None:
    with pytest.warns(UserWarning):
        env = envs.adapt(Dot(told="solved"), "go", max_steps=5)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"Dot: its info has no is_success or success but solved; set success="):
        env.step(np.zeros(2))
    with pytest.warns(UserWarning):
        env = envs.adapt(Dot(told="solved"), "go", max_steps=5, success="solved")
    env.reset(seed=0)
    assert env.step(np.zeros(2))[4]["success"] is False


SMALL = [
    "task=own", "task.env_id=examples.fetch_pick:make", "task.hz=25", "methods=[bc,recap]",
    "iterations=2", "rollouts=1",
    "valuefn.training.steps=2", "valuefn.shifted_copies=1", "policy.training.steps=2", "policy.training.batch_size=4",
    "collect.max_steps=50", "evaluation.trials=1", "evaluation.max_steps=6", "workers=1", "videos=2", "seed=97",
    "evaluation.split=tune", "preset=tiny",
]  # fmt: skip


@pytest.mark.slow
def test_the_loop_runs_on_gymnasium_robotics(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium_robotics")
    from examples.fetch_pick import main

    store = main(tmp_path / "demonstrations", episodes=4)
    assert isinstance(store, EpisodeStore) and len(store) == 4
    schemas.register()
    folders = [f"runs={tmp_path}/runs", f"cache={tmp_path}/cache"]
    given = f"collect.store={tmp_path}/demonstrations"
    with initialize_config_dir(schemas.CONF, version_base="1.3"):
        config = compose("recap_sim", [*SMALL, *folders, given])
        recap.run_all(config)
        (run,) = (tmp_path / "runs" / "recap_sim").iterdir()
        rows = json.loads((run / "summary.json").read_text())["rows"]
        assert [row["method"] for row in rows] == ["bc", "bc@2", "recap", "recap@2"] and (run / "report.html").exists()
        for changes, said in (
            (["collect.store="], r"fetch_pick:make: has no scripted demonstrator; give collect\.store=STORE"),
            (["corrections=true"], r"has no scripted demonstrator that could correct"),
            (["task.hz=10"], r"task\.hz=10\.0: examples\.fetch_pick:make makes one with task\.hz=25"),
            (["task.env_id=examples.fetch_pick:EPISODES"], r"is no envs\.tasks:Task, and no function"),
        ):
            with pytest.raises(ValueError, match=said):
                recap.run_all(
                    compose("recap_sim", [*SMALL, *folders, f"collect.store={tmp_path}/demonstrations", *changes])
                )
