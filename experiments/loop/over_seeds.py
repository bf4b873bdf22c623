"""What several runs of one command say together: a row per method, over the data seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from episodes.intervals import bootstrap_mean, paired_bootstrap
from experiments.loop.run_folder import read_json


def table_over_seeds(runs: Sequence[Path]) -> str:
    """The success of each method over the data seeds of finished runs, and its paired difference from bc, as text.

    Intervals: 95 %, two-level bootstrap over data seeds and trials. Runs whose settings differ in more than the seed
    stand apart.
    """
    groups: dict[str, list[Path]] = {}
    for run in runs:
        groups.setdefault(str(read_json(run / "run.json", dict, "run it again").get("title", "")), []).append(run)
    return "\n\n".join(_table(title, group) for title, group in groups.items() if len(group) > 1)


def _table(title: str, runs: Sequence[Path]) -> str:
    episodes = [_by_method(run) for run in runs]
    seeds = [json.loads((run / "run.json").read_text())["seed"] for run in runs]
    shared = [name for name in episodes[0] if all(name in found for found in episodes)]
    lines = [f"{title}, data seeds {', '.join(map(str, seeds))}"]
    lines.append(f"{'method':<14} {'success':>8}  {'95 %':<14} {'per seed':<{5 * len(runs)}}  minus bc (paired, 95 %)")
    base = np.array([found["bc"] for found in episodes]) if "bc" in shared else None
    for name in shared:
        solved = np.array([found[name] for found in episodes])  # (seeds, trials), float
        mean, low, high = bootstrap_mean(solved)
        each = " ".join(f"{row.mean():.2f}" for row in solved)
        line = f"{name:<14} {mean:8.2f}  [{low:.2f}, {high:.2f}]   {each:<{5 * len(runs)}}"
        if base is not None and name != "bc" and base.shape == solved.shape:
            gain = paired_bootstrap(solved, base, shared_trials=True)
            line += f"  {gain[0]:+.2f} [{gain[1]:+.2f}, {gain[2]:+.2f}]"
        lines.append(line.rstrip())
    return "\n".join(lines)


def _by_method(run: Path) -> dict[str, Any]:
    """Success (trials,) of every method, a later iteration as method@2, in the order of the trials' seeds."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in pq.read_table(run / "episodes.parquet").to_pylist():
        name = row["arm"] if row["iteration"] == 0 else f"{row['arm']}@{row['iteration'] + 1}"
        found.setdefault(name, []).append((row["seed"], float(row["success"])))
    return {name: np.array([success for _, success in sorted(rows)]) for name, rows in found.items()}
