"""Trials per hour of a SIMPLER sweep against the original's loop, both on this project's environment, in one run.

    python benchmarks/simpler_throughput.py [--trials 4] [--task widowx_stack_cube] [--interval 4] [--workers 2]

Every arm runs the same trials with the same random actions (a tenth of the action space's range), for as many steps as
the task has, at the native size of the camera or at --image pixels. The policy looks at a picture each time it is
asked, every --interval steps (--interval 1: at every step).

    original     builds the environment for every trial and draws a picture at every step, as SIMPLER's evaluator does
    sweep        keeps the environment and draws the pictures that the policy is asked about; one process
    workers      the same on --workers processes (the whole machine)

The engine is the same in all arms (SAPIEN 3), so that this compares the loops, not the engines. The first environment
of a process is built before the clock starts; building the original's is part of its loop. CPU seconds are those of all
threads of the processes: on a busy machine they say more than the clock.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from envs.simpler.catalogue import SIMPLER_TASKS
from envs.simpler.env import NATIVE, SimplerEnv
from envs.simpler.protocol import SimplerTrial, groups, trials
from episodes.workers import map_jobs
from experiments.loop.schemas import SimplerSweepConfig
from experiments.simpler.worker import Job, RandomActor, _session, run_job

Size = tuple[int, int]


def original(chosen: tuple[SimplerTrial, ...], size: Size, interval: int) -> int:
    """SIMPLER's loop: one environment a trial, a picture at every step; returns the number of steps."""
    steps = 0
    for trial in chosen:
        env = SimplerEnv(trial.task, image_size=size)
        _, info = env.reset(seed=trial.seed, options=trial.options)
        actor = RandomActor(env.spec_, 1, interval)
        actor.reset(np.array([True]), np.array([trial.seed]), [info["instruction"]])
        truncated = False
        while not truncated:
            for action in actor.act([object()])[0]:  # type: ignore[list-item]
                _, _, _, truncated, _ = env.step(action)
                steps += 1
                if truncated:
                    break
        env.close()
    return steps


def warm(settings: SimplerSweepConfig, size: Size, first: SimplerTrial) -> None:
    """Build what a process keeps: imports, shaders, the environment."""
    _session.open(settings, first.task, size, True)
    _session.envs[0].reset(seed=0, options=first.options)


Block = tuple[float, tuple[SimplerTrial, ...]]  # when to begin (time.time()), and what to run


def sweep_block(settings: SimplerSweepConfig, size: Size, block: Block) -> tuple[float, float, float, int]:
    """Begin, end, CPU seconds and steps of a block on a process of its own, which starts when all are warm."""
    begin, chosen = block
    warm(settings, size, chosen[0])
    time.sleep(max(0.0, begin - time.time()))
    begun, cpu = time.time(), time.process_time()
    rows = run_job(settings, Job(chosen, size))
    return begun, time.time(), time.process_time() - cpu, sum(row["steps"] for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--task", default="widowx_stack_cube", choices=sorted(groups()))
    parser.add_argument("--interval", type=int, default=4, help="steps between two questions to the policy")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--image", type=int, default=0, help="pixels, square; 0: the camera's own size")
    parser.add_argument("--warming", type=float, default=90.0, help="seconds that the workers get to start")
    given = parser.parse_args()
    every = trials(given.task, "visual_matching")
    every = tuple(t for t in every if t.setup == every[0].setup and t.task == every[0].task)
    chosen = every[: given.trials]
    if len(chosen) < given.trials or given.trials < given.workers:
        sys.exit(f"--trials {given.trials}: give {given.workers} (one a worker) to {len(every)}, those of one scene")
    size = (given.image, given.image) if given.image else NATIVE[SIMPLER_TASKS[chosen[0].task].robot]
    settings = SimplerSweepConfig(policy="random", execute=given.interval, image_size=given.image)
    what = f"{given.task}, {len(chosen)} trials, {size[0]} x {size[1]} pixels"
    print(f"{what}, a question every {given.interval} steps; load average {os.getloadavg()[0]:.1f}")
    head = f"{'arm':12s} {'processes':>9s} {'steps':>6s} {'s/trial':>8s} {'CPU s/trial':>11s} {'trials/h':>9s}"
    print(head, flush=True)

    warm(settings, size, chosen[0])
    per_hour = {}

    def report(arm: str, processes: int, steps: int, seconds: float, cpu: float) -> None:
        n = len(chosen)
        per_hour[arm] = 3600 * n / seconds
        line = f"{arm:12s} {processes:9d} {steps:6d} {seconds / n:8.1f} {cpu / n:11.1f} {per_hour[arm]:9.0f}"
        print(line, flush=True)

    for arm in ("original", "sweep"):
        begun, cpu = time.time(), time.process_time()
        if arm == "original":
            steps = original(chosen, size, given.interval)
        else:
            steps = sum(row["steps"] for row in run_job(settings, Job(chosen, size)))
        report(arm, 1, steps, time.time() - begun, time.process_time() - cpu)
    _session.close()
    if given.workers > 1:
        begin = time.time() + given.warming
        jobs = [(begin, chosen[k :: given.workers]) for k in range(given.workers)]
        ends = list(map_jobs(partial(sweep_block, settings, size), jobs, workers=given.workers))
        starts, stops, spent, steps_of = zip(*ends)
        if max(starts) > begin + 1.0:
            sys.exit(f"the workers needed more than {given.warming:g} s to start; raise --warming")
        report("workers", given.workers, sum(steps_of), max(stops) - min(starts), sum(spent))
    for arm in ("sweep", "workers"):
        if arm in per_hour:
            print(f"{arm}: {per_hour[arm] / per_hour['original']:.2f} times the original's loop")


if __name__ == "__main__":
    main()
