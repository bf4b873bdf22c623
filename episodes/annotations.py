"""Suboptimal segments that people have marked: rows (episode, type, m, n) in a csv file beside a store."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np

from episodes.files import write_atomic
from episodes.returns import Float, annotated_return, oracle_return
from episodes.store_index import named
from episodes.types import SEGMENTS

KINDS = ("hesitation", "retry", "failure")
"""The types of a segment: WVM's two (section 4), and failure, from the frame of the error on."""
EXPERT = "expert"
"""The type of the one row, without m and n, of an episode that was looked at and has no segment."""
HEADER = ("episode", "type", "m", "n")
ANNOTATIONS = "annotations.csv"
"""Name of the file in a store's folder."""


@dataclass(frozen=True)
class Segment:
    """An interval [m, n] of frames (inclusive) without progress; `note` is for people and is not stored."""

    type: str
    m: int
    n: int
    note: str = ""

    def check(self, T: int) -> None:
        """Raise a ValueError unless the type is known and 0 < m < n < T - 1 for T frames (WVM appendix B).

        A failure may reach the last frame and be a single one.
        """
        if self.type not in KINDS:
            raise ValueError(f"segment type is {self.type!r}; choose {' or '.join(KINDS)}")
        if self.type == "failure":
            if not 0 <= self.m <= self.n < T:
                raise ValueError(f"failure [{self.m}, {self.n}] of {T} frames; it needs 0 <= m <= n < {T}")
        elif not 0 < self.m < self.n < T - 1:
            raise ValueError(f"segment [{self.m}, {self.n}] of {T} frames; it needs 0 < m < n < {T - 1}")


Annotations = dict[int, tuple[Segment, ...]]
"""Segments by episode_index, in order of m; an episode that was looked at and has none maps to ()."""


def read_annotations(path: str | Path) -> Annotations:
    """Read the csv; further columns are left to their owners.

    Errors: a missing file or column, or a row that is no segment, is a ValueError naming the file and line.
    """
    path = Path(path)
    found: dict[int, list[Segment]] = {}
    with named(path, "mend that line, or restore the file from a copy"):
        for number, row in enumerate(_rows(path)[1], 2):
            episode, kind, m, n = (row[name] for name in HEADER)
            if not episode.isdecimal():
                raise ValueError(f"line {number}: episode is {episode!r}, expected a number")
            segments = found.setdefault(int(episode), [])
            if kind == EXPERT:
                continue
            if kind not in KINDS or not (m.isdecimal() and n.isdecimal()) or not int(m) <= int(n):
                raise ValueError(f"line {number}: {kind},{m},{n} is no type,m,n with m <= n")
            segments.append(Segment(kind, int(m), int(n)))
    return {episode: tuple(sorted(s, key=lambda x: (x.m, x.n))) for episode, s in sorted(found.items())}


def write_annotations(path: str | Path, annotations: Mapping[int, Iterable[Segment]]) -> None:
    """Write the csv in one step, episodes in order; an episode keeps what further columns say of it."""
    names, old = _rows(Path(path)) if Path(path).exists() else (list(HEADER), [])
    more = {row["episode"]: row for row in reversed(old)}
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n", extrasaction="ignore", restval="")
    writer.writeheader()
    for episode in sorted(annotations):
        rows = [{"type": s.type, "m": s.m, "n": s.n} for s in sorted(annotations[episode], key=lambda s: (s.m, s.n))]
        for row in rows or [{"type": EXPERT, "m": "", "n": ""}]:
            writer.writerow(more.get(str(episode), {}) | {"episode": str(episode), **row})
    write_atomic(path, out.getvalue())


def _rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The column names and rows of the file, stripped of blanks."""
    reader = csv.DictReader(io.StringIO(path.read_text("utf-8")))
    names = list(reader.fieldnames or [])
    if missing := [name for name in HEADER if name not in names]:
        raise ValueError(f"it has no column {missing[0]!r}; its first line must name {','.join(HEADER)}")
    rows = []
    for number, row in enumerate(reader, 2):
        if None in row or None in row.values():
            raise ValueError(f"line {number} has another number of fields than the first line")
        rows.append({name: value.strip() for name, value in row.items()})
    return names, rows


def check_segments(segments: Iterable[Segment], T: int) -> None:
    """Raise a ValueError naming the first segment that lies outside its episode of T frames or overlaps another."""
    last = -1
    for segment in sorted(segments, key=lambda s: (s.m, s.n)):
        segment.check(T)
        if segment.m <= last:
            raise ValueError(f"segment [{segment.m}, {segment.n}] overlaps the one before; segments stand apart")
        last = segment.n


def truth_curve(segments: Iterable[Segment], T: int, retry_divisor: Literal["T-2x", "T-1-2x"] = "T-2x") -> Float:
    """The true progress of a successful video of T frames with marked segments, shape (T,), in [0, 1].

    One segment: `annotated_return` (WVM B.1-B.3). None: t / (T - 1). Several (ours): `oracle_return` of the labels.
    Errors: a segment that does not fit, or a failure (it has no end to measure progress by), is a ValueError.
    """
    marked = sorted(segments, key=lambda s: (s.m, s.n))
    check_segments(marked, T)
    if any(segment.type == "failure" for segment in marked):
        raise ValueError("truth_curve: a failure has no progress curve; use the simulator's progress")
    if len(marked) == 1:
        kind = cast(Literal["hesitation", "retry"], marked[0].type)
        return annotated_return(T, marked[0].m, marked[0].n, kind, retry_divisor)
    labels = np.full(T - 1, SEGMENTS.index("advance"))
    for segment in marked:
        labels[segment.m : segment.n] = SEGMENTS.index(segment.type)
    return oracle_return(labels, success=True)
