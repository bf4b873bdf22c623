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
UNKNOWN = (-1, -1)
"""Frames of a failure whose beginning nobody has marked; empty in the file."""
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

        A failure may reach the last frame and be a single one, or -1, -1: nobody has said where it went wrong.
        """
        if self.type not in KINDS:
            raise ValueError(f"segment type is {self.type!r}; choose {' or '.join(KINDS)}")
        if self.type == "failure":
            if not 0 <= self.m <= self.n < T and (self.m, self.n) != UNKNOWN:
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
    for row in read_rows(path)[1]:
        segments = found.setdefault(row.episode, [])
        if row.segment is not None:
            segments.append(row.segment)
    return {episode: tuple(sorted(s, key=lambda x: (x.m, x.n))) for episode, s in sorted(found.items())}


@dataclass(frozen=True)
class Row:
    """A line of the file: an episode, its segment (None: it has none), and what further columns say."""

    episode: int
    segment: Segment | None
    more: dict[str, str]


def read_rows(path: str | Path) -> tuple[list[str], list[Row]]:
    """The names of the columns and every line of the file, for all that read it; errors as of `read_annotations`."""
    rows = []
    with named(Path(path), "correct that line, or restore the file from a copy"):
        names, lines = _lines(Path(path))
        for number, line in enumerate(lines, 2):
            episode, kind, m, n = (line[name] for name in HEADER)
            if not episode.isdecimal():
                raise ValueError(f"line {number}: episode is {episode!r}, expected a number")
            if kind == "failure" and (m, n) in (("", ""), ("-1", "-1")):
                segment: Segment | None = Segment(kind, *UNKNOWN)
            elif kind == EXPERT:
                segment = None
            elif kind in KINDS and m.isdecimal() and n.isdecimal() and int(m) <= int(n):
                segment = Segment(kind, int(m), int(n))
            else:
                raise ValueError(f"line {number}: {kind},{m},{n} is no type,m,n with m <= n")
            rows.append(Row(int(episode), segment, {k: v for k, v in line.items() if k not in HEADER}))
    return names, rows


def write_annotations(path: str | Path, annotations: Mapping[int, Iterable[Segment]]) -> None:
    """Write the csv in one step, episodes in order; an episode keeps what further columns say of it."""
    names, old = read_rows(path) if Path(path).exists() else (list(HEADER), [])
    more = {row.episode: row.more for row in reversed(old)}
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n", extrasaction="ignore", restval="")
    writer.writeheader()
    for episode in sorted(annotations):
        marked = sorted(annotations[episode], key=lambda s: (s.m, s.n))
        rows: list[tuple[str, int | str, int | str]]
        rows = [(s.type, "", "") if (s.m, s.n) == UNKNOWN else (s.type, s.m, s.n) for s in marked]
        for row in rows or [(EXPERT, "", "")]:
            writer.writerow(more.get(episode, {}) | dict(zip(HEADER, (episode, *row), strict=True)))
    write_atomic(path, out.getvalue())


def _lines(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The column names and lines of the file, stripped of blanks."""
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
