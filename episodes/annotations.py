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

KINDS = ("hesitation", "retry")
"""The types of a segment (WVM section 4)."""
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
        """Raise a ValueError unless the type is known and 0 < m < n < T - 1 for T frames (WVM appendix B)."""
        if self.type not in KINDS:
            raise ValueError(f"segment type is {self.type!r}; choose {' or '.join(KINDS)}")
        if not 0 < self.m < self.n < T - 1:
            raise ValueError(f"segment [{self.m}, {self.n}] of {T} frames; it needs 0 < m < n < {T - 1}")


Annotations = dict[int, tuple[Segment, ...]]
"""Segments by episode_index, in order of m; an episode that was looked at and has none maps to ()."""


def read_annotations(path: str | Path) -> Annotations:
    """Read the csv; a row with an empty type, m and n says that its episode was reviewed and has no segment.

    Errors: a missing file, another header, or a row that is no segment is a ValueError naming the file and line.
    """
    path = Path(path)
    found: dict[int, list[Segment]] = {}
    with named(path, "mend that line, or restore the file from a copy"):
        rows = list(csv.reader(io.StringIO(path.read_text("utf-8"))))
        if not rows or tuple(rows[0]) != HEADER:
            raise ValueError(f"its first line is not {','.join(HEADER)}")
        for number, row in enumerate(rows[1:], 2):
            if len(row) != len(HEADER):
                raise ValueError(f"line {number} has {len(row)} fields, expected {len(HEADER)}")
            if not row[0].isdecimal():
                raise ValueError(f"line {number}: episode is {row[0]!r}, expected a number")
            segments = found.setdefault(int(row[0]), [])
            if row[1:] == ["", "", ""]:
                continue
            if (
                row[1] not in KINDS
                or not (row[2].isdecimal() and row[3].isdecimal())
                or not 0 < int(row[2]) < int(row[3])
            ):
                raise ValueError(f"line {number}: {','.join(row[1:])} is no type,m,n with 0 < m < n")
            segments.append(Segment(row[1], int(row[2]), int(row[3])))
    return {episode: tuple(sorted(s, key=lambda x: (x.m, x.n))) for episode, s in sorted(found.items())}


def write_annotations(path: str | Path, annotations: Mapping[int, Iterable[Segment]]) -> None:
    """Write the csv in one step, episodes in order."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for episode in sorted(annotations):
        segments = sorted(annotations[episode], key=lambda s: (s.m, s.n))
        writer.writerows([(episode, s.type, s.m, s.n) for s in segments] or [(episode, "", "", "")])
    write_atomic(path, out.getvalue())


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

    One segment: `annotated_return` (WVM B.1-B.3). None: t / (T - 1). Several (ours): `oracle_return` of the
    labels.
    """
    marked = sorted(segments, key=lambda s: (s.m, s.n))
    check_segments(marked, T)
    if len(marked) == 1:
        kind = cast(Literal["hesitation", "retry"], marked[0].type)
        return annotated_return(T, marked[0].m, marked[0].n, kind, retry_divisor)
    labels = np.full(T - 1, SEGMENTS.index("advance"))
    for segment in marked:
        labels[segment.m : segment.n] = SEGMENTS.index(segment.type)
    return oracle_return(labels, success=True)
