"""Frames a second of a value server with several clients, beside the same value scoring here.

    python -m benchmarks.value_server [--value FOLDER] [--clients 8] [--out results/benchmarks/value_server.json]

Whole clips: every client sends its episodes one after the other and waits for each answer; here the same episodes are
scored one after the other. Single frames: every client sends a frame and waits. Exactly: beside a stream of one slot
that reads the same frames one by one; together: beside one stream of as many slots. Without --value, a `viva_tiny` of
random weights on made-up pictures of 64 x 64, two cameras. Server, clients and the value share this machine's cores.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--value", type=Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--episodes", type=int, default=6, help="of every client")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = args.value or made_value(Path(work))
        rows = measured(folder, args.clients, args.episodes, args.repeats)
    said = json.dumps({"clients": args.clients, "episodes": args.episodes, "steps": STEPS, "rows": rows}, indent=1)
    print(said)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(said + "\n")


def made_value(work: Path) -> Path:
    """A viva_tiny with random weights."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from episodes.store import EpisodeStore
    from experiments.loop import schemas
    from valuefns.make import make_value

    schemas.register()
    with initialize_config_dir(schemas.CONF, version_base="1.3"):
        settings: Any = OmegaConf.to_object(compose("recap_sim", ["preset=tiny", "valuefn.training.steps=1"]).valuefn)
    from networks.settings import LatentsConfig

    first = episode(0)
    with EpisodeStore.create(work / "store", spec_of(first)) as store:
        store.append([first, episode(1)])
    value = make_value(settings, LatentsConfig("patch_pca")).fit(EpisodeStore.open(work / "store"))
    value.save(work / "value")
    return work / "value"


def spec_of(first: Any) -> Any:
    """The EnvSpec of the made-up episodes."""
    from episodes import EnvSpec

    names = tuple(f"p{i}" for i in range(11))
    bounds = {"action_low": (-1.0,) * 7, "action_high": (1.0,) * 7, "action_units": ("1",) * 7}
    about = {"rotation": "rotation_vector", "gripper_close": 1.0, "hz": 10.0, "max_steps": 100}
    return EnvSpec("made/Up-v0", ("front", "wrist"), (64, 64), names, tuple("abcdefg"), **bounds, **about)  # type: ignore[arg-type]


def episode(seed: int) -> Any:
    """STEPS steps of noise."""
    from episodes import Episode, Provenance

    rng, T = np.random.default_rng(seed), STEPS
    ends = np.arange(T) == T - 1
    return Episode(
        images={c: rng.integers(0, 256, (T + 1, 64, 64, 3), np.uint8) for c in ("front", "wrist")},
        proprio=rng.normal(size=(T + 1, 11)).astype(np.float32),
        actions=rng.uniform(-1, 1, (T, 7)).astype(np.float32),
        rewards=ends.astype(np.float32),
        terminated=ends,
        truncated=np.zeros(T, bool),
        success=True,
        segments=np.zeros(T, np.int8),
        progress=np.full(T + 1, np.nan, np.float32),
        intervention=np.zeros(T, bool),
        instruction="lift it",
        provenance=Provenance("made/Up-v0", seed, "oracle"),
        hz=10.0,
    )


def frame(e: Any, t: int) -> Any:
    """The observation of a frame."""
    from episodes.types import Observation

    return Observation({c: x[t] for c, x in e.images.items()}, e.proprio[t], e.instruction)


def measured(folder: Path, clients: int, episodes: int, repeats: int) -> list[dict[str, Any]]:
    """Frames a second of every way, the best of some repeats, and its share of the same work here."""
    import torch

    from valuefns.make import load_value

    torch.set_num_threads(1)
    value, clips = load_value(folder), [episode(i) for i in range(episodes)]
    value.score(clips[0])
    rows = []
    n = clients * episodes * (STEPS + 1)

    def here() -> None:
        for _ in range(clients):
            for clip in clips:
                value.score(clip)

    local = best(here, n, repeats)
    with serving(folder, "exact") as url:
        rate = best(lambda: asked(url, clients, clips, "clips"), n, repeats)
    rows.append({"what": "whole clips, exact", "here": local, "served": rate, "share": rate / local})
    stream = value.stream(clients)
    stream.reset(np.ones(clients, bool), ["lift it"] * clients)

    def step() -> None:
        for t in range(STEPS):
            stream.step([frame(clips[i % episodes], t) for i in range(clients)])

    one = value.stream(1)
    one.reset(np.ones(1, bool), ["lift it"])

    def alone() -> None:
        for t in range(STEPS):
            for i in range(clients):
                one.step([frame(clips[i % episodes], t)])

    n = clients * STEPS
    for way, local in (("exact", best(alone, n, repeats)), ("together", best(step, n, repeats))):
        with serving(folder, way) as url:
            rate = best(lambda: asked(url, clients, clips, "frames"), n, repeats)
        rows.append({"what": f"single frames, {way}", "here": local, "served": rate, "share": rate / local})
    return rows


def best(work: Any, frames: int, repeats: int) -> float:
    """Frames a second, the best of some repeats: others share the cores."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        seconds.append(work() or time.perf_counter() - started)
    return frames / min(seconds)


def asked(url: str, clients: int, clips: list[Any], what: str) -> float:
    """Seconds in which every client (a process) has its answers, from the moment all are connected."""
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(clients + 1)
    jobs = [context.Process(target=client, args=(url, clips, what, i, ready)) for i in range(clients)]
    for job in jobs:
        job.start()
    ready.wait()
    started = time.perf_counter()
    for job in jobs:
        job.join()
        assert job.exitcode == 0
    return time.perf_counter() - started


def client(url: str, clips: list[Any], what: str, i: int, ready: Any) -> None:
    """One client: its clips, or the frames of one clip."""
    from valuefns.served import ServedValue
    from valuefns.settings import ServedConfig

    value = ServedValue(ServedConfig(url=url))
    stream = value.stream(1)
    stream.reset(np.ones(1, bool), ["lift it"])
    stream.step([frame(clips[0], 0)])
    value._socket = value._open()
    ready.wait()
    if what == "clips":
        for clip in clips:
            value.score(clip)
        return
    for t in range(STEPS):
        stream.step([frame(clips[i % len(clips)], t)])


@contextmanager
def serving(folder: Path, batch: str) -> Iterator[str]:
    """A server in a process of its own; its address."""
    program = "import sys; from experiments.cli import main; main(sys.argv[1:])"
    words = [sys.executable, "-c", program, "serve", f"value={folder}", "port=0", f"batch={batch}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield line.split(" on ")[1].strip()
        finally:
            process.kill()


if __name__ == "__main__":
    main()
