"""What a value in the loop costs: environment steps per second with it, without it, and with one call per environment.

python benchmarks/shaping_speed.py --out results/benchmarks/shaping_speed.json

The environments of one VecEnv move at random. "batched": the shaped VecEnv, one model call for all that must be read;
"single": the same with a call for every environment; each with a reading every k steps. ViVa has its tiny shape and
random weights: the cost is that of a trained one. Time is this process's CPU time, the ways take turns, and the median
round counts, so that other work on the machine matters little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from agents.sb3 import ShapedVecEnv
from envs.oracles.mix import OracleMix
from envs.robosuite_env import RoboSuiteEnv
from envs.rollout import Trial, rollout
from envs.viewed import Viewed
from episodes.store import EpisodeStore
from experiments.loop import schemas
from experiments.loop.schemas import CONF
from valuefns.make import make_value
from valuefns.protocol import ValueFunction
from valuefns.shaping.terms import ShapingConfig


def small_value(folder: Path) -> ValueFunction:
    """ViVa in its tiny shape, trained for one step on two episodes."""
    from envs.oracles.reach import ORACLE

    env = RoboSuiteEnv("reach", max_steps=20)
    with EpisodeStore.create(folder / "store", env.spec_) as store:
        store.append(rollout(ORACLE([env], OracleMix.only("expert")), [env], [Trial(0), Trial(1)], source="oracle"))
    env.close()
    schemas.register()
    with initialize_config_dir(CONF, version_base="1.3"):
        settings: Any = OmegaConf.to_object(compose("reward_shaping", overrides=["valuefn.training.steps=1"]))
    return make_value(settings.valuefn, settings.latents).fit(EpisodeStore.open(folder / "store"), folder / "training")


def make(every: int) -> Any:
    env = RoboSuiteEnv("reach", images=False, state=True, max_steps=50)
    return Viewed(env, every) if every else env


def seconds(parts: list[VecEnv], steps: int, rng: np.random.Generator) -> float:
    """CPU seconds of `steps` steps of all parts together."""
    sizes = [part.num_envs for part in parts]
    started = time.process_time()
    for _ in range(steps):
        for part, size in zip(parts, sizes, strict=True):
            part.step(rng.uniform(-1, 1, (size, 7)).astype(np.float32))
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envs", type=int, default=4, help="environments")
    parser.add_argument("--steps", type=int, default=100, help="steps of all environments a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--every", type=int, nargs="+", default=[1, 4], help="control steps between readings")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        value = small_value(Path(folder))
    ways: dict[str, list[VecEnv]] = {"without": [DummyVecEnv([partial(make, 0)] * args.envs)]}
    for every in args.every:
        config = ShapingConfig(every=every)
        ways[f"batched, every {every}"] = [ShapedVecEnv(DummyVecEnv([partial(make, every)] * args.envs), value, config)]
        ways[f"single, every {every}"] = [
            ShapedVecEnv(DummyVecEnv([partial(make, every)]), value, config) for _ in range(args.envs)
        ]
    rng = np.random.default_rng(0)
    for parts in ways.values():
        for part in parts:
            part.seed(0)
            part.reset()
        seconds(parts, 5, rng)  # compiled and drawn once before it counts
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, parts in ways.items():
            taken[name].append(seconds(parts, args.steps, rng))
    rates = {name: args.envs * args.steps / statistics.median(found) for name, found in taken.items()}
    report = {
        "benchmark": "shaping_speed",
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "envs": args.envs,
        "steps_per_cpu_second": {name: round(rate, 1) for name, rate in rates.items()},
        "share_of_without": {name: round(rate / rates["without"], 3) for name, rate in rates.items()},
        "batched_over_single": {
            str(every): round(rates[f"batched, every {every}"] / rates[f"single, every {every}"], 2)
            for every in args.every
        },
    }
    for parts in ways.values():
        for part in parts:
            part.close()
    text = json.dumps(report, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
