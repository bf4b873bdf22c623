"""The page of the study of methods and values: the whole matrix, the paired differences, the values themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from episodes.files import write_atomic
from experiments.report import facts
from experiments.report.labels import kept_figure
from experiments.report.plots import WIDTH
from experiments.report.svg import BLUE, GREEN, INK, MUTED, RED, inline_svg, style
from experiments.report.templates import render

Rows = Sequence[dict[str, Any]]


def write_page(folder: Path, rows: Rows, answers: Rows, values: Rows, labels: Rows) -> None:
    """Write `folder`/report.html; the rows are those of summary.json."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figures = {}
    for task in tasks:
        mine = [row for row in rows if row["task"] == task]
        asked = [answer for answer in answers if answer["task"] == task]
        said = "; ".join(f"{row['arm']} {facts.percent(row['success'])}" for row in mine)
        figures[task] = {
            "matrix": inline_svg(
                matrix(mine), f"matrix-{task}", f"Success of every method and value on {task}: {said}"
            ),
            "forest": inline_svg(forest(asked), f"forest-{task}", _said(asked)) if asked else None,
            "kept": _kept([row for row in labels if row["task"] == task], task),
        }
    filters = {"percent": facts.percent, "number": facts.number}
    html = render(
        "methods.html", filters, interval=facts.interval,
        tasks=tasks, figures=figures, rows=rows, answers=answers, values=values,
    )  # fmt: skip
    write_atomic(folder / "report.html", html)


def _kept(labels: Rows, task: str) -> Markup | None:
    if not labels:
        return None
    starved = [f"{row['labels']} at progress {row['group']}" for row in labels if row["starved"]]
    said = f"What each arm learns from on {task}; starved phases: {', '.join(starved) or 'none'}"
    return inline_svg(kept_figure(list(labels)), f"kept-{task}", said)


def _said(answers: Rows) -> str:
    return "Paired differences: " + "; ".join(f"{a['question']} {100 * a['difference']:+.0f}" for a in answers)


def matrix(rows: Rows) -> Figure:
    """Methods (rows) x values (columns) of one task, shaded by success; below each share its 95 % interval."""
    methods = list(dict.fromkeys(_label(row) for row in sorted(rows, key=lambda r: "@" in r["arm"])))
    values = list(dict.fromkeys(row["value"] or "no value" for row in rows))
    with style():
        figure = Figure(figsize=(WIDTH, 0.5 + 0.42 * len(methods)), layout="constrained")
        ax = figure.subplots()
        for row in rows:
            y, x = methods.index(_label(row)), values.index(row["value"] or "no value")
            ax.fill([x - 0.48, x + 0.48, x + 0.48, x - 0.48], [y - 0.46, y - 0.46, y + 0.46, y + 0.46],
                    color=BLUE, alpha=0.08 + 0.6 * row["success"], linewidth=0)  # fmt: skip
            ax.text(x, y - 0.02, facts.percent(row["success"], 0), ha="center", va="bottom", color=INK)
            text = f"{100 * row['low']:.0f} to {100 * row['high']:.0f}, n {row['n']}"
            ax.text(x, y + 0.05, text, ha="center", va="top", color=INK, fontsize=6.8)
        ax.set(xlim=(-0.5, len(values) - 0.5), ylim=(len(methods) - 0.5, -0.5))
        ax.set_xticks(range(len(values)), [v.replace("_", " ") for v in values])
        ax.set_yticks(range(len(methods)), methods)
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
    return figure


def _label(row: dict[str, Any]) -> str:
    _, at, later = row["arm"].partition("@")
    return row["extraction"] + (f" {at}{later.replace('+', ' + ')}" if at else "")


def forest(answers: Rows) -> Figure:
    """One line per question: the paired difference and its 95 % interval, in points."""
    with style():
        figure = Figure(figsize=(WIDTH, 0.5 + 0.24 * len(answers)), layout="constrained")
        ax = figure.subplots()
        y = np.arange(len(answers))
        for i, answer in enumerate(answers):
            colour = {"yes": GREEN, "the opposite": RED}.get(answer["answer"], MUTED)
            ax.hlines(i, 100 * answer["low"], 100 * answer["high"], color=colour, linewidth=1.6)
            ax.plot(100 * answer["difference"], i, "o", color=colour, markersize=4.5)
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.set(ylim=(len(answers) - 0.4, -0.6), xlabel="difference in success, points")
        ax.set_yticks(y, [answer["question"] for answer in answers])
        ax.grid(axis="x")
        ax.set_axisbelow(True)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    return figure
