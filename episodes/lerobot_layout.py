"""Where things are in a LeRobotDataset v3.0 folder, and what its files say (facts of the format; no code of theirs).

meta/info.json, meta/tasks.parquet, meta/episodes/chunk-000/file-000.parquet, data/chunk-000/file-000.parquet; one row
of a data file is one step. Ours beside it: foresight/header.json (format version, EnvSpec) and foresight/final/ (the
final observation of every episode, which the format has no place for).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from episodes.frames import block_length, fitted, fitted_facts
from episodes.images import decode_pngs
from episodes.types import SEGMENTS, EnvSpec, Episode, Provenance
from episodes.video import all_frames

CODEBASE_VERSION = "v3.0"
CHUNK = 1000  # files per chunk folder
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
VIDEO_COLUMNS = ("chunk_index", "file_index", "from_timestamp", "to_timestamp", "sha256")
ENCODINGS = ("png", "mp4 lossless", "mp4")
FINAL_PATH = "foresight/final/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
INFO_PATH = "meta/info.json"
TASKS_PATH = "meta/tasks.parquet"
STATS_PATH = "meta/stats.json"
HEADER_PATH = "foresight/header.json"
LOCK_PATH = "foresight/writer.lock"

_NUMPY: dict[Any, Any] = {pa.float32(): np.float32, pa.int8(): np.int8, pa.int64(): np.int64, pa.bool_(): np.bool_}
_PNG = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def file_path(root: Path, pattern: str, number: int) -> Path:
    """The path of file `number`, counted through all chunks."""
    return root / pattern.format(chunk_index=number // CHUNK, file_index=number % CHUNK)


def file_number(path: Path) -> int:
    """The inverse of `file_path`; -1 for a name that is not of the layout."""
    chunk, file = path.parent.name.removeprefix("chunk-"), path.stem.removeprefix("file-")
    return int(chunk) * CHUNK + int(file) if chunk.isdecimal() and file.isdecimal() else -1


def image_key(camera: str) -> str:
    """The feature name of a camera's pictures."""
    return f"observation.images.{camera}"


def video_path(root: Path, camera: str, number: int) -> Path:
    """The video of one camera in episode `number`."""
    chunk, file = divmod(number, CHUNK)
    return root / VIDEO_PATH.format(video_key=image_key(camera), chunk_index=chunk, file_index=file)


def features(spec: EnvSpec, encoding: str = "png") -> dict[str, dict[str, Any]]:
    """The `features` of info.json: one entry per column of the data files, in their order, and per video."""

    def one(dtype: str) -> dict[str, Any]:
        return {"dtype": dtype, "shape": [1], "names": None}

    def vector(names: Sequence[str]) -> dict[str, Any]:
        return {"dtype": "float32", "shape": [len(names)], "names": list(names)}

    image: dict[str, Any] = {"dtype": "image", "shape": [*spec.image_size, 3]}
    image["names"] = ["height", "width", "channels"]
    if encoding != "png":
        image["dtype"] = "video"
        image["info"] = {"video.fps": spec.hz, "video.codec": "h264", "video.is_depth_map": False, "has_audio": False}
    return {
        **{image_key(camera): dict(image) for camera in spec.cameras},
        "observation.state": vector(spec.proprio_names),
        "action": vector(spec.action_names),
        "next.reward": one("float32"),
        "next.done": one("bool"),  # terminated: the task ended here, by success or failure
        "next.truncated": one("bool"),  # the time limit ended it
        "next.success": one("bool"),
        "segment": one("int8"),  # index into SEGMENTS
        "progress": one("float32"),
        "intervention": one("bool"),
        "timestamp": one("float32"),  # seconds
        "frame_index": one("int64"),
        "episode_index": one("int64"),
        "index": one("int64"),  # of the step in the whole dataset
        "task_index": one("int64"),
    }


def data_schema(spec: EnvSpec, encoding: str = "png") -> pa.Schema:
    """The columns of a data file: one row per step."""
    fields = []
    for name, feature in features(spec, encoding).items():
        if feature["dtype"] == "video":  # lies in a file of its own
            continue
        if feature["dtype"] == "image":
            kind = _PNG
        elif name in ("observation.state", "action"):
            kind = pa.list_(pa.float32(), feature["shape"][0])
        else:
            kind = pa.bool_() if feature["dtype"] == "bool" else getattr(pa, feature["dtype"])()
        fields.append(pa.field(name, kind))
    return pa.schema(fields)


def final_schema(spec: EnvSpec, encoding: str = "png") -> pa.Schema:
    """The columns of the final observations: one row per episode."""
    schema = data_schema(spec, encoding)
    pictures = map(image_key, spec.cameras) if encoding == "png" else ()
    return pa.schema([schema.field(name) for name in (*pictures, "observation.state", "progress", "episode_index")])


