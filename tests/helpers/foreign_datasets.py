"""Tiny datasets in other programs' layouts, written by hand from the formats' published facts (not by our writer)."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

FPS, H, W, P, A = 30, 16, 24, 3, 2
TASKS = ("lift the cube", "push the cube")
LENGTHS = (5, 7, 4, 6)
TASK_OF = (0, 1, 1, 0)


@dataclass
class Truth:
    """What one written episode holds: T rows, images {camera: (T, H, W, 3)}."""

    images: dict[str, np.ndarray]
    state: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    task: str
    success: bool


def truths(T_of: tuple[int, ...] = LENGTHS, cameras: tuple[str, ...] = ("front", "wrist")) -> list[Truth]:
    made = []
    for i, T in enumerate(T_of):
        rng = np.random.default_rng(i)
        made.append(
            Truth(
                {c: rng.integers(0, 256, (T, H, W, 3), np.uint8) for c in cameras},
                rng.normal(size=(T, P)).astype(np.float32),
                rng.normal(size=(T, A)).astype(np.float32),
                rng.random(T).astype(np.float32),
                TASKS[TASK_OF[i % 4]],
                i != 2,
            )
        )
    return made


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def write_video(path: Path, frames: np.ndarray, fps: int = FPS, codec: str = "libx264rgb", **options: str) -> None:
    """frames (N, H, W, 3) at 1/fps s; libx264rgb with crf 0 is lossless."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb24" if codec == "libx264rgb" else "yuv420p"
        stream.options = {"crf": "0", "g": "4", **options}
        stream.codec_context.time_base = Fraction(1, fps)
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def features(kinds: dict[str, str], first: bool = False) -> dict[str, Any]:
    def image(kind: str) -> dict[str, Any]:
        if first:
            return {"dtype": kind, "shape": [3, H, W], "names": ["channels", "height", "width"]}
        return {"dtype": kind, "shape": [H, W, 3], "names": ["height", "width", "channel"]}

    one = {"shape": [1], "names": None}
    return {
        **{f"observation.images.{camera}": image(kind) for camera, kind in kinds.items()},
        "observation.state": {"dtype": "float32", "shape": [P], "names": {"motors": ["x", "y", "z"]}},
        "action": {"dtype": "float32", "shape": [A], "names": ["motors"]},
        "next.reward": {"dtype": "float32", **one},
        "next.done": {"dtype": "bool", **one},
        "next.success": {"dtype": "bool", **one},
        "timestamp": {"dtype": "float32", **one},
        **{key: {"dtype": "int64", **one} for key in ("frame_index", "episode_index", "index", "task_index")},
    }


def rows(truth: Truth, episode: int, start: int, kinds: dict[str, str]) -> pa.Table:
    T = len(truth.action)
    columns: dict[str, Any] = {
        f"observation.images.{camera}": [{"bytes": png(x), "path": None} for x in truth.images[camera]]
        for camera, kind in kinds.items()
        if kind == "image"
    }
    columns |= {
        "observation.state": pa.array(truth.state.tolist(), pa.list_(pa.float32())),
        "action": pa.array(truth.action.tolist(), pa.list_(pa.float32(), A)),
        "next.reward": truth.reward,
        "next.done": np.arange(T) == T - 1,
        "next.success": (np.arange(T) == T - 1) & truth.success,
        "timestamp": (np.arange(T) / FPS).astype(np.float32),
        "frame_index": np.arange(T),
        "episode_index": np.full(T, episode),
        "index": np.arange(start, start + T),
        "task_index": np.full(T, TASKS.index(truth.task)),
    }
    return pa.table(columns)


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_parquet(path: Path, table: pa.Table, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)


