"""The main job as a command of its own, at the smallest size."""

import os
import subprocess
import sys
from pathlib import Path

from tests import ROOT

SMALL = [
    "methods=[bc,recap]", "iterations=2", "rollouts=2", "collect.episodes=8", "valuefn.training.steps=6",
    "valuefn.training.log_every=3", "policy.training.steps=8", "policy.training.log_every=4", "evaluation.trials=2",
    "evaluation.max_steps=12", "collect.max_steps=100", "videos=2", "seed=99", "evaluation.split=tune",
]  # fmt: skip


def command(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    line = [
        sys.executable,
        "experiments/recap_sim.py",
        *SMALL,
        f"runs={folder}/runs",
        f"cache={folder}/cache",
        *overrides,
    ]
    return subprocess.run(
        line, cwd=ROOT, capture_output=True, text=True, timeout=400, env=os.environ | {"PYTHONWARNINGS": "ignore"}
    )
