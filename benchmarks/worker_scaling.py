"""Oracle episodes per second on 2 worker processes against 1, with identical results.

python benchmarks/worker_scaling.py --out results/benchmarks/worker_scaling.json

Imports, model loading and a first episode (once per process) are left out. The workers run side by side, one job each.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from envs.oracles.lift import LiftOracle
from envs.oracles.mix import OracleMix
from envs.robosuite_env import RoboSuiteEnv
from envs.rollout import Trial, rollout
from episodes.workers import map_jobs

_cache: list[Any] = []


def episodes(image_size: int, seeds: Sequence[int]) -> tuple[float, float, list[int]]:
    """Run the seeds in this process's own environment: start and end times (s, shared clock), lengths in steps."""
    if not _cache:
        _cache.append(RoboSuiteEnv(image_size=image_size))
        list(rollout(LiftOracle(_cache, OracleMix()), _cache, [Trial(999)], source="oracle"))  # compiles, warms up
    start = time.time()
    run = rollout(LiftOracle(_cache, OracleMix()), _cache, [Trial(s) for s in seeds], source="oracle")
    lengths = [len(episode) for episode in run]
    return start, time.time(), lengths


def rate(workers: int, count: int, image_size: int) -> tuple[float, list[int]]:
    """Episodes per second and their lengths; one job a worker, so that all of them work until the end."""
    # Every k-th seed, so that the jobs are about equally long.
    jobs = [list(range(k, count, workers)) for k in range(workers)]
    results = list(map_jobs(partial(episodes, image_size), jobs, workers=workers))
    seconds = sum(end - start for start, end, _ in results) / workers
    overlap = min(end for _, end, _ in results) - max(start for start, _, _ in results)
    if workers > 1 and overlap < 0.6 * seconds:
        raise SystemExit("the workers hardly ran at the same time: use more episodes or a quieter machine")
    lengths = [0] * count
    for job, (_, _, found) in zip(jobs, results, strict=True):
        for seed, length in zip(job, found, strict=True):
            lengths[seed] = length
    return count / seconds, lengths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=40, help="episodes per measurement")
    parser.add_argument("--image-size", type=int, default=64, help="pixels")
    parser.add_argument("--workers", type=int, default=2, help="worker processes to compare with one")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    args = parser.parse_args()
    load = os.getloadavg()[0]  # above 0.5 or so the speedup says more about the other processes
    one, lengths = rate(1, args.episodes, args.image_size)
    many, again = rate(args.workers, args.episodes, args.image_size)
    assert lengths == again, "the episodes differ between 1 and several workers"
    report = {
        "benchmark": "worker_scaling",
        "cpus": os.cpu_count(),
        "load_before": round(load, 2),
        "episodes": args.episodes,
        "image_size": args.image_size,
        "episodes_per_second": {"1": round(one, 3), str(args.workers): round(many, 3)},
        "steps_per_second": {
            "1": round(one * sum(lengths) / len(lengths), 1),
            str(args.workers): round(many * sum(lengths) / len(lengths), 1),
        },
        "speedup": round(many / one, 2),
        "identical_results": True,
    }
    text = json.dumps(report, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