def write_v3(root: Path, made: list[Truth], row_group: int = 1000) -> dict[str, str]:
    """v3.0 with one file per chunk, two episodes per data file, three in the first video and one in the second."""
    kinds = {"front": "video", "wrist": "image"}
    starts = np.cumsum([0, *(len(t.action) for t in made)])
    tables = [rows(t, i, int(starts[i]), kinds) for i, t in enumerate(made)]
    for chunk in range(0, len(made), 2):
        table = pa.concat_tables(tables[chunk : chunk + 2])
        write_parquet(root / f"data/chunk-{chunk // 2:03d}/file-000.parquet", table, row_group_size=row_group)
    parts = [made[:3], made[3:]]
    for chunk, part in enumerate(parts):
        frames = np.concatenate([t.images["front"] for t in part])
        write_video(root / f"videos/observation.images.front/chunk-{chunk:03d}/file-000.mp4", frames)
    index = [
        {
            "episode_index": i,
            "tasks": [t.task],
            "length": len(t.action),
            "data/chunk_index": i // 2,
            "data/file_index": 0,
            "dataset_from_index": int(starts[i]),
            "dataset_to_index": int(starts[i + 1]),
            "videos/observation.images.front/chunk_index": int(i >= 3),
            "videos/observation.images.front/file_index": 0,
            "videos/observation.images.front/from_timestamp": float(starts[i] - (starts[3] if i >= 3 else 0)) / FPS,
            "videos/observation.images.front/to_timestamp": 0.0,
            "meta/episodes/chunk_index": i // 2,
            "meta/episodes/file_index": 0,
        }
        for i, t in enumerate(made)
    ]
    for chunk in range(0, len(made), 2):
        table = pa.Table.from_pylist(index[chunk : chunk + 2])
        write_parquet(root / f"meta/episodes/chunk-{chunk // 2:03d}/file-000.parquet", table)
    write_parquet(root / "meta/tasks.parquet", pa.table({"task_index": [0, 1], "__index_level_0__": list(TASKS)}))
    info = {
        "codebase_version": "v3.0",
        "robot_type": "so100",
        "total_episodes": len(made),
        "total_frames": int(starts[-1]),
        "total_tasks": 2,
        "chunks_size": 1,
        "fps": FPS,
        "splits": {"train": f"0:{len(made)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features(kinds),
    }
    write_json(root / "meta/info.json", info)
    return kinds


def write_v21(root: Path, made: list[Truth]) -> None:
    """v2.1 with two episodes per chunk: a parquet and an mp4 per episode, axes named channels first."""
    kinds = {"front": "video", "wrist": "image"}
    start = 0
    for i, truth in enumerate(made):
        table = rows(truth, i, start, kinds)
        start += len(table)
        write_parquet(root / f"data/chunk-{i // 2:03d}/episode_{i:06d}.parquet", table)
        video = root / f"videos/chunk-{i // 2:03d}/observation.images.front/episode_{i:06d}.mp4"
        write_video(video, truth.images["front"])
    write_json(
        root / "meta/info.json",
        {
            "codebase_version": "v2.1",
            "robot_type": None,
            "total_episodes": len(made),
            "total_frames": start,
            "total_tasks": 2,
            "total_videos": len(made),
            "total_chunks": 2,
            "chunks_size": 2,
            "fps": FPS,
            "splits": {"train": f"0:{len(made)}"},
            "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
            "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
            "features": features(kinds, first=True),
        },
    )
    episodes = [{"episode_index": i, "tasks": [t.task], "length": len(t.action)} for i, t in enumerate(made)]
    (root / "meta/episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in episodes))
    tasks = [{"task_index": i, "task": task} for i, task in enumerate(TASKS)]
    (root / "meta/tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tasks))


def write_robomimic(path: Path, made: list[Truth], next_obs: bool = True, **env_kwargs: Any) -> None:
    """data/demo_K with float64 numbers as robomimic has them; demo_10 is the last one, to be sorted by number."""
    import h5py

    numbers = [*range(len(made) - 1), 10]
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(len(t.action) for t in made)
        kwargs = {"control_freq": 20, "reward_shaping": False, "controller_configs": {"type": "OSC_POSE"}, **env_kwargs}
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": kwargs})
        for number, truth in zip(numbers, made, strict=True):
            T = len(truth.action) - 1 if next_obs else len(truth.action)
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = T
            demo.attrs["model_file"] = "<mujoco/>"
            demo["actions"] = truth.action[:T].astype(np.float64)
            demo["rewards"] = ((np.arange(T) == T - 1) & truth.success).astype(np.float64)
            demo["dones"] = (np.arange(T) == T - 1).astype(np.int64)
            demo["states"] = np.zeros((T, 32))
            for name, shift in (("obs", 0), ("next_obs", 1)) if next_obs else (("obs", 0),):
                for camera, frames in truth.images.items():
                    demo[f"{name}/{camera}_image"] = frames[shift : T + shift]
                state = truth.state.astype(np.float64)[shift : T + shift]
                demo[f"{name}/robot0_eef_pos"] = state
                demo[f"{name}/robot0_eef_quat"] = np.concatenate([state, state[:, :1]], axis=1)
                demo[f"{name}/robot0_gripper_qpos"] = state[:, :2]
        mask = file.create_group("mask")
        mask["train"] = np.array([b"demo_0"])
