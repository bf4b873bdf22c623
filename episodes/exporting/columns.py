"""A LeRobotDataset v3.0 with further declared columns: a new folder, or the same one exchanged in one step."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from episodes.exporting.rows import Column, RowLabels, data_files, dataset_info
from episodes.files import atomic_folder, copy_folder, move_up, sync, write_atomic
from episodes.lerobot_layout import HEADER_PATH, INFO_PATH, STATS_PATH
from episodes.lerobot_stats import number_stats, write_stats
from episodes.store_index import named

OURS = ("foresight", "labels")
"""Folders of a store that are no part of a LeRobotDataset: with other columns its header would be wrong."""


def write_columns(rows: RowLabels, root: Path, target: Path, prefix: str = "") -> None:
    """Write the dataset in `root` with the columns of `rows` to the new folder `target`, whole or not at all.

    The columns are declared in meta/info.json as `<prefix>value`, ... of shape [1], and have statistics (NaN left out).
    Errors (ValueError): a target that exists, a column that the dataset has already.
    """
    require_new_columns(root, rows, prefix)
    with atomic_folder(target) as beside:
        fill(rows, root, beside, prefix, link=False)


def exchange_columns(rows: RowLabels, root: Path, prefix: str = "") -> None:
    """The same in `root` itself: the new dataset is made beside it and takes its place in one rename.

    A reader that has files open keeps the old ones. Errors (ValueError): a disk that cannot exchange two folders.
    """
    if (root / HEADER_PATH).exists():
        raise ValueError(f"{root}: an episode store's data never changes; write a new folder: target=FOLDER")
    require_new_columns(root, rows, prefix)
    beside = root.with_name(f".{root.name}.with-labels")  # one name: what a stopped command left is made anew
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with atomic_folder(beside) as made:
            fill(rows, root, made, prefix, link=True)
        exchange(beside, root)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def require_new_columns(root: Path, rows: RowLabels, prefix: str) -> None:
    """A ValueError where the dataset has one of the columns already."""
    features = dataset_info(root)["features"]
    if there := [name for name in rows.columns if f"{prefix}{name}" in features]:
        raise ValueError(f"{root}: has a column {prefix}{there[0]} already; write others beside it with prefix=NAME_")


def fill(rows: RowLabels, root: Path, folder: Path, prefix: str, link: bool) -> None:
    """Fill a folder with the dataset and the columns; link: unchanged files as hard links."""
    replaced = {path.relative_to(root) for path in data_files(root)}
    columns = {f"{prefix}{name}": column for name, column in rows.columns.items()}
    own = (root / HEADER_PATH).exists()
    inner = folder / "dataset"
    copy_folder(root, inner, link=link, leave_out=("*.lock", "lock"))
    if own and not (inner / STATS_PATH).exists():
        write_stats(inner)
    start = 0
    for path in sorted(replaced):
        (inner / path).unlink()  # a hard link is not written through
        start += _rewrite(root / path, inner / path, columns, start)
    _declare(inner, columns)
    for name in OURS if own else ():
        shutil.rmtree(inner / name, ignore_errors=True)
    move_up(inner)


def _rewrite(source: Path, target: Path, columns: dict[str, Column], start: int) -> int:
    """Copy a data file with the columns' rows from `start` on, row group by row group; its number of rows."""
    with named(source, "name a whole LeRobotDataset"):
        file = pq.ParquetFile(source)
        schema = file.schema_arrow
        for name, column in columns.items():
            schema = schema.append(pa.field(name, pa.from_numpy_dtype(column.dtype)))
        schema = schema.with_metadata(_described(file.schema_arrow.metadata, columns))
        at = start
        with pq.ParquetWriter(target, schema, compression="snappy") as writer:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                arrays = [c.combine_chunks() if c.num_chunks != 1 else c.chunk(0) for c in table.columns]
                new = [pa.array(c[at : at + len(table)], from_pandas=False) for c in columns.values()]
                writer.write_table(pa.Table.from_arrays([*arrays, *new], schema=schema), row_group_size=len(table))
                at += len(table)
    sync(target)
    return at - start


def _described(metadata: dict[bytes, bytes] | None, columns: dict[str, Column]) -> dict[bytes, bytes] | None:
    """The metadata of a file that `datasets` wrote, which lists every column, with the new ones."""
    if not metadata or b"huggingface" not in metadata:
        return metadata
    described = json.loads(metadata[b"huggingface"])
    features = described.get("info", {}).get("features")
    if isinstance(features, dict):
        features |= {name: {"dtype": str(column.dtype), "_type": "Value"} for name, column in columns.items()}
    return metadata | {b"huggingface": json.dumps(described).encode()}


def _declare(folder: Path, columns: dict[str, Column]) -> None:
    info = dataset_info(folder)
    info["features"] |= {n: {"dtype": str(c.dtype), "shape": [1], "names": None} for n, c in columns.items()}
    path = folder / STATS_PATH
    if path.exists():
        with named(path, "compute the dataset's statistics again"):
            stats: dict[str, Any] = json.loads(path.read_bytes())
        new = {name: number_stats(column.reshape(-1, 1)) for name, column in columns.items()}
        write_atomic(path, json.dumps(stats | {k: v for k, v in new.items() if v}, indent=4) + "\n")
    write_atomic(folder / INFO_PATH, json.dumps(info, indent=4) + "\n")


def exchange(one: Path, other: Path, call: Callable[..., int] | None = None) -> None:
    """Exchange two folders in one step (renameat2 with RENAME_EXCHANGE); a disk that cannot is a ValueError."""
    if call is None:
        call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    at, flag = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    code = errno.ENOSYS
    if call is not None:
        if call(at, os.fsencode(one), at, os.fsencode(other), flag) == 0:
            sync(other.parent)
            return
        code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        raise ValueError(f"{other}: this disk cannot exchange two folders in one step; write a new one: target=FOLDER")
    raise ValueError(f"{other}: cannot be replaced ({os.strerror(code)}); write a new folder: target=FOLDER")
