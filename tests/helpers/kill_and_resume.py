"""Kill a run with -9 at random moments, give the same command again, and compare what it leaves with an untouched run.

    python -m tests.helpers.kill_and_resume --kills 50

The run is experiments/recap_sim.py at its smallest: real physics, models and report, two methods, two iterations. A run
that gets through is compared and the next one starts from nothing, until the kills are used up. Nothing may be lost,
doubled or torn, no worker may outlive its parent, and every number must be the untouched run's, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq

from episodes.files import TEMPORARY, sha256_file
from episodes.store import EpisodeStore
from tests import ROOT

TRIALS = 6
SMALL = (
    "methods=[bc,recap] iterations=2 rollouts=3 collect.episodes=8 valuefn.training.steps=30 "
    "valuefn.training.checkpoint_every=5 valuefn.training.log_every=5 policy.training.steps=60 "
    f"policy.training.checkpoint_every=5 policy.training.log_every=5 evaluation.trials={TRIALS} "
    "evaluation.max_steps=20 videos=1 seed=98 evaluation.split=tune"
).split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder, removed at the end)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        started = time.monotonic()
        assert start(Path(folder) / "untouched").wait() == 0, "the untouched run failed"
        seconds = time.monotonic() - started
        expected = fingerprint(Path(folder) / "untouched")
        print(f"untouched: {seconds:.0f} s, {len(expected)} facts", flush=True)
        killed = campaign(Path(folder), arguments.kills, random.Random(arguments.seed), seconds, expected)
    print(f"{sum(killed.values())} kills: {dict(killed)}; nothing lost, doubled, torn or different")


def campaign(
    folder: Path, kills: int, moments: random.Random, seconds: float, expected: dict[str, Any]
) -> Counter[str]:
    """Kill and continue until `kills` are used up and the last run is through; return how many hit each stage."""
    killed: Counter[str] = Counter()
    number = 0
    while True:
        work = folder / f"run-{number}"
        process = start(work)
        # half a run: what is finished is skipped the next time, so that the later stages get their share of the kills
        delay = moments.uniform(0, seconds / 2) if sum(killed.values()) < kills else None
        try:
            code = process.wait(delay)
        except subprocess.TimeoutExpired:
            workers = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGKILL)
            process.wait()
            stage = stage_of(work)
            killed[stage] += 1
            # one that was still starting notices after its imports, which take long on a busy machine
            _, alive = psutil.wait_procs(workers, timeout=60)
            assert not alive, f"workers outlive their parent: {alive}"
            check_whole(work)
            print(f"kill {sum(killed.values())} after {delay:.1f} s, in {stage}", flush=True)
            continue
        log = (work / "log").read_text()
        assert code == 0, f"{work}: the continued run failed\n{log[-3000:]}"
        runs = list((work / "runs/recap_sim").iterdir())
        assert len(runs) == 1, f"the same command must continue one run, not leave {runs}"
        found = fingerprint(work)
        different = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
        assert not different, f"different from the untouched run: {sorted(different)} in {work}"
        print(f"run {number} got through: identical", flush=True)
        shutil.rmtree(work)
        number += 1
        if sum(killed.values()) >= kills:
            return killed


def start(work: Path, workers: int = 2) -> subprocess.Popen[bytes]:
    """The command, in `work`; its output goes to work/log."""
    work.mkdir(parents=True, exist_ok=True)
    places = [f"runs={work}/runs", f"cache={work}/cache", f"workers={workers}"]
    command = [sys.executable, "experiments/recap_sim.py", *SMALL, *places]
    with open(work / "log", "wb") as log:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment)


def stage_of(work: Path) -> str:
    """The stage a killed process was in: the last one its log names, evaluation where a trial was on its way."""
    begun = [line[1 : line.index("]")] for line in (work / "log").read_text().splitlines() if line.endswith("] ...")]
    stage = begun[-1] if begun else "start"
    if stage == "policies":
        policies = [p.parent for p in work.glob("runs/recap_sim/*/arms/*/policy-*/model.safetensors")]
        ledgers = [p.parent / (p.name.replace("policy", "trials") + ".jsonl") for p in policies]
        rows = [len(p.read_text().splitlines()) if p.exists() else 0 for p in ledgers]
        return "evaluation" if any(n < TRIALS for n in rows) else "policy training"
    return stage


def check_whole(work: Path) -> None:
    """Whatever was committed at the moment of the kill can be read: stores, values, checkpoints, ledgers."""
    for header in work.rglob("foresight/header.json"):
        store = EpisodeStore.open(header.parent.parent)
        seen = [(row["seed"], row["source"], row["iteration"]) for row in store.index]
        assert len(set(seen)) == len(seen) == sum(1 for _ in store), f"{store.path}: doubled or torn"
    for run in work.rglob("run.json"):
        json.loads(run.read_text())


def fingerprint(work: Path) -> dict[str, Any]:
    """Every number a finished run leaves, by name: equal for two runs that computed the same."""
    (run,) = (work / "runs/recap_sim").iterdir()
    facts: dict[str, Any] = {"summary": json.loads((run / "summary.json").read_text())["rows"]}
    for header in sorted(work.rglob("foresight/header.json")):
        store = EpisodeStore.open(header.parent.parent)
        facts[f"episodes {_name(store.path, work, run)}"] = store.content_hash, len(store)
    for name in ("episodes.parquet", "frames.parquet"):
        facts[name] = pq.read_table(run / name).to_pydict().__repr__()
    for path in sorted(work.rglob("values.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            facts[_name(path, work, run)] = arrays["values"].tobytes()
    for path in sorted([*work.rglob("model.safetensors"), *work.rglob("labels-*.parquet")]):
        facts[_name(path, work, run)] = sha256_file(path)
    for path in sorted(work.rglob("trials-*.jsonl")):
        facts[_name(path, work, run)] = path.read_text()
    timed = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    facts["metrics"] = [{k: v for k, v in row.items() if k != "steps_per_second"} for row in timed]
    facts["left over"] = [_name(p, work, run) for p in work.rglob(f"{TEMPORARY}*")]
    return facts


def _name(path: Path, work: Path, run: Path) -> str:
    return str(path.relative_to(work)).replace(run.name, "RUN")


if __name__ == "__main__":
    main()
