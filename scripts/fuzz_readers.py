"""Throw damaged files at every reader: `fuzz_readers.py [--minutes 10] [--seed 0] [--only NAME]`.

Valid files of every kind are made once; each case damages a few bytes of one of them and reads it. A case may end in
the right content or in a ValueError of one line; anything else (another exception, wrong content, a killed or hanging
process) is a fault: it is printed with the seed and the number that repeat it, and the exit code is 1. Files without a
checksum may also read as other content of their kind.
"""

from __future__ import annotations

import argparse
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
BATCH = 50  # cases per process: what a reader may break stays there
SECONDS, MEMORY = 60, 16 * 2**30  # limits of a batch's case and process


@dataclass(frozen=True)
class Target:
    """A reader, the valid file it is tried on, and whether a checksum protects the content."""

    name: str
    file: Path
    read: Callable[[], Any]
    checked: bool


def damage(raw: bytes, rng: np.random.Generator) -> bytes:
    """One to four random changes: bits, bytes, spans removed, repeated or filled, the end cut off."""
    data = bytearray(raw)
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        at, kind = int(rng.integers(len(data) + 1)), int(rng.integers(8))
        length = int(rng.integers(1, 1 + min(64, max(1, len(data)))))
        if kind in (0, 1) and at < len(data):
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 2 and at < len(data):
            data[at] = int(rng.choice([0, 1, 9, 10, 34, 45, 48, 57, 92, 125, 127, 128, 255]))
        elif kind == 3:
            del data[at : at + length]
        elif kind == 4:
            data[at:at] = data[max(0, at - length) : at]
        elif kind == 5:
            data[at : at + length] = rng.integers(0, 256, length, np.uint8).tobytes()
        elif kind == 6:
            del data[at:]
        else:
            data[at : at + length] = bytes(length)
    return bytes(data)


def targets(folder: Path) -> list[Target]:
    """Make one valid file of every kind under `folder`."""
    sys.path[:0] = [str(ROOT)]
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    from agents.flow import FlowPolicy
    from agents.make import load_policy
    from agents.settings import FlowConfig
    from envs.ledger import Trial, TrialLedger
    from episodes.labels import Labels
    from episodes.store import EpisodeStore
    from episodes.store_index import content_sha256
    from episodes.windows import DecodedCache
    from experiments.loop.run_folder import _facts, write_json
    from experiments.loop.stages import load_values, save_values
    from experiments.report.files import read_run
    from networks.checkpoint import load_tensors, save_tensors
    from networks.latents import LatentEncoder, latents_config
    from networks.settings import LatentsConfig
    from tests.helpers import tiny
    from tests.helpers.made_lift import made_store
    from valuefns.make import load_value
    from valuefns.viva import ViVa

    torch.set_num_threads(1)
    found: list[Target] = []

    def add(name: str, files: list[Path], read: Callable[[], Any], checked: bool = True) -> None:
        found.extend(Target(f"{name} {file.name}", file, read, checked) for file in files)

    store = made_store(folder / "store")

    def read_store() -> Any:
        again = EpisodeStore(store.path)
        return again.spec, again.index, [content_sha256(e, again.spec) for e in again]

    parts = ["foresight/header.json", "meta/episodes/chunk-000/file-000.parquet", "data/chunk-000/file-001.parquet"]
    add("store", [store.path / part for part in [*parts, "foresight/final/chunk-000/file-001.parquet"]], read_store)

    lengths = [row["length"] for row in store.index]
    weight = [np.arange(T, dtype=np.float32) for T in lengths]
    indicator = [np.arange(T) % 3 for T in lengths]
    Labels.from_arrays(store, "made", weight=weight, indicator=indicator).save(folder / "labels.parquet")
    add("labels", [folder / "labels.parquet"], lambda: Labels.load(folder / "labels.parquet").content_hash)

    save_values(folder / "values.npz", [np.linspace(0, 1, T + 1).astype(np.float32) for T in lengths])
    add("values", [folder / "values.npz"], lambda: [v.tolist() for v in load_values(folder / "values.npz")])

    def weights(module: Any) -> Any:
        return [(k, v.tolist()) for k, v in module.state_dict().items()]

    policy = FlowPolicy(FlowConfig(width=8, blocks=1, feature=4, training=tiny.training(1)), store.spec)
    policy.save(folder / "flow")
    both = ["model.safetensors", "config.json"]

    def read_flow() -> Any:
        read: Any = load_policy(folder / "flow")
        return weights(read), read.spec, read.indicator, asdict(read.config)

    add("policy", [folder / "flow" / name for name in both], read_flow)

    encoder = LatentEncoder(LatentsConfig("patch_pca", channels=4))
    encoder.save(folder / "latents")
    add(
        "latents",
        [folder / "latents" / n for n in both],
        lambda: weights(LatentEncoder(latents_config(folder / "latents"))),
    )

    value = ViVa(tiny.viva(1), tiny.PCA).fit(store)
    value.save(folder / "viva")

    def read_viva() -> Any:
        read: Any = load_value(folder / "viva")
        return weights(read.model), weights(read.encoder), read.spec, asdict(read.config)

    add("value", [folder / "viva" / name for name in both], read_viva)

    save_tensors(folder / "resume.safetensors", {"a": torch.arange(6.0)}, {"step": 3})
    add("resume", [folder / "resume.safetensors"], lambda: str(load_tensors(folder / "resume.safetensors")))

    ledger = TrialLedger(folder / "trials.jsonl")
    for seed in range(5):
        ledger.add({"key": Trial(seed).key, "seed": seed, "success": True, "steps": 3, "seconds": 0.3, "source": "x"})
    add("ledger", [ledger.path], lambda: TrialLedger(ledger.path).rows, checked=False)

    DecodedCache(store, folder / "decoded")
    arrays = sorted((folder / "decoded").rglob("*.npy"))
    add("decoded", arrays, lambda: DecodedCache(store, folder / "decoded").actions.shape, checked=False)

    run = folder / "run"
    write_json(run / "run.json", {"title": "a run", "stages": {"collect": 1.5}, "config_hash": "ab", "finished": None})
    add("run", [run / "run.json"], lambda: _facts(run / "run.json"), checked=False)
    row = {"method": "bc", "success": 0.5, "low": 0.1, "high": 0.9, "per_hour": 10.0, "n": 4}
    write_json(run / "summary.json", {"rows": [row]})
    write_json(run / "videos/index.json", [{"file": "a.mp4", "title": "a", "caption": ""}])
    (run / "metrics.jsonl").write_text('{"stage": "x", "step": 1, "loss": 0.5}\n' * 3)
    rows = [{"arm": "bc", "method": "bc", "iteration": 0, "seed": s, "success": True, "steps": 3} for s in range(9)]
    pq.write_table(pa.Table.from_pylist([r | {"seconds": 0.3} for r in rows]), run / "episodes.parquet")
    names = ["run.json", "summary.json", "videos/index.json", "metrics.jsonl", "episodes.parquet"]
    add("report", [run / name for name in names], lambda: read_run(run).folder, checked=False)
    return found


