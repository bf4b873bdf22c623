"""The tables of a Markdown page, the commands in them, and the figures that they link to a file of results.

A figure is a link whose title says where it stands: [.05 [.04, .06]](results/FILE "where"), numbers in their order.
FILE.json: "rows > model=wvm > mean low high"   keys, the entry of a list that has these values, fields to be shown
FILE.md:   "heading > row > column"             the heading may be left out; row and column by their beginnings
FILE.csv:  "type=expert, split=test"            the number of such lines
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^\s)]+)(?: \"([^\"]*)\")?\)")
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)")


@dataclass(frozen=True)
class Table:
    """A table: the heading it stands under, its columns' names, its rows' cells."""

    heading: str
    columns: list[str]
    rows: list[list[str]]


def tables(text: str) -> list[Table]:
    """Every table of a page, in order."""
    found: list[Table] = []
    heading, inside = "", False
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        cells = [cell.strip() for cell in line.strip()[1:-1].split("|")] if line.startswith("|") else []
        if cells and not inside:
            found.append(Table(heading, cells, []))
        elif cells and set(line) - set("|-: "):
            found[-1].rows.append(cells)
        inside = bool(cells)
    return found


def commands(cell: str) -> list[str]:
    """Every `foresight ...` in a cell."""
    return re.findall(r"`(foresight [^`]+)`", cell)


def stale(figure: str, file: Path, where: str) -> str:
    """What the file says instead of the figure; empty where they agree to the digits shown."""
    shown = NUMBER.findall(figure)
    read = {".json": _of_json, ".md": _of_page, ".csv": _of_lines}[file.suffix](file, where)
    assert shown, f"{figure!r} holds no number"
    if file.suffix == ".md":  # a cell has more numbers than are shown
        same = all(any(_same(x, value) for value in read) for x in shown)
    else:
        same = len(shown) == len(read) and all(map(_same, shown, read))
    return "" if same else f"{figure!r}, while {file.name} ({where}) says {', '.join(f'{x:.4g}' for x in read)}"


def _same(shown: str, value: float) -> bool:
    digits = len(shown.partition(".")[2])
    return abs(float(shown) - value) <= 0.5 * 10.0**-digits + 1e-9


def _of_json(file: Path, where: str) -> list[float]:
    found: Any = json.loads(file.read_text())
    *steps, last = where.split(" > ")
    for step in steps:
        if isinstance(found, list):
            wanted = dict(pair.split("=") for pair in step.split(", "))
            found = [x for x in found if all(str(x.get(k)) == v for k, v in wanted.items())]
            assert len(found) == 1, f"{file}: {step}: {len(found)} entries"
            found = found[0]
        else:
            found = found[step]
    values = [found[key] for key in last.split(" ")]
    return [float(x) for value in values for x in (value if isinstance(value, list) else [value])]


def _of_page(file: Path, where: str) -> list[float]:
    *heading, row, column = where.split(" > ")
    for table in tables(file.read_text()):
        at = _first(table.columns, column)
        rows = [cells for cells in table.rows if cells[0] == row] or [
            cells for cells in table.rows if any(cell.startswith(row) for cell in cells[:2])
        ]
        if at is not None and rows and heading in ([], [table.heading]):
            return [float(x) for x in NUMBER.findall(rows[0][at])]
    raise AssertionError(f"{file}: no table with {where}")


def _first(names: list[str], name: str) -> int | None:
    """Where a name is, or the first that begins with it."""
    return next(
        (k for k, n in enumerate(names) if n == name),
        next((k for k, n in enumerate(names) if n.startswith(name)), None),
    )


def _of_lines(file: Path, where: str) -> list[float]:
    wanted = dict(pair.split("=") for pair in where.split(", "))
    with file.open() as lines:
        return [sum(all(row[k] == v for k, v in wanted.items()) for row in csv.DictReader(lines))]