def index_schema(spec: EnvSpec, encoding: str = "png") -> pa.Schema:
    """The columns of the episode index; a store of videos also says where they are and what they hold."""
    kinds = dict(zip(VIDEO_COLUMNS, (pa.int64(), pa.int64(), pa.float64(), pa.float64(), pa.string()), strict=True))
    cameras = spec.cameras if encoding != "png" else ()
    more = [pa.field(f"videos/{image_key(c)}/{name}", kind) for c in cameras for name, kind in kinds.items()]
    return pa.schema([*INDEX_SCHEMA, *more])


INDEX_SCHEMA = pa.schema(
    [
        ("episode_index", pa.int64()),
        ("tasks", pa.list_(pa.string())),
        ("length", pa.int64()),
        ("dataset_from_index", pa.int64()),
        ("dataset_to_index", pa.int64()),
        ("data/chunk_index", pa.int64()),
        ("data/file_index", pa.int64()),
        ("meta/episodes/chunk_index", pa.int64()),
        ("meta/episodes/file_index", pa.int64()),
        ("success", pa.bool_()),
        ("env_id", pa.string()),
        ("seed", pa.int64()),
        ("source", pa.string()),
        ("variant", pa.string()),
        ("policy", pa.string()),
        ("iteration", pa.int64()),
        ("hz", pa.float64()),
        ("extra", pa.string()),  # JSON
        ("data_sha256", pa.string()),
        ("final_sha256", pa.string()),
        ("content_sha256", pa.string()),
    ]
)


def _pngs(pngs: Sequence[bytes]) -> pa.Array:
    data = pa.array(pngs, pa.binary())
    return pa.StructArray.from_arrays([data, pa.nulls(len(pngs), pa.string())], fields=list(_PNG))


