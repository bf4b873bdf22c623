"""Image observations per second: foresight/Lift-v0 against robosuite's own GymWrapper, with identical physics states.

python benchmarks/render_speed.py --out results/benchmarks/render_speed.json --image frames.png

Both run the same actions from the same seed with the same cameras, image size and control rate. After every step the
joint positions and velocities must be equal bit for bit. The image shows robosuite's, the stock and the fast frame side
by side (with robosuite's own camera pose each, so that only the drawing differs).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.backend import load_robosuite
from envs.robosuite_env import MODEL_SEED, RoboSuiteEnv
from envs.tasks import TASKS, Camera

CAMERAS = {"agentview": "agentview", "wrist": "robot0_eye_in_hand"}


def gym_wrapper(cameras: list[str], size: int, hz: float) -> Any:
    robosuite = load_robosuite()
    from robosuite.wrappers import GymWrapper

    names = [CAMERAS[name] for name in cameras]
    raw = robosuite.make(
        "Lift",
        robots="Panda",
        control_freq=hz,
        has_renderer=False,
        has_offscreen_renderer=True,
        use_camera_obs=True,
        camera_names=names,
        camera_heights=size,
        camera_widths=size,
        hard_reset=False,
        ignore_done=True,
        renderer="mujoco",
        seed=MODEL_SEED,
    )
    with warnings.catch_warnings():  # float64 spaces
        warnings.simplefilter("ignore")
        return GymWrapper(raw, keys=[f"{name}_image" for name in names], flatten_obs=False)


def run_wrapper(env: Any, seed: int, actions: np.ndarray) -> tuple[list[float], np.ndarray, dict[str, np.ndarray]]:
    # robosuite never makes its GL context current again; after another renderer it would read that one's buffer.
    env.unwrapped.sim._render_context_offscreen.gl_ctx.make_current()
    env.unwrapped.rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state
    env.reset()
    seconds, states = [], []
    for action in actions:
        start = time.perf_counter()
        observation, *_ = env.step(action)
        seconds.append(time.perf_counter() - start)
        states.append(np.concatenate([env.unwrapped.sim.data.qpos, env.unwrapped.sim.data.qvel]))
    return seconds, np.array(states), {k: np.asarray(v)[::-1] for k, v in observation.items()}  # OpenGL rows


def run_ours(
    env: RoboSuiteEnv, seed: int, actions: np.ndarray
) -> tuple[list[float], np.ndarray, dict[str, np.ndarray]]:
    env.reset(seed=seed)
    seconds, states = [], []
    for action in actions:
        start = time.perf_counter()
        observation, *_ = env.step(action)
        seconds.append(time.perf_counter() - start)
        data = env.raw.sim.data._data
        states.append(np.concatenate([data.qpos, data.qvel]))
    return seconds, np.array(states), {CAMERAS[k] + "_image": v for k, v in observation.items() if k != "proprio"}


def measure(cameras: list[str], size: int, hz: float, steps: int, rounds: int) -> tuple[dict[str, Any], np.ndarray]:
    stock_pose = {name: Camera(model) for name, model in CAMERAS.items()}
    task = replace(TASKS["lift"], cameras=stock_pose)  # the same cameras as robosuite's
    actions = np.random.default_rng(0).uniform(-0.5, 0.5, (steps, 7))
    actions[:, 2] -= 0.15
    settings: dict[str, Any] = {"image_size": size, "cameras": cameras, "hz": hz, "max_steps": steps + 1}
    runners = {"robosuite": (gym_wrapper(cameras, size, hz), run_wrapper)}
    for mode in ("stock", "fast"):
        runners[mode] = (RoboSuiteEnv(task, render=mode, **settings), run_ours)
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    frames, states = {}, {}
    for _ in range(rounds):  # interleaved, so that a busy machine slows all of them
        for name, (env, run) in runners.items():
            times, states[name], frames[name] = run(env, 7, actions)
            seconds[name] += times
    for name in ("stock", "fast"):
        assert np.array_equal(states["robosuite"], states[name]), f"{name}: the physics differ from robosuite's"
    median = {name: 1e3 * float(np.median(times)) for name, times in seconds.items()}
    for env, _ in runners.values():
        env.close()
    key = CAMERAS[cameras[0]] + "_image"
    row = {
        "cameras": cameras,
        "image_size": size,
        "hz": hz,
        "ms_per_step": {name: round(value, 2) for name, value in median.items()},
        "speedup": {name: round(median["robosuite"] / median[name], 2) for name in ("stock", "fast")},
        "identical_states": True,
        "mean_pixel_difference": {
            name: round(float(np.abs(frames[name][key].astype(int) - frames["robosuite"][key]).mean()), 2)
            for name in ("stock", "fast")
        },
    }
    return row, np.hstack([frames[name][key] for name in ("robosuite", "stock", "fast")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="+", default=[64], help="image sizes in pixels")
    parser.add_argument("--hz", type=float, default=10.0, help="control rate")
    parser.add_argument("--steps", type=int, default=40, help="steps of one episode")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions; the median step is reported")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    parser.add_argument("--image", type=Path, help="write the three frames side by side here (PNG)")
    args = parser.parse_args()
    rows = []
    for size in args.size:
        for cameras in (["agentview"], ["agentview", "wrist"]):
            row, frames = measure(cameras, size, args.hz, args.steps, args.rounds)
            rows.append(row)
    report = {
        "benchmark": "render_speed",
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "machine": platform.machine(),
        "gl": os.environ["MUJOCO_GL"],
        "rows": rows,
    }
    text = json.dumps(report, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    if args.image:
        from PIL import Image

        scale = max(1, 256 // frames.shape[0])
        Image.fromarray(frames.repeat(scale, 0).repeat(scale, 1)).save(args.image)


if __name__ == "__main__":
    main()
