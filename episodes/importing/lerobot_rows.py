"""Rows of one episode out of parquet files that may hold many, at most one row group of the file in memory besides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from episodes.importing.known import MOST
from episodes.importing.lerobot_meta import Source
from episodes.importing.reading import Fault, reading_source

PICTURES = 32  # encoded pictures that are read from a file together


class Rows:
    """Reads episodes one after the other; `columns` are needed, the others of plain numbers or texts come along."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = ["episode_index", *columns]
        self._path: Path | None = None

    def read(self, source: Source) -> pa.Table:
        """The rows of one episode without its pictures; a damaged file, or other than `length` rows, is an error."""
        with reading_source(source.data):
            groups, start = self._where(source)
            table = pa.concat_tables([self._group(group) for group in groups])
            return table.slice(start, source.length)

    def pictures(self, source: Source, key: str) -> Iterator[list[tuple[bytes, str]]]:
        """The encoded pictures of one episode in order, some at a time: (bytes, path), one of them empty."""
        with reading_source(source.data):
            groups, start = self._where(source)
            if key not in self._file.schema_arrow.names:
                raise KeyError(key)
            stop, at = start + source.length, 0
            for batch in self._file.iter_batches(PICTURES, row_groups=groups, columns=[key]):
                part = batch.slice(max(0, start - at), max(0, min(len(batch), stop - at) - max(0, start - at)))
                at += len(batch)
                if len(part):
                    yield _encoded(part.column(0), key)
                if at >= stop:
                    return

    def _where(self, source: Source) -> tuple[list[int], int]:
        """The row groups that hold an episode, and its first row in them."""
        if source.data != self._path:
            self._open(source.data)
        where = np.flatnonzero(self._episode == source.index)
        if len(where) != source.length or (len(where) and where[-1] - where[0] + 1 != len(where)):
            message = f"has {len(where)} rows of episode {source.index}, the episode index says {source.length}"
            raise Fault("rows", message)
        if not len(where):
            raise Fault("rows", f"episode {source.index} has no rows")
        first, last = (int(g) for g in np.searchsorted(self._ends, [where[0], where[-1]], side="right"))
        return list(range(first, last + 1)), int(where[0] - (self._ends[first - 1] if first else 0))

    def _open(self, path: Path) -> None:
        self._path = None
        file = pq.ParquetFile(path, buffer_size=2**20)
        schema = file.schema_arrow
        if missing := [name for name in self._columns if name not in schema.names]:
            raise KeyError(missing[0])
        self._file, self._cached = file, (-1, pa.table({}))
        self._wanted = [*self._columns, *(f.name for f in schema if _plain(f.type) and f.name not in self._columns)]
        self._episode = file.read(["episode_index"])["episode_index"].to_numpy()
        self._ends = np.cumsum([file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)])
        self._path = path

    def _group(self, group: int) -> pa.Table:
        if self._cached[0] != group:
            self._cached = (group, self._file.read_row_group(group, self._wanted))
        return self._cached[1]


def _plain(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    tests = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_string)
    return any(test(kind) for test in tests)


def _encoded(column: pa.Array, key: str) -> list[tuple[bytes, str]]:
    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return [(p.get("bytes") or b"", p.get("path") or "") if p else (b"", "") for p in column.to_pylist()]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [(value or b"", "") for value in column.to_pylist()]
    if pa.types.is_string(kind):
        return [(b"", value or "") for value in column.to_pylist()]
    raise Fault("codec", f"{key} holds {kind}, not encoded images")


def vectors(table: pa.Table, name: str, width: int) -> npt.NDArray[np.float32]:
    """A column of vectors or, for width 1, of numbers: float32 (N, width); nulls come out as NaN."""
    column = table[name].combine_chunks()
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type) or pa.types.is_large_list(column.type):
        if pc.any(pc.not_equal(pc.fill_null(pc.list_value_length(column), -1), width)).as_py():
            raise Fault("width", f"{name} has rows that are not {width} long, as info.json says")
        column = pc.list_flatten(column)
    elif width != 1:
        raise Fault("vector", f"{name} holds {column.type}, info.json says vectors of {width}")
    return _numbers(column, name).reshape(len(table), width)


def scalars(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """A column of numbers or of vectors of one: float64 (N,)."""
    column = table[name].combine_chunks()
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        column = pc.list_flatten(column)
    values = np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
    if values.shape != (len(table),):
        raise Fault("vector", f"{name} is not one number a row")
    return values


_UNITS = {"milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}


def require_clock(at: npt.NDArray[np.float64], fps: float, tolerance: float) -> None:
    """A Fault where timestamps (T,) in seconds lie further than a share of a frame from frame / fps; it says why."""
    frame = np.arange(len(at))
    away = np.abs(at * fps - frame)
    if (away <= tolerance + 1e-3).all():
        return
    if not (np.diff(at) > 0).all():
        raise Fault("clock", "timestamps do not rise from row to row")
    if (np.abs((at - at[0]) * fps - frame) <= tolerance).all():
        raise Fault("late", f"timestamps begin at {at[0]:g} s, not at 0")
    rate = (len(at) - 1) / (at[-1] - at[0])
    if (np.abs((at - at[0]) * rate - frame) <= tolerance).all():
        for unit, per_second in _UNITS.items():
            if abs(fps / rate / per_second - 1) < 0.01:
                raise Fault("unit", f"timestamps are in {unit}")
        if abs(at[0] * rate) <= tolerance:
            raise Fault("fps", f"timestamps run at {rate:.4g} Hz, info.json says {fps:g} fps")
    far = int(np.argmax(away))
    cause = "timestamps" if away[far] < MOST else "clock"
    raise Fault(cause, f"timestamps lie {away[far]:.3g} frames from frame_index / {fps:g} fps")


def _numbers(column: pa.Array, name: str) -> npt.NDArray[np.float32]:
    values = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "fiub":
        raise Fault("vector", f"{name} holds {column.type}, not numbers")
    with np.errstate(over="ignore"):  # becomes infinite, which the store refuses by name
        numbers: npt.NDArray[np.float32] = values.astype(np.float32)
    return numbers
