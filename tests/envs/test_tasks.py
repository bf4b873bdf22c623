"""Every registered task and its oracle: seeding, honest success, what progress means, each mistake and its label."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import envs  # noqa: F401  (registers the ids)

pytest.importorskip("robosuite", reason="pip install -e .[robosuite]")
from envs.oracles.mix import STYLES, OracleMix
from envs.robosuite_env import RoboSuiteEnv
from envs.tasks import TASKS
from envs.tasks.base import grip_position
from envs.tasks.pick_and_place import centre
from episodes.types import SEGMENTS

ADVANCE, HESITATION, RETRY, FAILURE, _ = range(len(SEGMENTS))
NAMES = sorted(TASKS)
PICK_AND_PLACE = [name for name in NAMES if name not in ("lift", "reach")]
_opened: dict[tuple[str, float], RoboSuiteEnv] = {}


@pytest.fixture(scope="module", autouse=True)
def _close() -> Iterator[None]:
    yield
    for env in _opened.values():
        env.close()
    _opened.clear()
    drive.cache_clear()


def opened(task: str, hz: float) -> RoboSuiteEnv:
    """The module's environment of a task, without images."""
    if (task, hz) not in _opened:
        _opened[task, hz] = RoboSuiteEnv(task, images=False, hz=hz)
    return _opened[task, hz]


@dataclass
class Driven:
    """An episode of an oracle, step by step; `holds` and `staged` are the task's own, before any holding."""

    start: float
    holds: np.ndarray  # (T,)
    staged: np.ndarray  # (T,)
    progress: np.ndarray  # (T,)
    labels: np.ndarray  # (T,)
    terminated: bool


@cache
def drive(task: str, style: str, seed: int, hz: float = 10.0) -> Driven:
    env = opened(task, hz)
    oracle = import_module(f"envs.oracles.{task}").ORACLE([env], OracleMix.only(style))
    observation, info = env.reset(seed=seed)
    oracle.reset(np.array([True]), np.array([seed]), [env.instruction])
    rows: list[tuple[Any, ...]] = []
    start, terminated, truncated = info["progress"], False, False
    while not (terminated or truncated):
        action = oracle.act([observation])[0, 0]
        observation, _, terminated, truncated, info = env.step(action)
        label = int(oracle.labels[0])
        rows.append((env.task.success(env.raw), env.task.progress(env.raw), info["progress"], label))
    return Driven(start, *(np.array(column) for column in zip(*rows, strict=True)), terminated)


def object_of(env: RoboSuiteEnv) -> Any:
    return env.raw.cubeA if env.task.name == "stack" else env.raw.objects[env.raw.object_id]


def put(env: RoboSuiteEnv, item: Any, position: np.ndarray) -> None:
    env.raw.sim.data.set_joint_qpos(item.joints[0], np.concatenate([position, (1, 0, 0, 0)]))
    env.raw.sim.data.set_joint_qvel(item.joints[0], np.zeros(6))
    env.raw.sim.forward()


def test_the_six_tasks_and_lift_are_registered() -> None:
    items = ("Can", "Bread", "Milk", "Cereal")
    ids = {"Lift", "Reach", "Stack", *(f"PickPlace{item}" for item in items)}
    assert {f"foresight/{name}-v0" for name in ids} <= set(gym.registry)
    assert {TASKS[name].env_id for name in NAMES} == {f"foresight/{name}-v0" for name in ids}


@pytest.mark.parametrize("task", NAMES)
def test_a_seed_fixes_the_episode(task: str) -> None:
    env = opened(task, 10.0)
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 7))

    def run(seed: int) -> np.ndarray:
        rows = [env.reset(seed=seed)[0]["proprio"]]
        for action in actions:
            observation, reward, terminated, truncated, info = env.step(action)
            assert (reward, terminated, truncated, info["success"]) == (0.0, False, False, False)
            rows += [observation["proprio"], env.raw.sim.data._data.qpos.astype(np.float32)]
        return np.concatenate(rows)

    first, other, again = run(3), run(4), run(3)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("task", NAMES)
def test_cameras_show_the_scene(task: str) -> None:
    env = RoboSuiteEnv(task, image_size=32)
    try:
        observation, _ = env.reset(seed=0)
        assert all(observation[name].shape == (32, 32, 3) for name in ("agentview", "wrist"))
        assert all(observation[name].std() > 10 for name in ("agentview", "wrist"))
    finally:
        env.close()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("task", NAMES)
def test_experts_succeed_at_twenty_hertz(task: str, seed: int) -> None:
    e = drive(task, "expert", seed, 20.0)
    assert e.terminated and (e.labels == ADVANCE).all()
    assert 0 < e.start < 0.7, "something is left to do after the reset, and the hand is not infinitely far"
    drawdown = np.maximum.accumulate(e.staged) - e.staged
    assert drawdown.max() < 0.05, "an expert's progress rises"
    assert np.unique(np.round(e.staged, 2)).size > 15, "and does so in small steps"


