"""The reward-shaping study's table, summary and page, made from its finished cells alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from episodes.files import write_atomic
from experiments.loop.run_folder import write_json
from experiments.studies.engine import commands as made_by
from experiments.studies.engine import numbered, numbers, read
from experiments.studies.shaping.measures import Cells, arm_rows, comparisons, totals_over_tasks
from experiments.studies.shaping.rewards import ARMS

CHOICES = ("study.seeds=", "study.arms=", "study.results=")  # words that choose among cells


def read_cells(folder: Path) -> Cells:
    """Read every cell; a damaged one is a ValueError that names it."""
    cells: Cells = {}
    for made in read(folder):
        cell = made["about"] | made["result"] | {"command": made["command"]}
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


def steps_text(row: dict[str, Any]) -> str:
    """Steps to the threshold; ">=" where some seeds never reached it."""
    sign = "" if row["reached"] == len(row["seeds"]) else "≥ "
    return f"{sign}{row['steps_to_threshold']:.0f}"


def _span(low: float, high: float, form: str) -> str:
    return "" if np.isnan(low) else f"{low:{form}} to {high:{form}}"


def _number(x: float | None) -> str:
    return "" if x is None else f"{x:.2f}"


def commands(cells: Cells) -> dict[tuple[str, str, str], list[str]]:
    """The commands that make each row's cells, one for those that differ only in seeds, arms, workers and place."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for cell in (c for group in cells.values() for c in group):
        for command in made_by([cell], *CHOICES):
            groups.setdefault(command, []).append(cell)
    said = {}
    for command, group in groups.items():
        seeds = ",".join(map(str, sorted({c["seed"] for c in group})))
        arms = ",".join(arm for arm in ARMS if any(c["arm"] == arm for c in group))
        said[command] = f"{command} 'study.seeds=[{seeds}]' 'study.arms=[{arms}]'"
    return {row: [said[command] for command in made_by(group, *CHOICES)] for row, group in cells.items()}


def markdown(cells: Cells, rows: Sequence[Any], answers: Sequence[Any], totals: Sequence[Any]) -> str:
    """The study's tables in markdown, with the commands that made them."""
    made = commands(cells)
    every = list(dict.fromkeys(command for some in made.values() for command in some))
    lines = [
        "# Values as rewards",
        "",
        *numbered(every),
        "",
        "Success is the environment's, IQM over seeds with a stratified bootstrap 95 % interval. Steps: the first",
        "evaluation at the threshold, the budget where it was not reached (≥). Progress: the highest of each final",
        "trial by the simulator, mean over trials, bootstrap over seeds. Hacks: final trials that the value",
        "calls a success and the simulator does not. Rank: Spearman's correlation of the learned value with the",
        "simulator's progress over the frames of the arm's final trials (mean over seeds), and over held-out",
        "demonstrations. Seconds: training alone, value included; calls: of the value or control, and the time they",
        "take.",
        "",
        "| task | algorithm | arm | success | 95 % | steps | reached | progress | 95 % | hacks | rank | held out | n "
        "| seconds | calls | taking | command |",
        "|" + "---|" * 17,
    ]
    lines += [
        f"| {r['task']} | {r['algorithm']} | {r['arm']} | {r['success']:.2f} | {_span(r['low'], r['high'], '.2f')} | "
        f"{steps_text(r)} | {r['reached']} of {len(r['seeds'])} | {r['progress']:.2f} | "
        f"{_span(r['progress_low'], r['progress_high'], '.2f')} | {r['hack_rate']:.2f} | "
        f"{_number(r['rank'])} | {_number(r['held_out_rank'])} | {r['n']} | "
        f"{r['seconds']:.0f} | {r['value_calls']:.0f} | {r['value_seconds']:.0f} s | "
        f"{numbers(made[r['task'], r['algorithm'], r['arm']], every)} |"
        for r in rows
    ]
    lines += [
        "",
        "## Against the sparse reward",
        "",
        "| task | algorithm | arm | steps | 95 % | answer | better than sparse (area under the curve) | 95 % "
        "| progress | 95 % |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {a['task']} | {a['algorithm']} | {a['arm']} | {a['steps']:+.0f} | {_span(a['low'], a['high'], '+.0f')} | "
        f"{a['answer']} | {a['improvement']:.2f} | {_span(a['improvement_low'], a['improvement_high'], '.2f')} | "
        f"{a['progress']:+.2f} | {_span(a['progress_low'], a['progress_high'], '+.2f')} |"
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
