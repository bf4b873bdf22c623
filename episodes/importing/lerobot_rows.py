"""Rows of one episode out of parquet files that may hold many, at most one row group of the file in memory besides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from episodes.importing.lerobot_meta import Source
from episodes.importing.reading import reading


class Rows:
    """Reads episodes one after the other; `columns` are needed, `optional` ones are read where a file has them."""

    def __init__(self, columns: Sequence[str], optional: Sequence[str]) -> None:
        self._columns, self._optional = ["episode_index", *columns], optional
        self._path: Path | None = None

    def read(self, source: Source) -> pa.Table:
        """The rows of one episode; a missing or damaged file, or other than `length` rows, is a ValueError."""
        with reading(source.data):
            if source.data != self._path:
                self._open(source.data)
            where = np.flatnonzero(self._episode == source.index)
            if len(where) != source.length or (len(where) and where[-1] - where[0] + 1 != len(where)):
                raise ValueError(
                    f"has {len(where)} rows of episode {source.index}, the episode index says {source.length}"
                )
            if not len(where):
                raise ValueError(f"episode {source.index} has no rows")
            first, last = np.searchsorted(self._ends, [where[0], where[-1]], side="right")
            start = self._ends[first - 1] if first else 0
            tables = [self._group(group) for group in range(first, last + 1)]
            return pa.concat_tables(tables).slice(where[0] - start, len(where))

    def _open(self, path: Path) -> None:
        self._path = None
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        if missing := [name for name in self._columns if name not in names]:
            raise KeyError(missing[0])
        self._file, self._cached = file, (-1, pa.table({}))
        self._wanted = [*self._columns, *(name for name in self._optional if name in names)]
        self._episode = file.read(["episode_index"])["episode_index"].to_numpy()
        self._ends = np.cumsum([file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)])
        self._path = path

    def _group(self, group: int) -> pa.Table:
        if self._cached[0] != group:
            self._cached = (group, self._file.read_row_group(group, self._wanted))
        return self._cached[1]


def vectors(table: pa.Table, name: str, width: int) -> npt.NDArray[np.float32]:
    """A column of vectors or, for width 1, of numbers: float32 (N, width); nulls come out as NaN."""
    column = table[name].combine_chunks()
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type) or pa.types.is_large_list(column.type):
        if pc.any(pc.not_equal(pc.fill_null(pc.list_value_length(column), -1), width)).as_py():
            raise ValueError(f"{name} has rows that are not {width} long, as info.json says")
        column = pc.list_flatten(column)
    elif width != 1:
        raise ValueError(f"{name} holds {column.type}, info.json says vectors of {width}")
    return _numbers(column, name).reshape(len(table), width)


def scalars(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """A column of numbers or of vectors of one: float64 (N,)."""
    column = table[name].combine_chunks()
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        column = pc.list_flatten(column)
    values = np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
    if values.shape != (len(table),):
        raise ValueError(f"{name} is not one number a row")
    return values


def pngs(table: pa.Table, name: str) -> list[Any]:
    """The encoded images of a column, as buffers; one that is not in the file is empty."""
    column = table[name].combine_chunks()
    if not pa.types.is_struct(column.type) or column.type.get_field_index("bytes") < 0:
        raise ValueError(f"{name} holds {column.type}, not encoded images")
    return [image.as_buffer() if image.is_valid else b"" for image in pc.struct_field(column, "bytes")]


def _numbers(column: Any, name: str) -> npt.NDArray[np.float32]:
    values = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name} holds {column.type}, not numbers")
    with np.errstate(over="ignore"):  # becomes infinite, which the store refuses by name
        numbers: npt.NDArray[np.float32] = values.astype(np.float32)
    return numbers
