"""Training windows per second: our decoded cache against LeRobot's own dataset and DataLoader, on the same store.

scripts/check_lerobot.py --venv VENV      # makes the environment that has both packages
PYTHONPATH=. VENV/bin/python benchmarks/loader_speed.py --out loader_speed.json [--store STORE]

A window is the images of all cameras and the state at t and the next K actions with their padding mask. Both sides give
torch tensors, images float32 (V, 3, H, W) in [0, 1], in batches of B drawn at random; that they are the same windows is
checked first. Rounds of the two sides alternate, so that other work on the machine meets both. The ratio is to
LeRobot's fastest number of workers; the ratio of CPU time (this process alone, 0 workers) does not depend on what else
the machine does. Memory: peak resident size (Linux) of a process that builds the cache, less that of one that does not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from episodes import EnvSpec, Episode, Provenance
from episodes.store import EpisodeStore
from episodes.windows import ActionWindows, DecodedCache

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def made_store(path: Path, episodes: int = 60, T: int = 60, size: int = 96) -> Path:
    """Two cameras with smooth moving pictures, which compress like rendered ones."""
    names = tuple("abcdefg")
    bounds = {"action_low": (-1.0,) * 7, "action_high": (1.0,) * 7, "action_units": ("1",) * 7}
    about = {"rotation": "rotation_vector", "gripper_close": 1.0, "hz": 20.0, "max_steps": T}
    spec = EnvSpec("made/Up-v0", ("front", "wrist"), (size, size), names, names, **bounds, **about)  # type: ignore[arg-type]
    y, x = np.mgrid[:size, :size] / size

    def picture(rng: np.random.Generator) -> Any:
        waves = rng.uniform(1, 9, (3, 2))
        t = np.linspace(0, 3, T + 1)[:, None, None]
        return np.stack([127 + 120 * np.sin(a * x + b * y + t) for a, b in waves], -1).astype(np.uint8)

    def episode(seed: int) -> Episode:
        rng = np.random.default_rng(seed)
        ends = np.arange(T) == T - 1
        return Episode(
            images={camera: picture(rng) for camera in spec.cameras},
            proprio=rng.normal(size=(T + 1, 7)).astype(np.float32),
            actions=rng.uniform(-1, 1, (T, 7)).astype(np.float32),
            rewards=ends.astype(np.float32),
            terminated=ends,
            truncated=np.zeros(T, bool),
            success=True,
            segments=np.zeros(T, np.int8),
            progress=np.zeros(T + 1, np.float32),
            intervention=np.zeros(T, bool),
            instruction="go",
            provenance=Provenance(spec.env_id, seed, "oracle"),
            hz=spec.hz,
        )

    with EpisodeStore.create(path, spec) as store:
        store.append(map(episode, range(episodes)))
    return path


def ours(windows: ActionWindows, batch: int) -> Iterator[dict[str, Any]]:
    """Batches as torch tensors, images converted to what LeRobot gives."""
    rng = np.random.default_rng(0)
    while True:
        yield as_tensors(windows.sample(rng, batch))


def as_tensors(batch: dict[str, Any]) -> dict[str, Any]:
    import torch

    images = torch.from_numpy(batch["images"]).permute(0, 1, 4, 2, 3).to(torch.float32, copy=True).div_(255)
    rest = {key: torch.from_numpy(batch[key]) for key in ("proprio", "actions", "valid")}
    return {"images": images.contiguous(), **rest}


def theirs(dataset: Any, batch: int, workers: int) -> Iterator[dict[str, Any]]:
    import torch

    many = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=10**9 // 64)
    yield from torch.utils.data.DataLoader(dataset, batch, sampler=many, num_workers=workers)


def rate(batches: Iterator[dict[str, Any]], batch: int, seconds: float) -> tuple[float, float]:
    """(samples per second, CPU ms of this process per sample); starting up is not counted."""
    for _ in range(3):
        next(batches)
    n, start, cpu = 0, time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - start) < seconds:
        next(batches)
        n += batch
    return n / passed, 1000 * (time.process_time() - cpu) / n


def check_same(windows: ActionWindows, dataset: Any, chunk: int) -> int:
    """Compare 32 windows of both sides, bit for bit, and return how many."""
    steps = np.random.default_rng(1).integers(len(windows), size=32)
    mine = as_tensors(windows.gather(steps))
    for k, step in enumerate(steps):
        item = dataset[int(step)]
        for v, camera in enumerate(windows.cache.spec.cameras):
            assert bool((mine["images"][k, v] == item[f"observation.images.{camera}"]).all()), "images differ"
        assert bool((mine["proprio"][k] == item["observation.state"]).all()), "states differ"
        assert bool((mine["actions"][k] == item["action"]).all()), "actions differ"
        assert bool((mine["valid"][k] == ~item["action_is_pad"]).all()) and chunk == len(item["action"]), "masks differ"
    return len(steps)


def peak_mb(store: Path, cached: bool, folder: str | None = None) -> float:
    """Peak resident MB of a process that opens the store and, if `cached`, builds the decoded cache."""
    code = (
        "from episodes.store import EpisodeStore; from episodes.windows import DecodedCache\n"
        f"store = EpisodeStore({str(store)!r})\n"
        + (f"cache = DecodedCache(store, {folder!r})\n" if cached else "")
        + "print(open('/proc/self/status').read())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout.split("VmHWM:")[1].split()[0]) / 1024  # ru_maxrss would be the parent's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="a store of yours; without it one is made")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--chunk", type=int, default=8)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2, 4], help="of LeRobot's DataLoader")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round of each side")
    args = parser.parse_args()
    import torch
    from lerobot import __version__ as version
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="loader-speed-") as work:
        os.environ.setdefault("HF_DATASETS_CACHE", work)
        path = args.store or made_store(Path(work) / "store")
        store = EpisodeStore(path)
        start = time.perf_counter()
        cache = DecodedCache(store)
        decoding = time.perf_counter() - start
        windows = ActionWindows(cache, chunk=args.chunk)
        ahead = [k / store.spec.hz for k in range(args.chunk)]
        dataset = LeRobotDataset("foresight/speed", root=path, delta_timestamps={"action": ahead}, video_backend="pyav")
        compared = check_same(windows, dataset, args.chunk)
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(args.rounds):
            found.setdefault("ours", []).append(rate(ours(windows, args.batch), args.batch, args.seconds))
            for workers in args.workers:
                batches = theirs(dataset, args.batch, workers)
                found.setdefault(f"lerobot, {workers} workers", []).append(rate(batches, args.batch, args.seconds))
                del batches  # ends its workers
        plain = peak_mb(path, False)
        memory = {"in memory": peak_mb(path, True) - plain, "memory-mapped": peak_mb(path, True, f"{work}/c") - plain}
        arrays = (cache.images, cache.proprio, cache.progress, cache.actions)
        speed = {name: median(per_second for per_second, _ in rounds) for name, rounds in found.items()}
        cpu = {name: median(ms for _, ms in found[name]) for name in ("ours", "lerobot, 0 workers") if name in found}
        best = max(value for name, value in speed.items() if name != "ours")
        report = {
            "benchmark": "loader_speed",
            "store": "made" if args.store is None else "given",
            "episodes": len(store),
            "steps": len(windows),
            "images": [len(store.spec.cameras), *store.spec.image_size, 3],
            "batch": args.batch,
            "chunk": args.chunk,
            "windows_compared": compared,
            "samples_per_second": {name: round(value, 1) for name, value in speed.items()},
            "rounds": {name: [round(per_second, 1) for per_second, _ in rounds] for name, rounds in found.items()},
            "ratio": round(speed["ours"] / best, 1),
            "cpu_ms_per_sample": {name: round(value, 4) for name, value in cpu.items()},
            "cpu_ratio": round(cpu["lerobot, 0 workers"] / cpu["ours"], 1) if len(cpu) == 2 else None,
            "goal": 5,
            "decoding_once_s": round(decoding, 2),
            "cache_mb": round(sum(array.nbytes for array in arrays) / 2**20, 1),
            "peak_mb_above_opening_the_store": {name: round(value, 1) for name, value in memory.items()},
            "lerobot": version,
            "torch": torch.__version__,
            "cpus": os.cpu_count(),
            "load": round(os.getloadavg()[0], 2),
        }
    text = json.dumps(report, indent=1)
    print(text)
    args.out.write_text(text + "\n")
    print(f"ratio {report['ratio']} in time, {report['cpu_ratio']} in CPU time (goal {report['goal']})")


if __name__ == "__main__":
    main()