def _vectors(values: Any) -> pa.Array:
    values = np.ascontiguousarray(values, np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def data_table(
    episode: Episode,
    pngs: Mapping[str, Sequence[bytes]],
    spec: EnvSpec,
    facts: tuple[int, int, int],
    start: int,
    stop: int,
) -> pa.Table:
    """The rows start..stop of one episode; `facts`: its index, the dataset-wide index of its first step, its task.

    pngs: its encoded pictures of these rows by camera; none where they lie in videos.
    """
    episode_index, first, task_index = facts
    part, n = slice(start, stop), stop - start
    steps = np.arange(start, stop)
    columns: dict[str, Any] = {image_key(camera): _pngs(data) for camera, data in pngs.items()}
    columns |= {
        "observation.state": _vectors(episode.proprio[part]),
        "action": _vectors(episode.actions[part]),
        "next.reward": episode.rewards[part],
        "next.done": episode.terminated[part],
        "next.truncated": episode.truncated[part],
        "next.success": (steps == len(episode) - 1) & episode.success,
        "segment": episode.segments[part],
        "progress": episode.progress[part],
        "intervention": episode.intervention[part],
        "timestamp": steps / spec.hz,
        "frame_index": steps,
        "episode_index": np.full(n, episode_index),
        "index": first + steps,
        "task_index": np.full(n, task_index),
    }
    return _table(columns, data_schema(spec, "png" if pngs or not spec.cameras else "mp4"))


def final_table(episode: Episode, pngs: Mapping[str, Sequence[bytes]], spec: EnvSpec, episode_index: int) -> pa.Table:
    """The final observation of one episode, one row."""
    columns: dict[str, Any] = {image_key(camera): _pngs(data) for camera, data in pngs.items()}
    columns |= {
        "observation.state": _vectors(episode.proprio[-1:]),
        "progress": episode.progress[-1:],
        "episode_index": np.array([episode_index]),
    }
    return _table(columns, final_schema(spec, "png" if pngs or not spec.cameras else "mp4"))


def _table(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    arrays = []
    for field in schema:
        values = columns[field.name]
        if not isinstance(values, pa.Array):
            # from_pandas=False keeps NaN (an unknown progress) a NaN, not a null.
            values = pa.array(np.asarray(values, _NUMPY[field.type]), field.type, from_pandas=False)
        arrays.append(values)
    return pa.Table.from_arrays(arrays, schema=schema)


def read_episode(
    data: pa.Table,
    final: pa.Table,
    row: dict[str, Any],
    spec: EnvSpec,
    videos: dict[str, Path] | None = None,
    into: tuple[int, int] | None = None,
) -> Episode:
    """The episode of one index row from its T data rows and its final row; malformed content is a ValueError.

    videos: the file of every camera, where pictures are not in the rows. into: the size (H, W) they are fitted to.
    """
    encoding = "png" if videos is None else "mp4"
    into = into or spec.image_size
    for table, schema in ((data, data_schema(spec, encoding)), (final, final_schema(spec, encoding))):
        if not table.schema.equals(schema):
            raise ValueError(f"columns {table.schema.names} are not those of the store's EnvSpec")
    T = row["length"]
    if len(data) != T or len(final) != 1:
        raise ValueError(f"episode {row['episode_index']} has {len(data)} + {len(final)} rows, its index says {T} + 1")
    if set(data["episode_index"].to_pylist()) | set(final["episode_index"].to_pylist()) != {row["episode_index"]}:
        raise ValueError(f"the rows of episode {row['episode_index']} belong to another episode")
    images = {}
    for camera in spec.cameras:
        frames = images[camera] = np.empty((T + 1, *into, 3), np.uint8)
        if videos is None:
            pngs = [png for table in (data, final) for png in _field(table[image_key(camera)], "bytes")]
            _decode([png.as_buffer() if png.is_valid else b"" for png in pngs], frames, spec.image_size)
        else:
            _fill(all_frames(videos[camera], spec.image_size), frames)
    extra = json.loads(row["extra"])
    if into != spec.image_size:
        extra["resized_at_reading"] = fitted_facts(spec.image_size, into)

    def plain(table: pa.Table, name: str) -> Any:
        return table[name].to_numpy()

    def vectors(table: pa.Table, name: str, width: int) -> Any:
        return table[name].combine_chunks().flatten().to_numpy().reshape(-1, width)

    segments = plain(data, "segment")
    if segments.min() < 0 or segments.max() >= len(SEGMENTS):
        raise ValueError(f"segment labels {sorted(set(segments.tolist()))} are not all in 0..{len(SEGMENTS) - 1}")
    P, A = spec.proprio_dim, spec.action_dim
    return Episode(
        images=images,
        proprio=np.concatenate([vectors(table, "observation.state", P) for table in (data, final)]),
        actions=vectors(data, "action", A).copy(),
        rewards=plain(data, "next.reward").copy(),
        terminated=plain(data, "next.done").copy(),
        truncated=plain(data, "next.truncated").copy(),
        success=row["success"],
        segments=segments.copy(),
        progress=np.concatenate([plain(table, "progress") for table in (data, final)]),
        intervention=plain(data, "intervention").copy(),
        instruction=row["tasks"][0],
        provenance=Provenance(**{k: row[k] for k in ("env_id", "seed", "source", "variant", "policy", "iteration")}),
        hz=row["hz"],
        extra=extra,
    )


def _decode(pngs: list[Any], out: Any, size: tuple[int, int]) -> None:
    """Decode PNGs of `size` into out (N, H, W, 3), fitted to its size block by block where that is another."""
    if out.shape[1:3] == size:
        decode_pngs(pngs, out)
        return
    step = block_length(*size)
    for start in range(0, len(pngs), step):
        block = np.empty((len(pngs[start : start + step]), *size, 3), np.uint8)
        decode_pngs(pngs[start : start + step], block)
        out[start : start + step] = fitted(block, out.shape[1:3])


def _fill(drawn: Iterator[Any], out: Any) -> None:
    at = 0
    for block in drawn:
        if at + len(block) > len(out):
            raise ValueError(f"a video has more than the episode's {len(out)} frames")
        out[at : at + len(block)] = fitted(block, out.shape[1:3])
        at += len(block)
    if at < len(out):
        raise ValueError(f"a video has {at} frames, the episode {len(out)}")


def _field(column: pa.ChunkedArray, name: str) -> pa.Array:
    return column.combine_chunks().field(name)


def tasks_table(tasks: Sequence[str]) -> pa.Table:
    """meta/tasks.parquet: task_index by instruction, with the pandas metadata that makes `task` the index."""

    def described(name: str, pandas_type: str, numpy_type: str) -> dict[str, Any]:
        kinds = {"pandas_type": pandas_type, "numpy_type": numpy_type}
        return {"name": name, "field_name": name, **kinds, "metadata": None}

    pandas = {
        "index_columns": ["task"],
        "column_indexes": [
            {
                "name": None,
                "field_name": None,
                "pandas_type": "unicode",
                "numpy_type": "object",
                "metadata": {"encoding": "UTF-8"},
            }
        ],
        "columns": [described("task_index", "int64", "int64"), described("task", "unicode", "object")],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def info(spec: EnvSpec, episodes: int, frames: int, tasks: int, encoding: str = "png") -> dict[str, Any]:
    """meta/info.json."""
    return {
        "codebase_version": CODEBASE_VERSION,
        "robot_type": spec.env_id,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 500,
        "fps": int(spec.hz) if float(spec.hz).is_integer() else spec.hz,
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA_PATH,
        "video_path": None if encoding == "png" else VIDEO_PATH,
        "features": features(spec, encoding),
    }


def episode_groups(file: pq.ParquetFile) -> list[list[int]]:
    """The row groups of every episode of a data or final file: a long episode has several."""
    column = [file.schema.column(c).path for c in range(len(file.schema))].index("episode_index")
    groups: list[list[int]] = []
    before = None
    for g in range(file.num_row_groups):
        statistics = file.metadata.row_group(g).column(column).statistics
        if statistics is None or statistics.min != statistics.max:
            raise ValueError("a row group holds other than one episode")
        if statistics.min != before:
            groups.append([])
        groups[-1].append(g)
        before = statistics.min
    return groups


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of Parquet as stores have it: with a checksum on every page."""
    return pq.ParquetWriter(path, schema, compression="snappy", use_dictionary=False, write_page_checksum=True)
