"""The table of `experiments/sight.py` from its finished cells alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from episodes.files import write_atomic
from episodes.intervals import bootstrap_groups
from experiments.studies.engine import commands, numbered, numbers, read
from valuefns.bench.sight import MEASURES, PROBES

METRICS = ("retry_voc", "spearman_simulator", "spearman_expert", "hesitation_drift")  # of the same values
Cell = dict[str, Any]
CHOICES = ("task=", "seed=", "study.values=", "study.results=", "cache=", "runs=")  # words that choose among cells


def rebuild(folder: Path) -> str:
    """Write table.md: per task, a line per measure and a column per value, mean over data seeds with 95 % interval."""
    made = read(folder)
    cells = [cell["about"] | cell["result"] for cell in made]
    lines = ["# Does the value look?", ""]
    every = commands(made, *CHOICES)
    lines += numbered(every)
    lines += [
        "",
        "Mean over data seeds [two-level bootstrap 95 %: seeds, then episodes or pairs]; three seeds are few, so the",
        "intervals are narrow. Progress units are p = 2V - 1. `-`: undefined, or an input the value does not take.",
    ]
    for task in dict.fromkeys(c["task"] for c in cells):
        mine = [c for c in cells if c["task"] == task]
        names = sorted({c["value"] for c in mine}, key=lambda name: (name != "viva", name))
        by_value = {name: [c for c in mine if c["value"] == name] for name in names}
        lines += ["", f"## {task}", "", f"| | {' | '.join(names)} |", "|" + "---|" * (len(names) + 1)]
        lines.append(f"| looks | {' | '.join(_verdicts(by_value[name]) for name in names)} |")
        for row in _measures(mine):
            said = [_said(by_value[name], row) for name in names]
            lines.append(f"| {row} | {' | '.join(said)} |")
        by = {name: [c for c in made if c["about"]["task"] == task and c["about"]["value"] == name] for name in names}
        lines.append(f"| command | {' | '.join(numbers(commands(by[name], *CHOICES), every) for name in names)} |")
        lines.append(f"| data seeds | {' | '.join(str([c['seed'] for c in by_value[name]]) for name in names)} |")
    lines += ["", "## The measures", ""]
    lines += [f"- {probe}_...: {what}" for probe, what in PROBES.items()]
    lines += [f"- ..._{measure}: {what}" for measure, what in MEASURES.items()]
    probed = {f"{probe}_{measure}" for probe in PROBES for measure in MEASURES}
    alone = {row["name"]: row["what"] for c in cells for row in _rows(c) if row["name"] not in probed}
    lines += [f"- {name}: {what}" for name, what in alone.items()]
    text = "\n".join(lines) + "\n"
    write_atomic(folder / "table.md", text)
    return text


def _rows(cell: Cell) -> list[dict[str, Any]]:
    return [*cell["rows"], *(row for row in cell["metrics"] if row["name"] in METRICS)]


def _measures(cells: list[Cell]) -> list[str]:
    return list(dict.fromkeys(row["name"] for c in cells for row in _rows(c)))


def _verdicts(cells: list[Cell]) -> str:
    counted = Counter(c["looks"] for c in cells)
    return ", ".join(name if n == len(cells) else f"{name} ({n} of {len(cells)})" for name, n in counted.items())


def _said(cells: list[Cell], name: str) -> str:
    """Mean and interval of one measure of one value; scores that are null are undefined."""
    found = [row for c in cells for row in _rows(c) if row["name"] == name]
    groups = [[s for s in row["scores"] if s is not None] for row in found]
    mean, low, high = bootstrap_groups(groups)
    if mean != mean:
        return "-"
    return f"{mean:.2f}" + ("" if low != low else f" [{low:.2f}, {high:.2f}]")
