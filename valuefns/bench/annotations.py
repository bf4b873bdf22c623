"""What is known of an episode under test: its kind and its one suboptimal segment [m, n], and the truths they give."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from episodes.annotations import HEADER, Row, Segment, check_segments, read_rows, truth_curve
from episodes.files import write_atomic
from episodes.returns import oracle_return
from episodes.types import SEGMENTS, Episode
from valuefns.bench.metrics import runs

KINDS = ("hesitation", "retry", "expert", "failure")
Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Annotation:
    """One row of a benchmark: WVM's (type, m, n) of an episode of a store.

    m, n are the inclusive frames of the segment, 0 < m < n < T - 1; -1 for an expert. In a failure m is the frame of
    the error and n the last frame. `kind` is the column `type` of the csv file.
    """

    episode: int  # episode_index in the store
    kind: str
    m: int = -1
    n: int = -1
    task: str = ""  # episodes of one task are averaged first
    split: str = "test"
    group: str = ""  # finer than `kind`: retry_miss, drop, ...
    further: tuple[Segment, ...] = ()  # the episode's other segments

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Every segment of the episode, its own first; none of an expert."""
        own = () if self.kind == "expert" or self.m < 0 else (Segment(self.kind, self.m, self.n),)
        return own + self.further

    def require_within(self, T: int) -> None:
        """ValueError unless every segment lies in an episode of T frames and none overlaps another."""
        try:
            check_segments(self.segments, T)
            if self.kind != "failure":
                truth_curve(self.segments, T)
        except ValueError as error:
            raise ValueError(f"episode {self.episode}: {error}") from None


def annotate(
    episode: int, segments: npt.NDArray[np.int8], success: bool, group: str, task: str = "", split: str = "test"
) -> Annotation:
    """The annotation that the oracle's own labels (T,) give an episode of a group of the benchmark.

    Steps a..b of a mistake are frames m = a .. n = b + 1: the value stands or falls between those. ValueError, with a
    short reason, where the episode is not what its group promises: it is left out and counted.
    """
    present = {SEGMENTS[i]: runs(segments == i) for i in set(segments.tolist())}
    T = len(segments)
    failed = group in ("drop", "wrong_object")
    if success == failed:
        raise ValueError("succeeded" if success else "did not succeed")
    mistakes = [(name, run) for name, found in present.items() if name != "advance" for run in found]
    if group == "expert":
        if mistakes:
            raise ValueError(f"made a mistake ({mistakes[0][0]})")
        return Annotation(episode, "expert", task=task, split=split, group=group)
    kind = "failure" if failed else group
    if len(mistakes) != 1 or mistakes[0][0] != kind:
        names = ", ".join(name for name, _ in mistakes) or "none"
        raise ValueError(f"mistakes are {names}, not one {kind}")
    a, b = mistakes[0][1]
    made = Annotation(episode, kind, a, T - 1 if failed else b + 1, task, split, group)
    made.require_within(T)
    return made


def truths(episode: Episode, annotation: Annotation) -> dict[str, Float]:
    """Three truths of the T frames, in progress units, NaN where one is not defined.

    annotated: WVM's piecewise curve (experts: linear; several segments: `truth_curve`). oracle: the labels' progress.
    simulator: the environment's own staged progress. An annotation that does not fit the episode is a ValueError.
    """
    T = len(episode)
    annotation.require_within(T)
    unknown = np.full(T, np.nan)
    annotated = unknown if annotation.kind == "failure" else truth_curve(annotation.segments, T)
    try:
        oracle = oracle_return(episode.segments, episode.success)[:T]
    except ValueError:  # unlabelled
        oracle = unknown
    return {"annotated": annotated, "oracle": oracle, "simulator": episode.progress[:T].astype(np.float64)}


def write_csv(path: Path, annotations: Iterable[Annotation]) -> None:
    """Write annotations with the columns episode, type, m, n, task, split, group; a row per segment."""
    names = ("task", "split", "group")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((*HEADER, *names))
    for a in annotations:
        rest = [getattr(a, name) for name in names]
        writer.writerow((a.episode, a.kind, a.m, a.n, *rest))
        writer.writerows((a.episode, s.type, s.m, s.n, *rest) for s in a.further)
    write_atomic(path, out.getvalue())


def read_csv(path: Path, episodes: int) -> list[Annotation]:
    """Read a file of annotations, the review page's or one with the further columns task, split and group.

    An episode may have several segments, a row each; what further columns say is its first row's. Errors (ValueError,
    one line that names the file): those of `read_annotations`; an episode not among the store's `episodes`, or one
    that is both an expert and not. Whether a segment lies within its episode shows when the episode is scored.
    """
    _, rows = read_rows(path)
    if not rows:
        raise ValueError(f"{path}: no rows; annotate some episodes first")
    found: dict[int, list[Row]] = {}
    for row in rows:
        if not row.episode < episodes:
            raise ValueError(f"{path}: episode {row.episode} of {episodes}; count from 0")
        found.setdefault(row.episode, []).append(row)
    return [_annotation(path, episode, some) for episode, some in found.items()]


def _annotation(path: Path, episode: int, rows: list[Row]) -> Annotation:
    segments = sorted((r.segment for r in rows if r.segment is not None), key=lambda s: (s.m, s.n))
    if len(segments) < len(rows) > 1:
        raise ValueError(f"{path}: episode {episode} has {len(rows)} rows, and one of them says expert; keep one")
    more = rows[0].more
    about = {"task": more.get("task", ""), "split": more.get("split", "") or "test", "group": more.get("group", "")}
    if not segments:
        return Annotation(episode, "expert", **about)  # type: ignore[arg-type]
    failures = [s for s in segments if s.type == "failure"]
    first = failures[0] if failures else segments[0]  # a failure has no curve, whatever else happened in it
    further = tuple(s for s in segments if s is not first)
    return Annotation(episode, first.type, first.m, first.n, further=further, **about)  # type: ignore[arg-type]
