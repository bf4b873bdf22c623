"""Memory, time and size of importing one long episode: a LeRobotDataset v3.0 of three 480 x 640 cameras at 30 Hz.

    python benchmarks/import_memory.py --minutes 1 10 --stores mp4 "mp4 lossless" png@96
    python benchmarks/import_memory.py --minutes 0.167 --stores png --before CHECKOUT      # and an older checkout's

A store is an encoding, `@N` after it fits the pictures to N x N. Each import is a process of its own, its memory VmHWM,
the most it ever had resident (Linux). The pictures are ten seconds of moving waves and noise, again and again.
Adds its rows to results/benchmarks/import_memory.json as they are made; one of the same import is replaced.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "results/benchmarks/import_memory.json"
H, W, HZ, CAMERAS, CLIP = 480, 640, 30, ("front", "left", "wrist"), 10  # CLIP: seconds of pictures that differ
IMPORT = """
import json, sys, time
from episodes.importing import Known, import_dataset
source, target, known, more = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
known = {name: tuple(value) for name, value in known.items()}
start, used = time.perf_counter(), time.process_time()
import_dataset(source, target, Known(success=True, **known), **more)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({"memory_mb": round(int(status["VmHWM"].split()[0]) / 1024),
                  "seconds": round(time.perf_counter() - start), "cpu_seconds": round(time.process_time() - used)}))
"""


def write_clip(path: Path) -> None:
    """CLIP seconds of H.264: waves that move by two pixels a frame, and noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:H, :W]
    waves = np.stack([128 + 50 * np.sin(x / 37) + 50 * np.cos(y / 23), 120 + 60 * np.sin(x / 11 + y / 17), x % 256], -1)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=HZ)
        stream.height, stream.width, stream.pix_fmt = H, W, "yuv420p"
        stream.options = {"g": "2", "crf": "30", "preset": "veryfast"}  # LeRobot's keyframes and quality
        stream.codec_context.time_base = Fraction(1, HZ)
        for i in range(CLIP * HZ):
            picture = (np.roll(waves, 2 * i, 1) + rng.normal(0, 3, (H, W, 1))).clip(0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, HZ)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def repeat(clip: Path, path: Path, frames: int) -> None:
    """The first `frames` pictures of a clip that begins again where it ends; its packets are copied."""
    path.parent.mkdir(parents=True)
    with av.open(str(clip)) as one, av.open(str(path), "w") as container:
        theirs = one.streams.video[0]
        stream = container.add_stream_from_template(theirs)
        packets = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in one.demux(theirs) if p.pts is not None]
        assert theirs.time_base is not None
        length = round(CLIP / theirs.time_base)
        for i in range(frames):
            turn, (content, pts, dts, key) = i // len(packets), packets[i % len(packets)]
            packet = av.Packet(content)
            packet.stream, packet.time_base, packet.is_keyframe = stream, theirs.time_base, key
            packet.pts, packet.dts = pts + turn * length, (0 if dts is None else dts) + turn * length
            container.mux(packet)


def write_source(root: Path, clip: Path, seconds: float) -> None:
    """A LeRobotDataset v3.0 of one episode, written from the format's published facts."""
    n = round(seconds * HZ)
    one = {"shape": [1], "names": None}
    place: dict[str, Any] = {"data/chunk_index": 0, "data/file_index": 0}
    features: dict[str, Any] = {}
    features |= {k: {"dtype": "float32", "shape": [7], "names": None} for k in ("observation.state", "action")}
    features |= {"timestamp": {"dtype": "float32", **one}}
    features |= {k: {"dtype": "int64", **one} for k in ("frame_index", "episode_index", "index", "task_index")}
    for camera in CAMERAS:
        key = f"observation.images.{camera}"
        features[key] = {"dtype": "video", "shape": [H, W, 3], "names": ["height", "width", "channels"]}
        place |= {f"videos/{key}/chunk_index": 0, f"videos/{key}/file_index": 0, f"videos/{key}/from_timestamp": 0.0}
        repeat(clip, root / f"videos/{key}/chunk-000/file-000.mp4", n)
    rows, vectors = np.arange(n), pa.array(np.zeros((n, 7), np.float32).tolist())
    numbers = {k: rows for k in ("frame_index", "index")} | {k: 0 * rows for k in ("episode_index", "task_index")}
    data = {"observation.state": vectors, "action": vectors, "timestamp": pa.array((rows / HZ).astype(np.float32))}
    episode = {"episode_index": 0, "tasks": ["go"], "length": n, **place}
    for name, table in (
        ("data/chunk-000/file-000.parquet", pa.table(data | numbers)),
        ("meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist([episode])),
        ("meta/tasks.parquet", pa.table({"task_index": [0], "__index_level_0__": ["go"]})),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, root / name)
    info = {
        "codebase_version": "v3.0", "robot_type": "made", "total_episodes": 1, "total_frames": n, "fps": HZ,
        "chunks_size": 1000, "features": features,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }  # fmt: skip
    (root / "meta/info.json").write_text(json.dumps(info))


def megabytes(root: Path) -> float:
    return round(sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / 2**20, 1)


def measured(checkout: Path, source: Path, target: Path, known: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One import by the code of a checkout."""
    command = [sys.executable, "-c", IMPORT, str(source), str(target), json.dumps(known), json.dumps(more)]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    made = subprocess.run(command, env=environment, cwd=target.parent, stdout=subprocess.PIPE, text=True, check=True)
    sizes = {"store_mb": megabytes(target), "source_mb": megabytes(source)}
    shutil.rmtree(target)
    return json.loads(made.stdout.splitlines()[-1]) | sizes


def add(row: dict[str, Any]) -> None:
    print(json.dumps(row), flush=True)
    rows = json.loads(OUT.read_text()) if OUT.exists() else []
    same = [r for r in rows if (r["store"], r["minutes"]) == (row["store"], row["minutes"])]
    rows = sorted([r for r in rows if r not in same] + [row], key=lambda r: (r["store"], r["minutes"]))
    OUT.write_text("[\n" + ",\n".join(" " + json.dumps(r) for r in rows) + "\n]\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10])
    parser.add_argument("--stores", nargs="+", default=["png", "mp4 lossless", "mp4"], help="encoding[@size]")
    parser.add_argument("--before", type=Path, help="an older checkout, which knows neither encodings nor sizes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_clip(folder / "clip.mp4")
        for minutes in args.minutes:
            source = folder / "source"
            write_source(source, folder / "clip.mp4", 60 * minutes)
            if args.before:
                facts = measured(args.before.resolve(), source, folder / "store", {})
                add({"store": "png, before", "minutes": minutes, **facts})
            for store in args.stores:
                encoding, _, size = store.partition("@")
                known = {"image_size": [int(size)] * 2} if size else {}
                facts = measured(ROOT, source, folder / "store", known, encoding=encoding)
                add({"store": store, "minutes": minutes, **facts})
            shutil.rmtree(source)


if __name__ == "__main__":
    main()
