"""Draws docs/rooms.svg from the code: the rooms, what is in them, and which imports which.

    python scripts/draw_rooms.py [TARGET]

A number is of the files of the room to its left that import the room below it; none can stand left of the diagonal,
because imports go one way.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).resolve().parents[1]
WHAT = {
    "episodes": "what happened",
    "networks": "how things learn",
    "envs": "where it happens",
    "valuefns": "how good is it",
    "agents": "what to do",
    "experiments": "what people run",
}


def rooms() -> tuple[dict[str, Counter[str]], dict[str, tuple[int, int]]]:
    """For every room the files that import each other room, and its files and lines."""
    imports: dict[str, Counter[str]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for room in WHAT:
        counts: Counter[str] = Counter()
        files = sorted((ROOT / room).rglob("*.py"))
        lines = 0
        for path in files:
            text = path.read_text()
            lines += len(text.splitlines())
            counts.update(_imported(ast.parse(text)) & (set(WHAT) - {room}))
        imports[room], sizes[room] = counts, (len(files), lines)
    return imports, sizes


def _imported(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def draw() -> Figure:
    """The rooms down the diagonal; right of a room, above the ones it imports, the number of files that import them."""
    imports, sizes = rooms()
    names = list(reversed(WHAT))
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    ax = figure.subplots()
    for row, room in enumerate(names):
        files, lines = sizes[room]
        box = {"boxstyle": "round,pad=0.02", "facecolor": "#f4f5f7", "edgecolor": "#646a73", "zorder": 3}
        ax.add_patch(FancyBboxPatch((row - 0.42, row - 0.33), 0.84, 0.66, **box))
        ax.text(row, row - 0.12, room, ha="center", va="center", weight="bold", fontsize=11, zorder=4)
        said = f"{WHAT[room]}\n{files} files, {lines:,} lines"
        ax.text(row, row + 0.13, said, ha="center", va="center", fontsize=7.5, color="#646a73", zorder=4)
        used = [names.index(other) for other in imports[room]]
        ax.plot([row + 0.44, max(used, default=row)], [row, row], color="#0173b2", alpha=0.35, linewidth=1)
        for column in used:
            n = imports[room][names[column]]
            end = column - 0.35 if column > row else column + 0.35
            ax.annotate(
                "", (column, end), (column, row), arrowprops={"arrowstyle": "-|>", "color": "#0173b2", "alpha": 0.35}
            )
            ax.plot(column, row, "o", color="#0173b2", markersize=9 + n / 4, zorder=5)
            ax.text(column, row, str(n), ha="center", va="center", color="white", fontsize=8, zorder=6)
    ax.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.6, -0.4))
    ax.axis("off")
    return figure


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "rooms.svg"
    draw().savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)
