"""What the reward-shaping study measures: rows per arm, comparisons with the sparse reward, totals over tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.integrate import trapezoid

from episodes.aggregate import probability_of_improvement, stratified_iqm
from episodes.intervals import bootstrap_mean
from experiments.studies.shaping.levels import mean_rank

Cells = dict[tuple[str, str, str], list[dict[str, Any]]]  # (task, algorithm, arm) -> cells by seed


def final_success(cell: dict[str, Any]) -> float:
    """Share of the final trials of a cell that succeed."""
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


def reached_progress(cell: dict[str, Any]) -> float:
    """Mean over the final trials of the highest progress (of the simulator) in each: moves before success does."""
    return float(np.mean([row["progress"] for row in cell["rows"]]))


def arm_rows(cells: Cells) -> list[dict[str, Any]]:
    """One row per task, algorithm and arm; success is the IQM over seeds with its stratified bootstrap interval."""
    rows = []
    for (task, algorithm, arm), group in cells.items():
        success, low, high = stratified_iqm([final_success(c) for c in group])
        steps, steps_low, steps_high = bootstrap_mean([censored(c) for c in group])
        far, far_low, far_high = bootstrap_mean([reached_progress(c) for c in group])
        failed = [row["claimed"] for c in group for row in c["rows"] if not row["success"]]
        rows.append({
            "arm": arm, "task": task, "algorithm": algorithm, "success": success, "low": low, "high": high,
            "steps_to_threshold": steps, "steps_low": steps_low, "steps_high": steps_high,
            "reached": sum(to_threshold(c) is not None for c in group), "threshold": group[0]["threshold"],
            "progress": far, "progress_low": far_low, "progress_high": far_high,
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
    """Every arm against sparse: steps to the threshold and highest progress (differences of means), and the
    probability of improvement.

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
        far, far_low, far_high = _difference([reached_progress(c) for c in group],
                                             [reached_progress(c) for c in reference])  # fmt: skip
        verdict = "fewer" if high < 0 else "more" if low > 0 else "not shown"
        answers.append({
            "task": task, "algorithm": algorithm, "arm": arm, "against": "sparse", "steps": difference, "low": low,
            "high": high, "answer": verdict, "improvement": better, "improvement_low": better_low,
            "improvement_high": better_high, "progress": far, "progress_low": far_low, "progress_high": far_high,
            "seeds": min(len(group), len(reference)),
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
