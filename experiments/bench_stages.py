"""The stages of the value benchmark as cached steps: episodes, trained models, scores."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from experiments.run_folder import digest
from valuefns.bench.generate import Bench, generate
from valuefns.bench.plan import BenchConfig

BENCH_FORMAT = 1  # raise it when the generator makes other episodes from the same settings


def bench_path(config: BenchConfig, cache: str) -> Path:
    """Where the benchmark's store lies: addressed by all that shapes an episode, not by how many there are."""
    shape = {k: v for k, v in asdict(config).items() if k not in ("tasks", "test", "train")}
    return Path(cache) / "datasets" / f"value_bench-{digest(BENCH_FORMAT, shape)}"


def make_bench(config: BenchConfig, cache: str, workers: int) -> Bench:
    return generate(config, bench_path(config, cache), workers)