@pytest.mark.parametrize("task", NAMES)
def test_success_only_when_held_and_progress_is_one_only_there(task: str) -> None:
    for style, hz in (("expert", 20.0), ("retry_drop", 10.0)):
        e = drive(task, style, 0, hz)
        hold = opened(task, hz).hold_steps
        assert e.terminated and e.holds[-hold:].all()
        assert not any(e.holds[k : k + hold].all() for k in range(len(e.holds) - hold)), "not earlier"
        assert ((e.staged == 1) == e.holds).all() and (e.staged >= 0).all() and (e.staged <= 1).all()
        assert (e.progress[:-1] < 1).all() and e.progress[-1] == 1


@pytest.mark.parametrize("task", NAMES)
def test_hesitations_are_labelled_and_survived(task: str) -> None:
    e = drive(task, "hesitation", 1)
    assert e.terminated and (e.labels == HESITATION).sum() >= 5 and set(e.labels) == {ADVANCE, HESITATION}


@pytest.mark.parametrize("style", ["retry_miss", "retry_drop"])
@pytest.mark.parametrize("task", NAMES)
def test_retries_are_labelled_and_made_up_for(task: str, style: str) -> None:
    e = drive(task, style, 0)
    retry = np.flatnonzero(e.labels == RETRY)
    assert e.terminated and len(retry) > 5 and set(e.labels) == {ADVANCE, RETRY}
    assert e.labels[0] == ADVANCE and e.labels[-1] == ADVANCE
    if style == "retry_drop":
        lost = 0.05 if task == "reach" else 0.1  # a drop of Reach leaves the goal by at least 7 cm
        assert e.staged[retry[-1]] < e.staged[retry[0]] - lost, "a drop loses progress"


@pytest.mark.parametrize("task", NAMES)
def test_failures_fail_until_the_time_limit(task: str) -> None:
    e = drive(task, "failure", 2)
    first = int(np.argmax(e.labels == FAILURE))
    assert not e.terminated and not e.holds.any() and (e.staged < 1).all()
    assert len(e.labels) == opened(task, 10.0).max_steps, "the time limit truncates"
    assert (e.labels[first:] == FAILURE).all() and (e.labels[:first] != FAILURE).all()


@pytest.mark.parametrize("task", PICK_AND_PLACE)
def test_the_wrong_object_or_place_is_corrected_or_not(task: str) -> None:
    ends = set()
    for seed in range(8):
        e = drive(task, "wrong_object", seed)
        label = RETRY if e.terminated else FAILURE
        assert (e.labels == label).sum() > 10 and not e.holds[e.labels != ADVANCE].any()
        assert e.staged[e.labels != ADVANCE].max() < 0.9, "nothing near the end of the task was reached"
        ends.add(e.terminated)
        if len(ends) == 2:
            return
    raise AssertionError(f"both endings within 8 seeds, found success={ends}")


@pytest.mark.parametrize("task", ["lift", "reach"])
def test_a_scene_of_one_object_has_no_wrong_one(task: str) -> None:
    oracle = import_module(f"envs.oracles.{task}").ORACLE
    assert "wrong_object" in STYLES
    with pytest.raises(ValueError, match=r"wrong_object=1.*set it to 0"):
        oracle([], OracleMix.only("wrong_object"))


@pytest.mark.parametrize("task", PICK_AND_PLACE)
def test_an_object_dropped_or_thrown_earns_nothing(task: str) -> None:
    """In the air on its way to the goal, away from the hand: no more than reaching for it can earn."""
    env = opened(task, 10.0)
    env.reset(seed=0)
    goal = centre(env.raw, env.raw.cubeB) if task == "stack" else env.raw.target_bin_placements[env.raw.object_id]
    for position in (goal + (0, 0, 0.25), (goal + centre(env.raw, object_of(env))) / 2 + (0, 0, 0.3)):
        put(env, object_of(env), position)
        away = np.linalg.norm(grip_position(env.raw) - position)
        assert env.task.progress(env.raw) <= 0.25 * max(0.0, 1 - away / 0.6) + 1e-6


@pytest.mark.parametrize("task", NAMES)
def test_the_default_time_limit_is_the_tasks(task: str) -> None:
    env = opened(task, 20.0)
    assert env.max_steps == env.spec_.max_steps == round(TASKS[task].seconds * 20)


def test_the_goal_may_hold_without_being_held() -> None:
    """Reach: the success of one instant is not yet the environment's."""
    env = opened("reach", 10.0)
    kept, env.task = env.task, replace(env.task, success=lambda raw: True)
    try:
        env.reset(seed=0)
        ends = [env.step(np.zeros(7))[2] for _ in range(env.hold_steps)]
        assert ends == [False] * (env.hold_steps - 1) + [True]
    finally:
        env.task = kept
