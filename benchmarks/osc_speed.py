"""What a step without images costs beside its physics: stock control loop, compiled one, and mj_step alone.

python benchmarks/osc_speed.py --out results/benchmarks/osc_speed.json

An expert's episode is recorded and its actions are replayed with either loop; after every step the states must agree
to 1e-9 (they are the same bits on the machines tried). The third replay starts each step from the recorded state and
calls mj_step as often as the environment does, with the step's last torques: the same model, the same contacts. The
time of a step includes the observation, success and progress (`env.step`) for both loops. Time is this process's CPU
time, the replays take turns, and the least time of each step over all rounds counts, so that other work on the machine
matters little.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

from envs.oracles.mix import OracleMix
from envs.osc import Advance, FastControl, advance_stock
from envs.robosuite_env import RoboSuiteEnv
from envs.tasks import TASKS

Array = npt.NDArray[np.float64]
PHYSICS = mujoco.mjtState.mjSTATE_INTEGRATION
TOLERANCE = 1e-9


def state(env: RoboSuiteEnv) -> Array:
    """Everything that the next step of the physics depends on, torques included."""
    model, data = env.raw.sim.model._model, env.raw.sim.data._data
    values = np.empty(mujoco.mj_stateSize(model, PHYSICS))
    mujoco.mj_getState(model, data, values, PHYSICS)
    return values


def expert_actions(env: RoboSuiteEnv, seed: int) -> list[Array]:
    """The actions of an expert's episode."""
    oracle = import_module(f"envs.oracles.{env.task.name}").ORACLE([env], OracleMix.only("expert"))
    observation, _ = env.reset(seed=seed)
    oracle.reset(np.array([True]), np.array([seed]), [env.instruction])
    actions, done = [], False
    while not done:
        actions.append(oracle.act([observation])[0, 0])
        observation, _, terminated, truncated, _ = env.step(actions[-1])
        done = terminated or truncated
    return actions


def replay(env: RoboSuiteEnv, loop: Advance, seed: int, actions: list[Array]) -> tuple[Array, Array]:
    """CPU seconds of each env.step (T,) under a control loop, and the states before and after (T + 1, S)."""
    env._advance = loop
    env.reset(seed=seed)
    seconds, states = [], [state(env)]
    for action in actions:
        seconds.append(timed(lambda action=action: env.step(action)))
        states.append(state(env))
    return np.array(seconds), np.array(states)


def physics(env: RoboSuiteEnv, states: Array) -> Array:
    """CPU seconds of the mj_step calls of each step (T,), from the recorded states."""
    model, data = env.raw.sim.model._model, env.raw.sim.data._data

    def steps() -> None:
        for _ in range(env._substeps):
            mujoco.mj_step(model, data)

    seconds = []
    for before, after in pairwise(states):
        mujoco.mj_setState(model, data, after, PHYSICS)
        torques = data.ctrl.copy()
        mujoco.mj_setState(model, data, before, PHYSICS)
        data.ctrl[:] = torques
        seconds.append(timed(steps))
    return np.array(seconds)


def timed(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(task: str, hz: float, rounds: int, seed: int = 0) -> dict[str, Any]:
    env = RoboSuiteEnv(task, images=False, hz=hz)
    loops: dict[str, Advance] = {"stock": partial(advance_stock, env.raw), "fast": env._advance}
    assert isinstance(env._advance, FastControl), "the environment does not use the fast loop"
    actions = expert_actions(env, seed)
    seconds: dict[str, list[Array]] = {"stock": [], "fast": [], "mj_step": []}
    states: dict[str, Array] = {}
    for _ in range(rounds):
        for name, loop in loops.items():
            times, states[name] = replay(env, loop, seed, actions)
            seconds[name].append(times)
        seconds["mj_step"].append(physics(env, states["fast"]))
    env.close()
    difference = float(np.abs(states["stock"] - states["fast"]).max())
    assert difference <= TOLERANCE, f"{task} at {hz:g} Hz: the loops differ by {difference:g}"
    least = {name: float(np.min(times, 0).mean()) for name, times in seconds.items()}
    return {
        "task": task,
        "hz": hz,
        "steps": len(actions),
        "substeps": env._substeps,
        "ms_per_step": {name: round(1e3 * value, 3) for name, value in least.items()},
        "times_mj_step": {name: round(least[name] / least["mj_step"], 2) for name in loops},
        "identical_states": bool(np.array_equal(states["stock"], states["fast"])),
        "largest_difference": difference,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=sorted(TASKS), choices=sorted(TASKS), metavar="TASK")
    parser.add_argument("--hz", type=float, nargs="+", default=[10.0, 20.0], help="control rates")
    parser.add_argument("--rounds", type=int, default=5, help="replays of each kind; the least time counts")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    args = parser.parse_args()
    rows = []
    for task in args.tasks:
        for hz in args.hz:
            rows.append(measure(task, hz, args.rounds))
            print(json.dumps(rows[-1]), flush=True)
    report = {
        "benchmark": "osc_speed",
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "machine": platform.machine(),
        "rounds": args.rounds,
        "rows": rows,
    }
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
