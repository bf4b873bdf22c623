"""The compiled control loop gives robosuite's own states, in contact too, and needs no place to keep compiled code."""

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import pytest

pytest.importorskip("robosuite", reason="pip install -e .[robosuite]")
from envs.oracles.mix import OracleMix
from envs.osc import FastControl, advance_stock, control_loop, supported
from envs.robosuite_env import RoboSuiteEnv
from envs.tasks.base import grasped

TOLERANCE = 1e-9  # m, rad, m/s, N m: the BLAS of numpy and of SciPy need not round alike on every processor


@pytest.fixture(scope="module")
def lift() -> Iterator[RoboSuiteEnv]:
    env = RoboSuiteEnv(images=False)
    yield env
    env.close()


def state(env: RoboSuiteEnv) -> np.ndarray:
    data = env.raw.sim.data._data
    return np.concatenate([data.qpos, data.qvel, data.ctrl, data.qacc_warmstart])


def drive(env: RoboSuiteEnv, style: str, seed: int) -> tuple[np.ndarray, list[tuple[Any, ...]], bool, int]:
    """States (T + 1, S), what step() said of each, whether the object was ever held, steps to the first touch."""
    item = env.raw.cube if env.task.name == "lift" else env.raw.objects[env.raw.object_id]
    oracle = import_module(f"envs.oracles.{env.task.name}").ORACLE([env], OracleMix.only(style))
    observation, _ = env.reset(seed=seed)
    oracle.reset(np.array([True]), np.array([seed]), [env.instruction])
    states, said, held, touch, done = [state(env)], [], False, 0, False
    while not done:
        observation, reward, terminated, truncated, info = env.step(oracle.act([observation])[0, 0])
        states.append(state(env))
        said.append((reward, terminated, truncated, info["success"]))
        held |= grasped(env.raw, item.contact_geoms)
        if not touch and env.raw.check_contact(env.raw.robots[0].gripper["right"], item):
            touch = len(states) - 1
        done = terminated or truncated
    return np.array(states), said, held, touch


@pytest.mark.parametrize(("task", "style", "hz"), [("lift", "retry_drop", 10.0), ("pick_place_milk", "expert", 20.0)])
def test_whole_episodes_are_robosuites(task: str, style: str, hz: float) -> None:
    """An oracle reads the state, so a difference in any step would change all later actions, too."""
    env = RoboSuiteEnv(task, images=False, hz=hz)
    assert isinstance(env._advance, FastControl)
    fast = drive(env, style, 0)
    env._advance = partial(advance_stock, env.raw)
    stock = drive(env, style, 0)
    env.close()
    # some processors round the compiled sums otherwise, by 1e-15 a step: the first touch makes another episode of that
    free = slice(min(fast[3], stock[3]))
    assert free.stop > 10 and np.abs(fast[0][free] - stock[0][free]).max() < TOLERANCE
    assert len(fast[1]) == len(stock[1]) and fast[1][-1] == stock[1][-1]
    assert fast[2] and stock[2], "with an object in the grasp"


def test_any_action_and_any_number_of_substeps(lift: RoboSuiteEnv) -> None:
    """Fast random motion into the table, also of the first step after a reset and of single substeps."""
    states = []
    for loop in (partial(advance_stock, lift.raw), control_loop(lift.raw)):
        lift.reset(seed=5)
        rng, rows = np.random.default_rng(1), []
        for k in range(25):
            loop(np.clip(rng.uniform(-1, 1, 7) - (0, 0, 0.4, 0, 0, 0, 0), -1, 1), (1, 2, 25, 50)[k % 4])
            rows.append(state(lift))
        states.append(np.array(rows))
    assert np.abs(states[0] - states[1]).max() < TOLERANCE


def test_the_two_loops_may_take_turns(lift: RoboSuiteEnv) -> None:
    """Neither leaves anything behind that the other would trip over."""
    loops = (partial(advance_stock, lift.raw), control_loop(lift.raw))
    states = []
    for order in ((0, 0, 0, 0), (1, 0, 1, 0), (0, 1, 1, 0)):
        lift.reset(seed=6)
        for which, action in zip(order, np.random.default_rng(2).uniform(-1, 1, (4, 7)), strict=True):
            loops[which](action, 25)
        states.append(state(lift))
    assert np.abs(states[1] - states[0]).max() < TOLERANCE and np.abs(states[2] - states[0]).max() < TOLERANCE


def test_other_controllers_keep_robosuites_loop(lift: RoboSuiteEnv) -> None:
    arm = lift.raw.robots[0].part_controllers["right"]
    assert supported(lift.raw)
    arm.uncoupling = False
    try:
        assert not supported(lift.raw) and not isinstance(control_loop(lift.raw), FastControl)
    finally:
        arm.uncoupling = True


def test_compiling_needs_no_place_to_keep_the_code() -> None:
    """A function without a file can be cached nowhere, like one in a folder that cannot be written."""
    import numba

    from envs.osc_kernel import compiled

    found: dict[str, Any] = {}
    exec("def double(x):\n    x[0] *= 2.0", found)
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(cache=True)(found["double"])
    x = np.ones(1)
    compiled(found["double"])(x)
    assert x[0] == 2.0
