"""The table of an ablation from its finished cells alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from episodes.intervals import bootstrap_mean, paired_bootstrap
from experiments.studies.engine import commands, numbered, numbers

MEASURES = ("hesitation_rmse", "hesitation_drift", "retry_voc", "expert_voc", "error_rank", "instruction_gap")
Cells = dict[int, dict[int, dict[str, Any]]]  # seed -> episode -> its entry in the cell


def table(rows: dict[str, tuple[str, list[str]]], cells: Sequence[dict[str, Any]]) -> str:
    """Markdown: a line per row with every measure, its 95 % interval and the paired difference to the first row.

    rows: name -> (what, tasks it has not learnt from); for those a second pair of lines counts those tasks alone.
    cells: of the study's engine; a cell of a row that is not among `rows` is left out.
    """
    made = {name: commands([c for c in cells if c["about"]["row"] == name], "rows=", "seeds=") for name in rows}
    every = list(dict.fromkeys(line for lines in made.values() for line in lines))
    cells = [cell["about"] | cell["result"] for cell in cells if cell["about"]["row"] in rows]
    by_row: dict[str, Cells] = {}
    seconds: dict[str, list[float]] = {}
    for cell in cells:
        by_row.setdefault(cell["row"], {})[cell["seed"]] = {e["episode"]: e for e in cell["episodes"]}
        seconds.setdefault(cell["row"], []).append(cell["train_seconds"])
    base = next(iter(rows))
    lines = [
        *numbered(every),
        "",
        "Mean over seeds and test episodes [two-level bootstrap 95 %]; below it the paired difference to row one.",
        "",
        f"| row | {' | '.join(MEASURES)} | seeds | training | command | |",
        "|" + "---|" * (len(MEASURES) + 5),
    ]
    for name, (what, left_out) in rows.items():
        if name not in by_row:
            continue
        time = f"{np.mean(seconds[name]):.0f} s | {numbers(made[name], every)}"
        lines.append(_line(name, by_row[name], by_row.get(base) if name != base else None, time, what))
        if left_out:
            own, reference = _only(by_row[name], left_out), _only(by_row.get(base, {}), left_out)
            lines.append(_line(f"{name}, on those", own, reference, " | ", "the tasks it has not seen alone"))
            if reference:
                lines.append(_line(f"{base}, on those", reference, None, " | ", "the same tasks, seen"))
    unscored = [f"- {c['row']}, seed {c['seed']}, episode {f['episode']}: {f['reason']}"
                for c in cells for f in c["failures"]]  # fmt: skip
    lines += ["", "Episodes that could not be scored:" if unscored else "Every episode was scored.", *unscored]
    return "\n".join(lines) + "\n"


def _only(cells: Cells, tasks: Sequence[str]) -> Cells:
    return {s: {i: e for i, e in episodes.items() if e["task"] in tasks} for s, episodes in cells.items()}


def _grid(cells: Cells, measure: str, seeds: Sequence[int]) -> dict[int, list[float]]:
    """episode -> its score under each seed, for the episodes where every seed has one."""
    common = set.intersection(*(set(cells[s]) for s in seeds)) if seeds else set()
    scores = {i: [cells[s][i]["scores"].get(measure) for s in seeds] for i in sorted(common)}
    return {i: row for i, row in scores.items() if all(x is not None for x in row)}


def _line(name: str, cells: Cells, base: Cells | None, time: str, what: str) -> str:
    parts = []
    for measure in MEASURES:
        seeds = sorted(cells)
        own = _grid(cells, measure, seeds)
        if not own:
            parts.append("undefined")
            continue
        mean, low, high = bootstrap_mean(np.array(list(own.values())).T)
        said = f"{mean:.3f}" + ("" if np.isnan(low) else f" [{low:.3f}, {high:.3f}]")
        shared = sorted(set(seeds) & set(base or {}))
        if base is not None and shared:
            mine, theirs = _grid(cells, measure, shared), _grid(base, measure, shared)
            both = [i for i in mine if i in theirs]
            if both:
                a, b = (np.array([grid[i] for i in both]).T for grid in (mine, theirs))
                mean, low, high = paired_bootstrap(a, b, shared_trials=True)
                said += f"<br>{mean:+.3f}" + ("" if np.isnan(low) else f" [{low:+.3f}, {high:+.3f}]")
        parts.append(said)
    return f"| {name} | {' | '.join(parts)} | {len(cells)} | {time} | {what} |"
