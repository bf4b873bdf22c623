"""The episode index: one row per episode, what a row says, and reading the rows back with every doubt named."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from episodes import lerobot_layout as layout
from episodes.files import one_line, refuse_special
from episodes.frames import blocks
from episodes.types import EnvSpec, Episode

PROVENANCE = ("env_id", "seed", "source", "variant", "policy", "iteration")
_SUM = b"foresight.rows_sha256"  # Parquet's own checksums leave its footer out
Row = dict[str, Any]


class named:
    """Turns whatever goes wrong while reading a file into one ValueError line that names the file and the way out."""

    def __init__(self, path: Path, remedy: str = "restore the file from a copy or record the episodes again") -> None:
        self.path, self.remedy = path, remedy

    def __enter__(self) -> None:
        try:
            refuse_special(self.path)
        except (OSError, ValueError) as error:
            self.__exit__(None, error, None)

    def __exit__(self, kind: Any, error: Any, _: Any) -> None:
        # A damaged file can make its parser raise anything; being short of memory is not the file's fault.
        if isinstance(error, Exception) and (
            not isinstance(error, MemoryError) or isinstance(error, pa.ArrowException)
        ):
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(one_line(f"{self.path}: {line}; {self.remedy}")) from error


def read_index(root: Path, spec: EnvSpec, encoding: str = "png") -> list[Row]:
    """All index rows in episode order; `group` is the episode's place among those of its files."""
    schema = layout.index_schema(spec, encoding)
    rows: list[Row] = []
    files = root.glob(str(Path(layout.EPISODES_PATH).parent.parent / "*" / "file-*.parquet"))
    for file in sorted(files, key=layout.file_number):
        with named(file):
            table = pq.read_table(file, page_checksum_verification=True)
            if not table.schema.equals(schema):
                raise ValueError("its columns are not those of an episode index")
            saved = (table.schema.metadata or {}).get(_SUM)
            if saved is not None and saved.decode() != _rows_sha256(table):
                raise ValueError("its rows are not those that were written: the file was changed or damaged")
            for group, row in enumerate(table.to_pylist()):
                if row["episode_index"] != len(rows) or file_of(row) != layout.file_number(file):
                    raise ValueError(
                        f"episode {row['episode_index']} follows {len(rows) - 1}: a file is missing or renamed"
                    )
                _check_row(row, rows[-1]["dataset_to_index"] if rows else 0, spec)
                rows.append(row | {"group": group})
    return rows


def _check_row(row: Row, start: int, spec: EnvSpec) -> None:
    what = f"episode {row['episode_index']}"
    empty = [name for name, value in row.items() if value is None]
    if empty:
        raise ValueError(f"{what} has no {empty[0]}")
    if row["length"] < 1 or (row["dataset_from_index"], row["dataset_to_index"]) != (start, start + row["length"]):
        raise ValueError(f"{what} has {row['length']} steps, which do not follow those of the episode before")
    if len(row["tasks"]) != 1 or row["tasks"][0] is None:
        raise ValueError(f"{what} has instructions {row['tasks']}, expected one")
    if row["hz"] != spec.hz:
        raise ValueError(f"{what} was recorded at {row['hz']} Hz, the store's EnvSpec says {spec.hz} Hz")
    for name in (name for name in row if name.endswith("sha256")):
        if not re.fullmatch("[0-9a-f]{64}", row[name]):
            raise ValueError(f"{what}: {name} is not a SHA-256")


def index_table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    """The rows of one append as the table of an index file."""
    table = pa.Table.from_pylist(rows, schema)
    return table.replace_schema_metadata({_SUM: _rows_sha256(table)})


def _rows_sha256(table: pa.Table) -> str:
    return hashlib.sha256(json.dumps(table.to_pylist(), sort_keys=True).encode()).hexdigest()


def file_of(row: Row) -> int:
    """The number of the data file that holds an episode."""
    return int(row["data/chunk_index"] * layout.CHUNK + row["data/file_index"])


def instructions(rows: list[Row]) -> list[str]:
    """Instructions in the order of their first episode; the position is the task_index."""
    return list(dict.fromkeys(row["tasks"][0] for row in rows))


def index_row(episode: Episode, content_sha256: str, i: int, number: int, previous: Row | None) -> Row:
    """The row of the i-th episode, in file `number`; the checksums of its files come with the commit."""
    start = previous["dataset_to_index"] if previous else 0
    chunk, file = divmod(number, layout.CHUNK)
    group = previous["group"] + 1 if previous and file_of(previous) == number else 0
    provenance = {k: getattr(episode.provenance, k) for k in PROVENANCE}
    return {
        "episode_index": i,
        "tasks": [episode.instruction],
        "length": len(episode),
        "dataset_from_index": start,
        "dataset_to_index": start + len(episode),
        "data/chunk_index": chunk,
        "data/file_index": file,
        "meta/episodes/chunk_index": chunk,
        "meta/episodes/file_index": file,
        "success": bool(episode.success),
        **provenance,
        "hz": float(episode.hz),
        "extra": json.dumps(episode.extra),
        "content_sha256": content_sha256,
        "group": group,
    }


def begin_content(episode: Episode) -> Any:
    """The SHA-256 of an episode's content, begun with its facts; pictures come next, in the spec's camera order."""
    facts = [episode.instruction, bool(episode.success), float(episode.hz)]
    facts += [getattr(episode.provenance, k) for k in PROVENANCE]
    return hashlib.sha256(json.dumps(facts).encode())


def end_content(digest: Any, episode: Episode) -> str:
    """The digest with everything else of the episode, in hexadecimal."""
    arrays: list[npt.NDArray[Any]] = [episode.proprio, episode.actions, episode.rewards, episode.terminated]
    arrays += [episode.truncated, episode.segments, episode.progress, episode.intervention]
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return str(digest.hexdigest())


def content_sha256(episode: Episode, spec: EnvSpec) -> str:
    """The hexadecimal SHA-256 of an episode's content."""
    digest = begin_content(episode)
    for camera in spec.cameras:
        pictures = episode.images[camera]
        digest.update(f"{pictures.dtype}{pictures.shape}".encode())
        for block in blocks(pictures):
            digest.update(np.ascontiguousarray(block).data)
    return end_content(digest, episode)
