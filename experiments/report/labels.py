"""The label report as a picture: which share of every outcome, segment and phase each method keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.report.plots import WIDTH
from experiments.report.svg import BLUE, INK, MUTED, RED, style

BLOCKS = {"all": "", "outcome": "outcome", "segment": "segment", "phase": "progress of the successes"}


def kept_figure(rows: list[dict[str, Any]]) -> Figure:
    """Labels (rows) x groups (columns): per cent of the steps kept, below it their mean weight; red where starved."""
    names = list(dict.fromkeys(row["labels"] for row in rows))
    columns = [(by, group) for by in BLOCKS for group in _groups(rows, by)]
    place, x = {}, 0.0
    for i, column in enumerate(columns):
        x += 0.35 if i and column[0] != columns[i - 1][0] else 0.0
        place[column] = x
        x += 1
    with style():
        figure = Figure(figsize=(WIDTH, 0.95 + 0.36 * len(names)), layout="constrained")
        ax = figure.subplots()
        for row in rows:
            at, y = place[row["by"], row["group"]], names.index(row["labels"])
            colour = RED if row["starved"] else BLUE
            ax.add_patch(
                Rectangle((at - 0.48, y - 0.46), 0.96, 0.92, color=colour, alpha=0.06 + 0.7 * row["kept"], lw=0)
            )
            ax.text(at, y - 0.04, f"{100 * row['kept']:.0f}", ha="center", va="bottom", color=INK, fontsize=7.5)
            ax.text(at, y + 0.06, f"{row['weight']:.2f}", ha="center", va="top", color=INK, fontsize=6)
        ax.set(xlim=(-0.6, x - 0.4), ylim=(len(names) - 0.5, -0.5))
        ax.set_yticks(range(len(names)), names)
        ax.set_xticks(list(place.values()), [_short(group) for _, group in place], rotation=40, ha="left", fontsize=7)
        ax.xaxis.tick_top()
        for by, said in BLOCKS.items():
            mine = [place[column] for column in columns if column[0] == by]
            if mine and said:
                ax.text(float(np.mean(mine)), len(names) - 0.4, said, ha="center", va="top", color=MUTED, fontsize=7)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    return figure


def _groups(rows: list[dict[str, Any]], by: str) -> list[str]:
    found = list(dict.fromkeys(row["group"] for row in rows if row["by"] == by))
    return sorted(found) if by == "phase" else found


def _short(group: str) -> str:
    return group.replace("all steps", "all").replace("0.", ".").replace("1.0", "1")
