"""The reward-shaping study as rows, comparisons, a table and a page, made from its finished cells alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import trapezoid

from episodes.aggregate import probability_of_improvement, stratified_iqm
from episodes.files import write_atomic
from episodes.intervals import bootstrap_mean
from experiments.run_folder import read_json, write_json
from experiments.shaping_arms import ARMS
from experiments.shaping_levels import mean_rank

Cells = dict[tuple[str, str, str], list[dict[str, Any]]]  # (task, algorithm, arm) -> cells by seed


def read_cells(folder: Path) -> Cells:
    """Read every cell; a damaged one is a ValueError that names it."""
    cells: Cells = {}
    for path in sorted((folder / "cells").glob("*.json")):
        cell = read_json(path, dict, "remove it; the study's command makes it anew")
        cells.setdefault((cell["task"], cell["algorithm"], cell["arm"]), []).append(cell)
    order = {arm: i for i, arm in enumerate(ARMS)}
    return dict(sorted(cells.items(), key=lambda item: (item[0][0], item[0][1], order.get(item[0][2], 99))))


def rebuild(folder: Path) -> None:
    """Make summary.json, table.md and report.html from the cells."""
    from experiments.report.shaping import write_page

    cells = read_cells(folder)
    rows, answers = arm_rows(cells), comparisons(cells)
    totals = totals_over_tasks(cells)
    write_json(folder / "summary.json", {"seed": None, "rows": rows, "comparisons": answers, "totals": totals})
    write_atomic(folder / "table.md", markdown(cells, rows, answers, totals).encode())
    write_page(folder, cells, rows, answers)


def final_success(cell: dict[str, Any]) -> float:
    return float(np.mean([row["success"] for row in cell["rows"]]))


def area(cell: dict[str, Any]) -> float:
    """Mean success over training: the area under the learning curve by trapezoids, divided by the steps."""
    steps = [point["step"] for point in cell["curve"]]
    return float(trapezoid([point["success"] for point in cell["curve"]], steps) / (steps[-1] - steps[0]))


def to_threshold(cell: dict[str, Any]) -> int | None:
    """Environment steps at the first evaluation at or above the threshold; None: not within the budget."""
    return next((p["step"] for p in cell["curve"] if p["success"] >= cell["threshold"]), None)


def censored(cell: dict[str, Any]) -> float:
    """The same with the budget where it was not reached: a lower bound."""
    found = to_threshold(cell)
    return float(cell["curve"][-1]["step"] if found is None else found)


def hack_rate(cells: Sequence[dict[str, Any]]) -> float:
    """Share of all final trials that the value calls a success and the simulator does not."""
    return float(np.mean([row["claimed"] and not row["success"] for c in cells for row in c["rows"]]))


def arm_rows(cells: Cells) -> list[dict[str, Any]]:
    """One row per task, algorithm and arm; success is the IQM over seeds with its stratified bootstrap interval."""
    rows = []
    for (task, algorithm, arm), group in cells.items():
        success, low, high = stratified_iqm([final_success(c) for c in group])
        steps, steps_low, steps_high = bootstrap_mean([censored(c) for c in group])
        failed = [row["claimed"] for c in group for row in c["rows"] if not row["success"]]
        rows.append({
            "arm": arm, "task": task, "algorithm": algorithm, "success": success, "low": low, "high": high,
            "steps_to_threshold": steps, "steps_low": steps_low, "steps_high": steps_high,
            "reached": sum(to_threshold(c) is not None for c in group), "threshold": group[0]["threshold"],
            "hack_rate": hack_rate(group), "claimed_failures": float(np.mean(failed)) if failed else None,
            "rank": mean_rank([c["levels"] for c in group]), "held_out_rank": group[0]["held_out"]["rank"],
            "n": sum(len(c["rows"]) for c in group), "seeds": [c["seed"] for c in group],
            "per_seed": [final_success(c) for c in group], "area": float(np.mean([area(c) for c in group])),
            "seconds": float(np.mean([c["seconds"] for c in group])),
            "value_calls": float(np.mean([c["value"]["calls"] for c in group])),
            "value_seconds": float(np.mean([c["value"]["seconds"] for c in group])),
        })  # fmt: skip
    return rows


def comparisons(cells: Cells) -> list[dict[str, Any]]:
    """Every arm against sparse: steps to the threshold (difference of means) and the probability of improvement.

    The intervals draw seeds of both arms on their own, for an agent's seed shares nothing between arms. Steps of runs
    that never reach the threshold count as the budget, so a difference to them is a lower bound in size.
    """
    answers = []
    for (task, algorithm, arm), group in cells.items():
        reference = cells.get((task, algorithm, "sparse"))
        if arm == "sparse" or reference is None:
            continue
        mine, theirs = [censored(c) for c in group], [censored(c) for c in reference]
        difference, low, high = _difference(mine, theirs)
        better, better_low, better_high = probability_of_improvement([area(c) for c in group],
                                                                     [area(c) for c in reference])  # fmt: skip
        verdict = "fewer" if high < 0 else "more" if low > 0 else "not shown"
        answers.append({
            "task": task, "algorithm": algorithm, "arm": arm, "against": "sparse", "steps": difference, "low": low,
            "high": high, "answer": verdict, "improvement": better, "improvement_low": better_low,
            "improvement_high": better_high, "seeds": min(len(group), len(reference)),
        })  # fmt: skip
    return answers


def _difference(a: Sequence[float], b: Sequence[float], resamples: int = 10_000) -> tuple[float, float, float]:
    """Difference of means with its percentile-bootstrap interval, the runs of each side drawn on their own."""
    x, y = np.asarray(a), np.asarray(b)
    mean = float(x.mean() - y.mean())
    if min(len(x), len(y)) < 2:
        return mean, float("nan"), float("nan")
    rng = np.random.default_rng(0)
    draws = [v[rng.integers(len(v), size=(resamples, len(v)))].mean(1) for v in (x, y)]
    low, high = np.quantile(draws[0] - draws[1], [0.025, 0.975])
    return mean, float(low), float(high)


def totals_over_tasks(cells: Cells) -> list[dict[str, Any]]:
    """IQM of final success over all tasks and seeds of an algorithm, for arms that were run on all its tasks."""
    totals = []
    for algorithm in dict.fromkeys(a for _, a, _ in cells):
        tasks = list(dict.fromkeys(t for t, a, _ in cells if a == algorithm))
        for arm in dict.fromkeys(name for _, a, name in cells if a == algorithm):
            groups = [cells.get((task, algorithm, arm), []) for task in tasks]
            runs = min(len(group) for group in groups)
            if len(tasks) < 2 or not runs:
                continue
            scores = np.array([[final_success(c) for c in group[:runs]] for group in groups]).T
            value, low, high = stratified_iqm(scores)
            totals.append({"arm": arm, "algorithm": algorithm, "tasks": tasks, "success": value, "low": low,
                           "high": high, "runs": runs})  # fmt: skip
    return totals


def steps_text(row: dict[str, Any]) -> str:
    """Steps to the threshold; ">=" where some seeds never reached it."""
    sign = "" if row["reached"] == len(row["seeds"]) else "≥ "
    return f"{sign}{row['steps_to_threshold']:.0f}"


def _span(low: float, high: float, form: str) -> str:
    return "" if np.isnan(low) else f"{low:{form}} to {high:{form}}"


def _number(x: float | None) -> str:
    return "" if x is None else f"{x:.2f}"


def commands(cells: Cells) -> list[str]:
    """The commands that make these cells, one for those that differ only in seeds, arms, workers and place."""
    parts = ("study.seeds=", "study.arms=", "study.results=", "workers=")
    groups: dict[str, list[dict[str, Any]]] = {}
    for cell in (c for group in cells.values() for c in group):
        words = [w for w in cell["command"].split(" ") if not w.strip("'").startswith(parts)]
        groups.setdefault(" ".join(words), []).append(cell)
    made = []
    for command, group in groups.items():
        seeds = ",".join(map(str, sorted({c["seed"] for c in group})))
        arms = ",".join(arm for arm in ARMS if any(c["arm"] == arm for c in group))
        made.append(f"{command} 'study.seeds=[{seeds}]' 'study.arms=[{arms}]'")
    return made


def markdown(cells: Cells, rows: Sequence[Any], answers: Sequence[Any], totals: Sequence[Any]) -> str:
    lines = [
        "# Values as rewards",
        "",
        *[f"`{command}`" for command in commands(cells)],
        "",
        "Success is the environment's, IQM over seeds with a stratified bootstrap 95 % interval. Steps: the first",
        "evaluation at the threshold, the budget where it was not reached (≥). Hacks: final trials that the value",
        "calls a success and the simulator does not. Rank: Spearman's correlation of the learned value with the",
        "simulator's progress over the frames of the arm's final trials (mean over seeds), and over held-out",
        "demonstrations. Seconds: training alone, value included; calls: of the value or control, and the time they",
        "take.",
        "",
        "| task | algorithm | arm | success | 95 % | steps | reached | hacks | rank | held out | n | seconds | calls "
        "| taking |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['task']} | {r['algorithm']} | {r['arm']} | {r['success']:.2f} | {_span(r['low'], r['high'], '.2f')} | "
        f"{steps_text(r)} | {r['reached']} of {len(r['seeds'])} | {r['hack_rate']:.2f} | "
        f"{_number(r['rank'])} | {_number(r['held_out_rank'])} | {r['n']} | "
        f"{r['seconds']:.0f} | {r['value_calls']:.0f} | {r['value_seconds']:.0f} s |"
        for r in rows
    ]
    lines += [
        "",
        "## Against the sparse reward",
        "",
        "| task | algorithm | arm | steps | 95 % | answer | better than sparse (area under the curve) | 95 % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {a['task']} | {a['algorithm']} | {a['arm']} | {a['steps']:+.0f} | {_span(a['low'], a['high'], '+.0f')} | "
        f"{a['answer']} | {a['improvement']:.2f} | {_span(a['improvement_low'], a['improvement_high'], '.2f')} |"
        for a in answers
    ]
    if totals:
        lines += ["", "## All tasks", "", "| algorithm | arm | IQM | 95 % | runs a task |", "|---|---|---|---|---|"]
        lines += [
            f"| {t['algorithm']} | {t['arm']} | {t['success']:.2f} | {_span(t['low'], t['high'], '.2f')} | "
            f"{t['runs']} |"
            for t in totals
        ]
    return "\n".join(lines) + "\n"
