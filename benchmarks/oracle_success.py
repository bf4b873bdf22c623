"""Success rate of the scripted experts, per task and control rate, with Wilson intervals.

python benchmarks/oracle_success.py --seeds 100 --hz 10 20 --out results/benchmarks/oracle_success.json

Seeds are 0 .. n-1, without images; the time limit is the task's own.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from envs.oracles.mix import OracleMix
from envs.robosuite_env import RoboSuiteEnv
from envs.rollout import Trial, evaluate_trials
from envs.tasks import TASKS
from episodes.intervals import wilson


def measure(task: str, hz: float, seeds: int, workers: int) -> dict[str, Any]:
    """Roll the expert out on every seed: its success rate with a 95 % interval, lengths and failed seeds."""
    rows = evaluate_trials(
        partial(RoboSuiteEnv, task, images=False, hz=hz),
        partial(import_module(f"envs.oracles.{task}").ORACLE, mix=OracleMix.only("expert")),
        [Trial(s) for s in range(seeds)],
        source="oracle",
        workers=workers,
    )
    won = [row for row in rows if row["success"]]
    low, high = wilson(len(won), len(rows))
    seconds = [row["seconds"] for row in won]
    return {
        "task": task,
        "hz": hz,
        "n": len(rows),
        "successes": len(won),
        "rate": len(won) / len(rows),
        "wilson_95": [round(low, 4), round(high, 4)],
        "seconds_of_successes": [round(float(q), 2) for q in np.quantile(seconds, (0.0, 0.5, 1.0))] if won else [],
        "failed_seeds": [row["seed"] for row in rows if not row["success"]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100, help="episodes per task and rate")
    parser.add_argument("--hz", type=float, nargs="+", default=[10.0, 20.0], help="control rates")
    parser.add_argument("--tasks", nargs="+", default=sorted(TASKS), choices=sorted(TASKS), metavar="TASK")
    parser.add_argument("--workers", type=int, default=1, help="local processes")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    args = parser.parse_args()
    rows = []
    for task in args.tasks:
        for hz in args.hz:
            row = measure(task, hz, args.seeds, args.workers)
            rows.append(row)
            low, high = row["wilson_95"]
            shortest, median, longest = row["seconds_of_successes"] or (np.nan,) * 3
            print(
                f"{task:18s} {hz:4g} Hz  {row['successes']:3d}/{row['n']}  [{low:.3f}, {high:.3f}]  "
                f"{median:.1f} s ({shortest:.1f}-{longest:.1f})  failed {row['failed_seeds']}",
                flush=True,
            )
            if args.out:
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
