"""What the meta/ folder of a LeRobotDataset says, v2.0 / v2.1 and v3.0 alike (facts of the format; no code of theirs).

v2: meta/episodes.jsonl, meta/tasks.jsonl, one parquet and one mp4 per camera and episode; v3.0: meta/episodes/,
meta/tasks.parquet, files of several episodes, an episode's place in a video file given in seconds.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from episodes.importing.reading import (
    DatasetError,
    Fault,
    inside,
    read_json,
    read_json_lines,
    reading_source,
    whole,
    within,
)

VERSIONS = ("v2.0", "v2.1", "v3.0")
MOST_ROWS = 10**6
"""Of a table in meta/: a file of a megabyte can hold hundreds of millions of equal ones, and fill the memory."""


@dataclass(frozen=True)
class Source:
    """One episode's place: its rows in `data`, and per video key its file and the second it begins at.

    facts: what the episode index says of the episode beyond its place, by column (v3.0: one value an episode).
    """

    index: int
    length: int
    data: Path
    videos: dict[str, tuple[Path, float]]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Meta:
    """A dataset's metadata: features of info.json, instructions by task_index, episodes in order."""

    root: Path
    version: str
    fps: float
    robot: str
    features: dict[str, dict[str, Any]]
    tasks: dict[int, str]
    episodes: list[Source]


def read_meta(root: Path, images: Any) -> Meta:
    """Read meta/; `images(features)` chooses the image features, so that only their videos are looked for.

    Errors (ValueError): a missing or malformed file, a version other than VERSIONS, a path that leaves the folder.
    """
    path = root / "meta" / "info.json"
    if not path.exists():
        raise DatasetError(root, Fault("format", "not a LeRobotDataset (meta/info.json is missing)"))
    info = read_json(path, root)
    with reading_source(path):
        version = info.get("codebase_version")
        if version not in VERSIONS:
            newer = isinstance(version, str) and re.fullmatch(r"v\d+\.\d+", version) and version > VERSIONS[-1]
            cause = "newer" if newer else "version"
            raise Fault(cause, f"codebase_version {version!r} is not one of {', '.join(VERSIONS)}")
        features, fps = info["features"], info["fps"]
        if not isinstance(features, dict) or not all(isinstance(f, dict) and "dtype" in f for f in features.values()):
            raise Fault("metadata", "features are not a table of dtype and shape")
        if isinstance(fps, bool) or not isinstance(fps, (int, float)):
            raise Fault("metadata", f"fps is {fps!r}, not a number")
    videos = [key for key in images(features) if features[key]["dtype"] == "video"]
    if version == "v3.0":
        tasks, episodes = _tasks_v3(root), _episodes_v3(root, info, videos)
    else:
        tasks, episodes = _tasks_v2(root), _episodes_v2(root, info, videos)
    with reading_source(path):
        if whole(info.get("total_episodes", len(episodes)), "total_episodes") != len(episodes):
            raise Fault(
                "metadata", f"total_episodes is {info['total_episodes']}, the episode index has {len(episodes)}"
            )
        return Meta(root, version, float(fps), str(info.get("robot_type") or "unknown"), features, tasks, episodes)


def _tasks_v2(root: Path) -> dict[int, str]:
    path = root / "meta" / "tasks.jsonl"
    rows = read_json_lines(path, root)
    with reading_source(path):
        return {whole(row["task_index"], "task_index"): _text(row["task"]) for row in rows}


def _episodes_v2(root: Path, info: dict[str, Any], videos: list[str]) -> list[Source]:
    path = root / "meta" / "episodes.jsonl"
    rows = read_json_lines(path, root)
    with reading_source(root / "meta" / "info.json"):
        size = max(1, whole(info["chunks_size"], "chunks_size"))
        data = info["data_path"]
        video = info["video_path"] if videos else None
    sources = []
    for row in rows:
        with reading_source(path):
            i, length = whole(row["episode_index"], "episode_index"), whole(row["length"], "length")
        with reading_source(root / "meta" / "info.json"):
            place = {"episode_chunk": i // size, "episode_index": i}
            files = {key: (inside(root, video, video_key=key, **place), 0.0) for key in videos}
            own = ("episode_index", "length", "tasks")
            facts = {k: v for k, v in row.items() if k not in own and isinstance(v, (bool, int, float, str))}
            sources.append(Source(i, length, inside(root, data, **place), files, facts))
    return _ordered(sources, path)


def _tasks_v3(root: Path) -> dict[int, str]:
    path = root / "meta" / "tasks.parquet"
    with reading_source(path):
        table = _table(root, path).read()
        # the instruction is the data frame's index; its name depends on the version that wrote it
        names = [name for name in ("task", "__index_level_0__") if name in table.column_names]
        if not names:
            raise Fault("metadata", "has no column of instructions")
        indices = [whole(i, "task_index") for i in table["task_index"].to_pylist()]
        return dict(zip(indices, map(_text, table[names[0]].to_pylist()), strict=True))


def _episodes_v3(root: Path, info: dict[str, Any], videos: list[str]) -> list[Source]:
    columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    parts = ("chunk_index", "file_index", "from_timestamp")
    columns += [f"videos/{key}/{part}" for key in videos for part in parts]
    with reading_source(root / "meta" / "info.json"):
        data = info["data_path"]
        video = info["video_path"] if videos else None
    sources = []
    folder = root / "meta" / "episodes"
    for path in sorted(folder.glob("*/*.parquet")):
        if path.name.startswith("."):  # a file that somebody is writing
            continue
        with reading_source(path):
            file = _table(root, path)
            if missing := [name for name in columns if name not in file.schema_arrow.names]:
                raise KeyError(missing[0])
            more = [f.name for f in file.schema_arrow if "/" not in f.name and _plain(f.type) and f.name not in columns]
            for row in file.read([*columns, *more]).to_pylist():
                number = {part: whole(row[f"data/{part}"], part) for part in parts[:2]}
                files = {}
                for key in videos:
                    place = {part: whole(row[f"videos/{key}/{part}"], part) for part in parts[:2]}
                    start = float(row[f"videos/{key}/from_timestamp"])
                    files[key] = (inside(root, video, video_key=key, **place), start)
                index, length = whole(row["episode_index"], "episode_index"), whole(row["length"], "length")
                facts = {name: row[name] for name in more if row[name] is not None}
                sources.append(Source(index, length, inside(root, data, **number), files, facts))
    return _ordered(sources, folder)


def _table(root: Path, path: Path) -> pq.ParquetFile:
    """A table of meta/, opened; Fault: it has more rows than a dataset can need."""
    file = pq.ParquetFile(within(root, path))
    if file.metadata.num_rows > MOST_ROWS:
        raise Fault("metadata", f"has {file.metadata.num_rows} rows; at most {MOST_ROWS} are read")
    return file


def _plain(kind: pa.DataType) -> bool:
    tests = (
        pa.types.is_boolean,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_string,
        pa.types.is_large_string,
    )
    return any(test(kind) for test in tests)


def _ordered(sources: list[Source], path: Path) -> list[Source]:
    with reading_source(path):
        if not sources:
            raise Fault("no_episodes", "lists no episodes")
        for previous, source in itertools.pairwise(sources):
            if source.index <= previous.index:
                raise Fault("metadata", f"episode {source.index} follows {previous.index}: the index is not in order")
    return sources


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Fault("metadata", f"instruction {value!r} is not a text")
    return value