def outcome(target: Target, right: Any) -> tuple[str, str]:
    """("same" | "other" | "refused" | "fault", what was said) of one reading."""
    try:
        content = target.read()
    except ValueError as error:
        text = str(error)
        if "\n" in text or "/" not in text:
            return "fault", f"not one line that names the file: {text!r}"
        return "refused", text
    except Exception as error:
        return "fault", f"{type(error).__name__}: {error}"
    if repr(content) == right:
        return "same", ""
    return ("fault", "reads as other content") if target.checked else ("other", "")


def one_case(every: list[Target], right: list[str], seed: int, case: int) -> tuple[str, str, str]:
    """Damage, read and restore; (target, outcome, what was said)."""
    rng = np.random.default_rng([seed, case])
    k = int(rng.integers(len(every)))
    raw = every[k].file.read_bytes()
    every[k].file.write_bytes(damage(raw, rng))
    try:
        signal.alarm(SECONDS)
        return every[k].name, *outcome(every[k], right[k])
    finally:
        signal.alarm(0)
        every[k].file.write_bytes(raw)


def batch(every: list[Target], right: list[str], seed: int, first: int, report: Path) -> None:
    """Run cases first .. first + BATCH - 1 in this process, one line of `report` each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libpng talks
    with open(report, "w", buffering=1) as file:
        for case in range(first, first + BATCH):
            file.write(json.dumps([case, *one_case(every, right, seed, case)]) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="targets whose name contains this")
    parser.add_argument("--case", type=int, help="repeat one case in this process")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-readers-"))
    counts: dict[str, Counter[str]] = {}
    faults, first, end = 0, 0, time.monotonic() + 60 * options.minutes
    try:
        every = [t for t in targets(folder / "valid") if options.only in t.name]
        right = [repr(t.read()) for t in every]
        if options.case is not None:
            print(*one_case(every, right, options.seed, options.case))
            return 0
        print(f"seed {options.seed}, {len(every)} files", flush=True)
        while time.monotonic() < end:
            report = folder / "report"
            valid = {t.file: t.file.read_bytes() for t in every}
            pid = os.fork()
            if pid == 0:
                batch(every, right, options.seed, first, report)
                os._exit(0)
            _, status = os.waitpid(pid, 0)
            lines = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
            report.unlink(missing_ok=True)
            if status:
                lines.append([first + len(lines), "?", "fault", f"the process ended with status {status}"])
                for file, raw in valid.items():
                    file.write_bytes(raw)
            for case, name, what, said in lines:
                counts.setdefault(name, Counter())[what] += 1
                if what == "fault":
                    faults += 1
                    print(f"FAULT seed {options.seed} case {case} {name}: {said[:300]}", flush=True)
            first += len(lines)
        width = max(map(len, counts), default=0)
        for name in sorted(counts):
            print(f"{name:<{width}}  " + "  ".join(f"{k} {n}" for k, n in sorted(counts[name].items())))
        total = sum(counts.values(), Counter())
        print(f"{first} cases: " + ", ".join(f"{n} {k}" for k, n in sorted(total.items())))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
