"""What is known of an episode under test: its kind and its one suboptimal segment [m, n], and the truths they give."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from episodes.files import one_line, write_atomic
from episodes.returns import annotated_return, oracle_return, progress_return
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

    def require_within(self, T: int) -> None:
        """ValueError unless the segment lies in an episode of T frames and has a truth."""
        if self.kind in ("hesitation", "retry"):
            try:
                annotated_return(T, self.m, self.n, self.kind)  # type: ignore[arg-type]
            except ValueError as error:
                raise ValueError(f"episode {self.episode}: {error}") from None
        elif self.kind == "failure" and self.m >= 0 and not self.m < T:
            raise ValueError(f"episode {self.episode}: failure at frame {self.m} of {T} frames; correct m")


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

    annotated: WVM's piecewise curve (experts: linear). oracle: the labels' progress. simulator: the environment's own
    staged progress. An annotation that does not fit the episode is a ValueError.
    """
    T = len(episode)
    annotation.require_within(T)
    unknown = np.full(T, np.nan)
    annotated = unknown
    if annotation.kind == "expert":
        annotated = progress_return(T)
    elif annotation.kind in ("hesitation", "retry"):
        annotated = annotated_return(T, annotation.m, annotation.n, annotation.kind)  # type: ignore[arg-type]
    try:
        oracle = oracle_return(episode.segments, episode.success)[:T]
    except ValueError:  # unlabelled
        oracle = unknown
    return {"annotated": annotated, "oracle": oracle, "simulator": episode.progress[:T].astype(np.float64)}


_COLUMNS = ("episode", "type", "m", "n")


def write_csv(path: Path, annotations: Iterable[Annotation]) -> None:
    """Write annotations with the columns episode, type, m, n, task, split, group."""
    names = [f.name for f in fields(Annotation)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow("type" if name == "kind" else name for name in names)
    writer.writerows(asdict(a).values() for a in annotations)
    write_atomic(path, out.getvalue())


def read_csv(path: Path, episodes: int) -> list[Annotation]:
    """Read a file of annotations: columns episode, type (hesitation, retry, expert, failure), m, n; task, split, group.

    m and n may be empty for experts and failures. Errors (ValueError, one line that names the file and the row): a
    missing column, an unknown type, an episode not among the store's `episodes`, one named twice, no whole number.
    Whether a segment lies within its episode shows when the episode is scored.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(one_line(f"{path}: cannot be read ({error}); give a csv of episode,type,m,n")) from None
    if not rows or any(name not in rows[0] for name in _COLUMNS):
        missing = [name for name in _COLUMNS if not rows or name not in rows[0]]
        raise ValueError(f"{path}: no column {missing[0]!r} or no rows; its first line must name episode,type,m,n")
    out: dict[int, Annotation] = {}
    for line, row in enumerate(rows, 2):
        kind = (row["type"] or "").strip()
        if kind not in KINDS:
            raise ValueError(one_line(f"{path}: line {line}: type is {kind!r}; use one of {', '.join(KINDS)}"))
        numbers = {name: _whole(row[name], name, kind, f"{path}: line {line}") for name in ("episode", "m", "n")}
        if not 0 <= numbers["episode"] < episodes:
            raise ValueError(f"{path}: line {line}: episode {numbers['episode']} of {episodes}; count from 0")
        if numbers["episode"] in out:
            raise ValueError(f"{path}: line {line}: episode {numbers['episode']} is annotated twice; keep one row")
        rest = {name: (row.get(name) or "").strip() for name in ("task", "split", "group")}
        rest["split"] = rest["split"] or "test"
        out[numbers["episode"]] = Annotation(kind=kind, **numbers, **rest)  # type: ignore[arg-type]
    return list(out.values())


def _whole(text: str | None, name: str, kind: str, where: str) -> int:
    text = (text or "").strip()
    if not text and name != "episode" and kind in ("expert", "failure"):
        return -1
    try:
        return int(text)
    except ValueError:
        raise ValueError(one_line(f"{where}: {name} is {text!r}; give a whole number")) from None
