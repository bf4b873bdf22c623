"""The scorecard of the value benchmark as lines and as markdown."""

from __future__ import annotations

from typing import Any

import numpy as np

from valuefns.bench.scorecard import ModelScores

PROGRESS = ("hesitation_rmse", "hesitation_drift", "retry_voc", "expert_voc", "success_gap")


def sentence(row: dict[str, float]) -> str:
    """A model's headline measures as a line of text."""
    numbers = ", ".join(f"{name} {row[name]:.3f}" for name in PROGRESS)
    return f"{row['model']}: {numbers} (n={row['n']}, {row['failed']} failed)"


def table(rows: list[dict[str, Any]], results: list[ModelScores]) -> str:
    """The scorecard as markdown, and the episodes that could not be scored."""

    def cell(row: dict[str, Any], name: str) -> str:
        if np.isnan(row[name]):
            return "undefined"
        interval = "" if np.isnan(row[f"{name}_low"]) else f" [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"
        return f"{row[name]:.2f}{interval}"

    names = [*PROGRESS, "defined"]
    lines = [f"| model | {' | '.join(names)} | looks | n | fps |", "|" + "---|" * (len(names) + 4)]
    for row in rows:
        cells = " | ".join(cell(row, name) for name in names)
        lines.append(f"| {row['model']} | {cells} | {looks(row)} | {row['n']} | {row['fps'] or 'all frames'} |")
    failed = [f for result in results for f in result.failures]
    lines += ["", f"{len(failed)} episodes could not be scored." if failed else "Every episode was scored."]
    lines += [f"- {f.model}, episode {f.episode}: {f.reason}" for f in failed]
    return "\n".join(lines) + "\n"


def looks(row: dict[str, Any]) -> str:
    """The column `looks`: the verdict, the share of pairs that are lower, and the rank under foreign pictures."""
    lower, foreign = row["left_lower"], row["foreign_rank"]
    said = [f"{100 * lower:.0f} % of pairs lower"] if lower == lower else []
    said += [f"rank {foreign:.2f} with foreign pictures"] if foreign == foreign else []
    return f"{row['looks']} ({'; '.join(said)})" if said else str(row["looks"])
