"""Do our stores and the real lerobot package read each other? scripts/check_lerobot.py [--venv FOLDER] [--store STORE]

Makes a virtual environment of its own (in FOLDER, reused when it is there; else a temporary one), installs lerobot from
the package index (several GB: it pins a torch whose default build brings CUDA), and checks in it

1. every frame of a store of ours (STORE, or made-up ones with pictures as png, mp4 lossless and mp4) as LeRobotDataset
   gives it: images (what the store itself reads), state, action, reward and task bit for bit, windows of actions,
   statistics;
2. the other direction: lerobot records an image and a video dataset, two tasks, small files, and our importer reads
   them: numbers and images bit for bit, video frames within VIDEO_TOLERANCE of lerobot's own decoding.

Not part of the tests: it needs a network and minutes. Needs Python 3.10 to 3.12.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np

LEROBOT = "lerobot==0.4.4"
VIDEO_TOLERANCE = 0  # levels of 255; both decode through FFmpeg
ROOT = Path(__file__).resolve().parents[1]
FPS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="keep the environment here and use it again")
    parser.add_argument("--store", type=Path, help="check this store of yours (it gets a meta/stats.json)")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)  # this script again, in the environment
    args = parser.parse_args()
    if args.inside:
        print(json.dumps(check(args.inside, args.store), indent=1))
        return
    with tempfile.TemporaryDirectory(prefix="check-lerobot-") as work:
        python = environment(args.venv or Path(work) / "venv")
        command = [python, __file__, "--inside", work, *(["--store", str(args.store.resolve())] if args.store else [])]
        variables = {
            "PYTHONPATH": str(ROOT),
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": f"{work}/hf",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        }
        done = subprocess.run(command, env={**os.environ, **variables}, cwd=work, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit("\n".join(done.stderr.splitlines()[-20:]))  # before it: what the video encoders say


def environment(folder: Path) -> str:
    """The Python of a virtual environment that has lerobot, made where it is missing."""
    python = folder.resolve() / "bin" / "python"
    if not python.exists():
        print(f"making {folder}", flush=True)
        venv.create(folder, with_pip=True)
    if subprocess.run([python, "-c", "import lerobot"], capture_output=True).returncode:
        print(f"installing {LEROBOT}", flush=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", LEROBOT], check=True)
    return str(python)


def check(work: Path, given: Path | None) -> dict[str, Any]:
    """Both directions; an AssertionError says what differs."""
    from importlib.metadata import version

    report: dict[str, Any] = {name: version(name) for name in ("lerobot", "torch", "datasets", "pyarrow", "av")}
    for encoding in () if given else ("png", "mp4 lossless", "mp4"):
        store = made_store(work / f"ours-{encoding.replace(' ', '-')}", encoding)
        report[f"ours_to_lerobot_{encoding}"] = ours_to_lerobot(store)
    if given:
        report["ours_to_lerobot"] = ours_to_lerobot(given)
    for kind, codec in (("image", "h264"), ("video", "h264"), ("video", "libsvtav1")):
        report[f"lerobot_to_ours_{kind}_{codec}"] = lerobot_to_ours(work / f"theirs-{kind}-{codec}", kind, codec)
    return report


def made_store(path: Path, encoding: str) -> Path:
    """A store of three appends with two tasks, two cameras, a success and a failure in each."""
    from episodes import EnvSpec, Episode, Provenance
    from episodes.store import EpisodeStore

    names, size = ("dx", "dy", "grip"), (48, 64)
    bounds = {"action_low": (-1.0,) * 3, "action_high": (1.0,) * 3, "action_units": ("m", "m", "1")}
    about = {"rotation": "rotation_vector", "gripper_close": 1.0, "hz": float(FPS), "max_steps": 50}
    spec = EnvSpec("made/Up-v0", ("front", "wrist"), size, ("x", "y"), names, **bounds, **about)  # type: ignore[arg-type]

    def episode(seed: int) -> Any:
        rng, T, success = np.random.default_rng(seed), 6 + 3 * seed, seed % 2 == 0
        ends = np.arange(T) == T - 1
        return Episode(
            images={c: rng.integers(0, 256, (T + 1, *size, 3), np.uint8) for c in spec.cameras},
            proprio=rng.normal(size=(T + 1, 2)).astype(np.float32),
            actions=rng.uniform(-1, 1, (T, 3)).astype(np.float32),
            rewards=(ends & success).astype(np.float32),
            terminated=ends & success,
            truncated=ends & (not success),
            success=success,
            segments=rng.integers(0, 5, T).astype(np.int8),
            progress=np.full(T + 1, np.nan if seed % 3 else 0.5, np.float32),
            intervention=rng.random(T) < 0.5,
            instruction=f"task {seed % 2}",
            provenance=Provenance(spec.env_id, seed, "oracle"),
            hz=spec.hz,
        )

    with EpisodeStore.create(path, spec, encoding) as store:
        for first in (0, 2, 4):
            store.append(map(episode, (first, first + 1)))
    return path


def ours_to_lerobot(path: Path) -> dict[str, Any]:
    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    from episodes.lerobot_stats import write_stats
    from episodes.store import EpisodeStore

    stats = write_stats(path)
    store = EpisodeStore(path)
    theirs = LeRobotDataset("foresight/check", root=path, video_backend="pyav")
    assert theirs.num_episodes == len(store) and len(theirs) == sum(row["length"] for row in store.index)
    assert theirs.fps == store.spec.hz and set(theirs.meta.stats) == set(stats)
    for name, entry in stats.items():
        for key, value in entry.items():
            np.testing.assert_array_equal(theirs.meta.stats[name][key], np.array(value))
    window = LeRobotDataset(
        "foresight/check",
        root=path,
        video_backend="pyav",
        delta_timestamps={"action": [k / store.spec.hz for k in range(8)]},
    )
    n = 0
    for episode in store:
        T = len(episode)
        for t in range(T):
            item = theirs[n]
            for camera in store.spec.cameras:
                image = torch.from_numpy(episode.images[camera][t]).permute(2, 0, 1).to(torch.float32) / 255
                difference = 255 * (item[f"observation.images.{camera}"] - image).abs().max().item()
                assert difference <= VIDEO_TOLERANCE, (n, camera, difference)
            for name, value in (
                ("observation.state", episode.proprio[t]),
                ("action", episode.actions[t]),
                ("next.reward", episode.rewards[t]),
                ("next.done", episode.terminated[t]),
                ("next.truncated", episode.truncated[t]),
                ("segment", episode.segments[t]),
                ("intervention", episode.intervention[t]),
                ("progress", episode.progress[t]),
            ):
                np.testing.assert_array_equal(item[name].numpy(), value, err_msg=f"{name} of frame {n}")
            assert item["task"] == episode.instruction and item["next.success"].item() == (
                episode.success and t == T - 1
            )
            assert (item["frame_index"].item(), item["index"].item()) == (t, n)
            ahead = t + np.arange(8)
            chunk = window[n]
            np.testing.assert_array_equal(chunk["action"].numpy(), episode.actions[np.minimum(ahead, T - 1)])
            np.testing.assert_array_equal(chunk["action_is_pad"].numpy(), ahead >= T)
            n += 1
    assert n == len(theirs)
    return {"episodes": len(store), "frames": n, "equal": "bit for bit", "stats": len(stats)}


def lerobot_to_ours(root: Path, kind: str, codec: str) -> dict[str, Any]:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    from episodes.importing import Known, import_dataset

    image = {"dtype": kind, "shape": (96, 128, 3), "names": ["height", "width", "channels"]}
    theirs = LeRobotDataset.create(
        "foresight/theirs",
        fps=FPS,
        root=root,
        features={
            "observation.images.front": image,
            "observation.images.wrist": image,
            "observation.state": {"dtype": "float32", "shape": (4,), "names": ["a", "b", "c", "d"]},
            "action": {"dtype": "float32", "shape": (3,), "names": None},
            "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
            "next.success": {"dtype": "bool", "shape": (1,), "names": None},
        },
        video_backend="pyav",
        vcodec=codec,
    )
    theirs.meta.update_chunk_settings(chunks_size=2, data_files_size_in_mb=0.004, video_files_size_in_mb=0.012)
    rng = np.random.default_rng(0)
    for episode in range(7):
        base = rng.integers(0, 200, (2, 6, 8, 3)).repeat(16, 1).repeat(16, 2)
        T = int(rng.integers(8, 20))
        for t in range(T):
            theirs.add_frame(
                {
                    "observation.images.front": np.roll(base[0] + 2 * t, t, 1).astype(np.uint8),
                    "observation.images.wrist": np.roll(base[1] + 2 * t, -t, 0).astype(np.uint8),
                    "observation.state": rng.normal(size=4).astype(np.float32),
                    "action": rng.normal(size=3).astype(np.float32),
                    "next.reward": np.array([t / T], np.float32),
                    "next.success": np.array([t == T - 1 and episode != 3]),
                    "task": f"task {episode % 2}",
                }
            )
        theirs.save_episode(parallel_encoding=False)
    theirs.finalize()
    theirs = LeRobotDataset("foresight/theirs", root=root, video_backend="pyav")
    ours = import_dataset(root, root.with_name(root.name + "-imported"), Known())
    assert len(ours) == theirs.num_episodes and ours.spec.cameras == ("front", "wrist")
    n, worst = 0, 0
    for i, episode in enumerate(ours):
        T = len(episode)
        for t in range(T + 1):  # T + 1 rows: the last one is the final observation
            item = theirs[n]
            assert item["episode_index"].item() == i and item["frame_index"].item() == t
            for camera in ours.spec.cameras:
                expected = (item[f"observation.images.{camera}"].permute(1, 2, 0).numpy() * 255).round().astype(int)
                worst = max(worst, int(np.abs(expected - episode.images[camera][t]).max()))
            np.testing.assert_array_equal(item["observation.state"].numpy(), episode.proprio[t])
            action = episode.actions[t] if t < T else np.float32(episode.extra["last_row"]["action"])
            np.testing.assert_array_equal(item["action"].numpy(), action)
            assert item["task"] == episode.instruction
            if t < T:
                assert item["next.reward"].item() == episode.rewards[t]
            n += 1
        assert episode.success == (i != 3)
    assert n == len(theirs)
    assert worst <= (VIDEO_TOLERANCE if kind == "video" else 0), f"images differ by up to {worst} levels of 255"
    files = {part: len(list(root.glob(f"{part}/**/*.{end}"))) for part, end in (("data", "parquet"), ("videos", "mp4"))}
    assert files["data"] > 2 and (kind == "image" or files["videos"] > 4), files
    return {"episodes": len(ours), "frames": n, "files": files, "largest_image_difference": worst}


if __name__ == "__main__":
    main()
