"""Draws docs/loop.svg: what flows from stage to stage of the loop.

python scripts/draw_loop.py [TARGET]
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).resolve().parents[1]
STAGES = (  # name, what it is, where it is; clockwise from the top left
    ("Environment", "robosuite, SIMPLER,\nyour own", "envs/", (0.13, 0.76)),
    ("Episodes", "demonstrations\nand rollouts", "episodes/", (0.5, 0.76)),
    ("Value function", "ViVa, WVM, 201 bins,\nGVL, oracle", "valuefns/", (0.87, 0.76)),
    ("Advantages", "what a step changed\nbeyond expectation", "agents/advantages.py", (0.87, 0.24)),
    ("Labels", "weights, indicators:\nfiltered BC, AWR, RECAP", "agents/extraction.py", (0.5, 0.24)),
    ("Policy", "flow, pi0.5, VideoVLA", "agents/", (0.13, 0.24)),
)
FLOWS = ("record", "score", "differences", "keep or weigh", "train", "act")
WIDTH, HEIGHT = 0.235, 0.3


def draw() -> Figure:
    """Six stages in a circle and what each hands on."""
    figure = Figure(figsize=(9, 3.6))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")
    for name, what, where, (x, y) in STAGES:
        box = FancyBboxPatch(
            (x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.015",
            facecolor="#eef3f8", edgecolor="#0173b2",
        )  # fmt: skip
        axes.add_patch(box)
        axes.text(x, y + 0.09, name, ha="center", va="center", fontsize=12, weight="bold", color="#1b1d21")
        axes.text(x, y - 0.01, what, ha="center", va="center", fontsize=9.5, color="#1b1d21")
        axes.text(x, y - 0.115, where, ha="center", va="center", fontsize=8, family="monospace", color="#6b7079")
    for k, flow in enumerate(FLOWS):
        (x, y), (x2, y2) = STAGES[k][3], STAGES[(k + 1) % len(STAGES)][3]
        if y == y2:
            step = WIDTH / 2 if x2 > x else -WIDTH / 2
            ends, place, align = ((x + step, y), (x2 - step, y2)), ((x + x2) / 2, y + 0.05), "center"
        else:
            step = HEIGHT / 2 if y2 > y else -HEIGHT / 2
            ends, place = ((x, y + step), (x2, y2 - step)), (x + (-0.015 if y2 < y else 0.015), (y + y2) / 2)
            align = "right" if y2 < y else "left"
        axes.add_patch(
            FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=14, color="#6b7079", shrinkA=2, shrinkB=2)
        )
        axes.text(*place, flow, ha=align, va="center", fontsize=8.5, color="#1b1d21")
    return figure


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "loop.svg"
    draw().savefig(target, facecolor="white", metadata={"Date": None})
