"""The figures of the value benchmark's page."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.report.plots import WIDTH, _shorten
from experiments.report.svg import BLUE, INK, MUTED, style

# name -> (title, where a perfect value lies, axis limits)
PANELS = {
    "hesitation_rmse": ("hesitation RMSE", 0.0, (0.0, None)),
    "hesitation_drift": ("hesitation drift", 0.0, (None, None)),
    "retry_voc": ("retry VOC", 1.0, (-1.05, 1.05)),
    "expert_voc": ("expert VOC", 1.0, (-1.05, 1.05)),
    "success_gap": ("success gap", 1.0, (None, 1.05)),
}


def scorecard(rows: list[dict[str, Any]]) -> Figure:
    """One panel per headline measure, one line per model with its 95 % interval; dashed: a perfect value."""
    with style():
        figure = Figure(figsize=(WIDTH, 0.75 + 0.24 * len(rows)), layout="constrained")
        axes = figure.subplots(1, len(PANELS), sharey=True)
        y = np.arange(len(rows))
        for ax, (name, (title, perfect, (low_limit, high_limit))) in zip(axes, PANELS.items(), strict=True):
            mean, low, high = (
                np.array([np.nan if r[k] is None else r[k] for r in rows], float)
                for k in (name, f"{name}_low", f"{name}_high")
            )
            ax.axvline(perfect, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
            ax.hlines(y, low, high, color=INK, linewidth=1.4)
            ax.plot(mean, y, "o", color=BLUE, markersize=4.5)
            for i in np.flatnonzero(np.isnan(mean)):
                ax.text(0.5, i, "undefined", transform=ax.get_yaxis_transform(), ha="center", va="center",
                        fontsize=7, color=MUTED)  # fmt: skip
            ax.set(title=title, ylim=(len(rows) - 0.5, -0.5))
            ax.set_xlim(low_limit, high_limit)
            ax.tick_params(axis="y", length=0)
            ax.spines["left"].set_visible(False)
            ax.grid(axis="x")
            ax.set_axisbelow(True)
        axes[0].set_yticks(y, [_shorten(r["model"], 20) for r in rows])
    return figure
