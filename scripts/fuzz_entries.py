"""Mutated files and messages for what takes them from strangers: `fuzz_entries.py ENTRY [--seconds 60] [--seed 0]`.

Entries: pictures, lerobot, hdf5, mp4, stores, server, worker; or all, one after the other. Valid ones are made once;
each case changes one of them and hands it in. It may be taken, or refused with a ValueError of one line (or, by the
server, with a text and the end of that connection); anything else is a fault: another exception, a result that cannot
be, a crash, more than SECONDS. A fault is printed with the seed and the number that repeat it (--case), and the exit
status is 1. `fuzz_readers.py` does the same for the files that this project itself leaves.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import numpy as np  # noqa: E402
from fuzz_readers import damage  # noqa: E402

BATCH, SECONDS, MEMORY = 100, 30, 16 << 30  # cases a process; of a case; bytes of a process
Case = Callable[[np.random.Generator], str]
"""Makes and hands in one mutated input: what became of it. Raises ValueError where it is refused."""
STRANGE = [None, True, -1, 0, 1, 2**31, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "x", "..", "/etc/passwd",
           "a\nb", "\ud800", [], {}, [[]], [0], {"a": 1}]  # fmt: skip


def mutate_json(raw: bytes, rng: np.random.Generator) -> bytes:
    """A JSON text with one to three of its values, wherever they stand, replaced by strange ones or left out."""
    value = json.loads(raw)
    for _ in range(int(rng.integers(1, 4))):
        place = value
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = keys[int(rng.integers(len(keys)))]
            if isinstance(place[key], (dict, list)) and place[key] and rng.integers(3):
                place = place[key]
                continue
            if rng.integers(4) == 0:
                del place[key]
            else:
                place[key] = STRANGE[int(rng.integers(len(STRANGE)))]
            break
    return json.dumps(value).encode()


def mutated(raw: bytes, name: str, rng: np.random.Generator) -> bytes:
    if name.endswith(".json") and rng.integers(3):
        return mutate_json(raw, rng)
    if name.endswith(".jsonl") and rng.integers(3):
        lines = raw.splitlines()
        at = int(rng.integers(len(lines)))
        lines[at] = mutate_json(lines[at], rng)
        return b"\n".join(lines) + b"\n"
    return damage(raw, rng)


def of_files(files: list[Path], read: Callable[[], Any]) -> Case:
    """Change one of the files, read, and put it back."""
    valid = {file: file.read_bytes() for file in files}

    def case(rng: np.random.Generator) -> str:
        file = files[int(rng.integers(len(files)))]
        try:
            file.write_bytes(mutated(valid[file], file.name, rng))
            read()
        finally:
            file.write_bytes(valid[file])
        return "taken"

    return case


def pictures(folder: Path) -> Case:
    from PIL import Image

    from episodes.images import decode_png, encode_png
    from episodes.importing.pictures import decoded
    from tests.helpers import made_pngs as pngs

    H, W = 16, 24
    noise = np.random.default_rng(0).integers(0, 256, (H, W, 3)).astype(np.uint8)
    photo = io.BytesIO()
    Image.fromarray(noise).save(photo, "jpeg")
    plain = pngs.png(pngs.header(H, W), pngs.pixels(H, W), pngs.chunk(b"IEND"))
    sources = [plain, encode_png(noise), pngs.animated(H, W, 16), pngs.animated(H, W, 1600)]

    def case(rng: np.random.Generator) -> str:
        if rng.integers(4) == 0:
            decoded(damage(photo.getvalue(), rng), (H, W))
            return "taken"
        source = sources[int(rng.integers(len(sources)))]
        picture = (decode_png if rng.integers(2) else decoded)(
            pngs.mutated(source, rng) if rng.integers(4) else damage(source, rng), (H, W)
        )
        assert picture.shape == (H, W, 3) and picture.dtype == np.uint8
        return "taken"

    return case


def imported(source: Path, target: Path) -> Callable[[], None]:
    from episodes.importing import import_dataset

    def read() -> None:
        shutil.rmtree(target, ignore_errors=True)
        assert len(import_dataset(source, target)) > 0

    return read


def lerobot(folder: Path) -> Case:
    from tests.helpers import foreign_datasets as foreign

    cases = []
    for name, write in (("v3", foreign.write_v3), ("v21", foreign.write_v21)):
        write(folder / name, foreign.truths())
        files = sorted(p for p in (folder / name).rglob("*") if p.is_file())
        meta = [p for p in files if "meta" in p.parts]
        cases += [of_files(files, imported(folder / name, folder / "store"))]
        cases += [of_files(meta, imported(folder / name, folder / "store"))] * 2
    return lambda rng: cases[int(rng.integers(len(cases)))](rng)


def hdf5(folder: Path) -> Case:
    import h5py

    from episodes.importing import hdf5

    hdf5.SILENCE = 20.0  # below SECONDS: a file that has no end is to be refused
    file = folder / "demos.hdf5"
    with h5py.File(file, "w") as h:
        group = h.create_group("data")
        kwargs = {"control_freq": 20, "reward_shaping": False}
        group.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": kwargs})
        for k in range(2):
            demo = group.create_group(f"demo_{k}")
            demo.attrs["num_samples"], demo.attrs["ep_meta"] = 5, '{"lang": "lift"}'
            demo["actions"], demo["rewards"], demo["dones"] = np.zeros((5, 7)), np.r_[0, 0, 0, 0, 1.0], np.zeros(5)
            for part in ("obs", "next_obs"):
                seen = demo.create_group(part)
                seen["agentview_image"] = np.zeros((5, 16, 16, 3), np.uint8)
                for name, width in (("robot0_eef_pos", 3), ("robot0_eef_quat", 4), ("robot0_gripper_qpos", 2)):
                    seen[name] = np.zeros((5, width))
    return of_files([file], imported(file, folder / "store"))


def mp4(folder: Path) -> Case:
    from episodes.video import frames_near
    from tests.helpers import foreign_datasets as foreign

    foreign.write_v3(folder / "set", foreign.truths())
    file = min((folder / "set").rglob("*.mp4"))

    def read() -> None:
        assert sum(len(block) for block in frames_near(file, np.array([0.0, 0.1]), (16, 24), 0.1)) == 2

    return of_files([file], read)


def stores(folder: Path) -> Case:
    from episodes.store import EpisodeStore
    from tests.helpers.made_lift import made_store

    path = made_store(folder / "store", 3, 1).path
    valid = {p: p.read_bytes() for p in path.rglob("*") if p.is_file() and p.suffix in (".parquet", ".json")}

    def read() -> None:
        for mode in ("r", "a"):
            with EpisodeStore.open(path, mode) as store:
                assert sum(len(episode) for episode in store) > 0

    def case(rng: np.random.Generator) -> str:
        file = sorted(valid)[int(rng.integers(len(valid)))]
        try:
            file.write_bytes(mutated(valid[file], file.name, rng))
            read()
        finally:  # opening it for writing may have repaired or removed others
            for name, raw in valid.items():
                name.write_bytes(raw)
        return "taken"

    return case


def messages(valid: list[bytes], rng: np.random.Generator) -> bytes:
    """A valid message with bytes changed, or with a value of the map replaced."""
    from episodes.wire import pack, unpack

    raw = valid[int(rng.integers(len(valid)))]
    if rng.integers(2):
        return damage(raw, rng)
    message = unpack(raw)
    key = list(message)[int(rng.integers(len(message)))]
    arrays = [np.zeros(3), np.full(11, 1e300), np.full(11, 3e38), np.zeros((4, 4, 3), np.uint8), np.array(["x"])]
    safe = [v for v in STRANGE if v != "\ud800" and v != 10**400] + arrays + ["x" * 5000]
    return pack(message | {key: safe[int(rng.integers(len(safe)))]})


def server(folder: Path) -> Case:
    import threading

    import torch
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    from agents.flow import FlowPolicy
    from agents.serve import PolicyServer
    from agents.settings import FlowConfig
    from episodes.wire import pack, unpack
    from tests.helpers.made_lift import SPEC, made_episode

    torch.set_num_threads(1)
    policy = FlowPolicy(FlowConfig(width=16, chunk=4, execute=2), SPEC, seed=3).eval()
    seen = made_episode(1, T=6).observation(0)
    request = {f"observation/{name}": image for name, image in seen.images.items()}
    request |= {"observation/state": seen.proprio, "prompt": seen.instruction, "seed": 5}
    valid = [pack(request), pack({k: v for k, v in request.items() if k != "seed"})]
    state: dict[str, Any] = {}

    def opened() -> Any:
        client = connect(state["url"], compression=None, ping_interval=None, proxy=None, close_timeout=0.2).__enter__()
        client.recv(timeout=20)
        return client

    def asked(client: Any, message: bytes) -> Any:
        client.send(message)
        return client.recv(timeout=20)

    def case(rng: np.random.Generator) -> str:
        if not state:  # a server for each process
            import asyncio

            ready = threading.Event()

            def started(port: int) -> None:
                state["url"] = f"ws://127.0.0.1:{port}"
                ready.set()

            run = PolicyServer(policy, port=0).run
            threading.Thread(target=lambda: asyncio.run(run(started)), daemon=True).start()
            assert ready.wait(20)
            state["healthy"] = opened()
            state["answer"] = asked(state["healthy"], valid[0])
        client = opened()
        answer = asked(client, messages(valid, rng))
        if isinstance(answer, str):
            assert "\n" not in answer, "not one line"
            try:
                client.recv(timeout=20)
                raise AssertionError("refused, but the connection goes on")
            except ConnectionClosed:
                pass
        else:
            assert np.isfinite(unpack(answer)["actions"]).all()
            client.close()
        assert asked(state["healthy"], valid[0]) == state["answer"], "a healthy client hears something else"
        return "refused" if isinstance(answer, str) else "taken"

    return case


def worker(folder: Path) -> Case:
    from agents.remote import ServerError
    from envs.simpler.protocol import trials
    from episodes.wire import pack, unpack
    from experiments.simpler.original import observation_of, row_from

    trial = trials("widowx_stack_cube", "visual_matching")[0]
    pose = np.array([0, 0, 0, 1.0, 0, 0, 0])
    seen = {"image": np.zeros((48, 64, 3), np.uint8), "prompt": "x", "tcp_pose": pose, "base_pose": pose}
    row = {"final": True, "any": True, "steps": 5, "instruction": "x"}

    def case(rng: np.random.Generator) -> str:
        try:
            if rng.integers(2):
                message = unpack(messages([pack(seen | {"qpos": np.zeros(8)})], rng))
                made = observation_of(message, "widowx", (64, 64))
                assert np.isfinite(made.proprio).all() and made.images["3rd_view_camera"].shape == (64, 64, 3)
            else:
                message = unpack(messages([pack(row)], rng))
                found = row_from({"key": trial.key, "row": message}, trial, 60)
                assert type(found["final"]) is bool and 1 <= found["steps"] <= 60 and len(json.dumps(found)) < 9999
        except ServerError as error:
            raise ValueError(str(error)) from error
        return "taken"

    return case


ENTRIES = {e.__name__: e for e in (pictures, lerobot, hdf5, mp4, stores, server, worker)}


def one(case: Case, seed: int, number: int) -> tuple[str, str]:
    signal.alarm(SECONDS)
    try:
        return case(np.random.default_rng([seed, number])), ""
    except ValueError as error:
        return ("fault", f"not one line: {error!r}") if "\n" in str(error) else ("refused", "")
    except Exception as error:
        return "fault", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)


def fuzz(entry: str, seconds: float, seed: int, only: int | None) -> int:
    memory = Path("/dev/shm")  # where there is one: no waiting for a disk
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{entry}-", dir=memory if memory.is_dir() else None))
    counts: Counter[str] = Counter()
    try:
        case = ENTRIES[entry](folder)
        if only is not None:
            print(*one(case, seed, only))
            return 0
        first, started, report = 0, time.monotonic(), folder / "report"
        while time.monotonic() - started < seconds:
            pid = os.fork()
            if pid == 0:
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libpng and ffmpeg talk
                with open(report, "w", buffering=1) as file:
                    for number in range(first, first + BATCH):
                        file.write(json.dumps(one(case, seed, number)) + "\n")
                        if time.monotonic() - started > seconds:
                            break
                os._exit(0)
            status = os.waitpid(pid, 0)[1]
            lines = [json.loads(line) for line in report.read_text().splitlines()]
            if status:
                lines.append(["fault", f"the process ended with status {status}"])
            for number, (what, said) in enumerate(lines, first):
                counts[what] += 1
                if what == "fault":
                    print(f"FAULT {entry} --seed {seed} --case {number}: {said[:300]}", flush=True)
            first += len(lines)
        spent = time.monotonic() - started
        told = ", ".join(f"{n} {what}" for what, n in sorted(counts.items()))
        print(
            f"{entry}: seed {seed}, {first} inputs in {spent:.0f} s, {first / spent:.1f} a second: {told}", flush=True
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return counts["fault"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entry", choices=[*ENTRIES, "all"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="repeat one case in this process")
    options = parser.parse_args()
    names = list(ENTRIES) if options.entry == "all" else [options.entry]
    return 1 if sum(fuzz(name, options.seconds, options.seed, options.case) for name in names) else 0


if __name__ == "__main__":
    sys.exit(main())
