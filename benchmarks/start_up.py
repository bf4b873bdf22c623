"""CPU-seconds until a command has answered --help, a typo or a dry run: this checkout against another one.

    python benchmarks/start_up.py BEFORE [results/benchmarks/start_up.json]

BEFORE is a checkout of an older revision, whose commands are files of experiments/. Each line is run `REPEATS` times,
in turn, after one run that warms the disk; the ratio of the medians is what counts.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
REPEATS = 5
LINES = {
    "help": (["experiments/recap_sim.py", "--help"], ["recap", "--help"]),
    "typo": (["experiments/recap_sim.py", "valuefn=vivaa"], ["recap", "valuefn=vivaa"]),
    "refusal": (["experiments/recap_sim.py", "folds=900"], ["recap", "folds=900"]),
    "dry run": (["experiments/simpler_sweep.py", "policy=random", "dry_run=true"], ["sweep", "random", "dry_run=true"]),
}
FORESIGHT = ["-c", "import sys; sys.argv[0] = 'foresight'; from experiments.cli import main; main()"]


def cpu_seconds(root: Path, words: list[str]) -> float:
    """User and system time of a Python process in a checkout, its children's too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *words], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    before, rows = Path(sys.argv[1]).resolve(), {}
    for name, (old, new) in LINES.items():
        pairs = [(cpu_seconds(before, old), cpu_seconds(HERE, [*FORESIGHT, *new])) for _ in range(REPEATS + 1)][1:]
        a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
        rows[name] = {"before_cpu_s": round(a, 2), "now_cpu_s": round(b, 2), "ratio": round(b / a, 3)}
        print(f"{name:<8} {a:6.2f} -> {b:5.2f} CPU-s, ratio {b / a:.3f}", flush=True)
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(json.dumps({"repeats": REPEATS, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
