"""Make the benchmark: record every group of every task, leave out and count what did not come out as planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from envs.counterfactual import Pair, cached_pairs
from envs.ledger import Trial
from envs.rollout import record
from episodes.files import make_once
from episodes.lerobot_layout import HEADER_PATH
from episodes.store import Episodes, EpisodeStore
from valuefns.bench.annotations import Annotation, annotate
from valuefns.bench.demonstrator import make_bench_env, make_demonstrator
from valuefns.bench.plan import GROUPS, SPLITS, BenchConfig, Counts, trial_of, trial_seed

TOGETHER = (("hesitation",), ("retry", "expert"), ("drop", "wrong_object"))  # groups that share a time limit
PAIRS = 900  # of a block of a thousand expert trials, where those of the pairs begin
ENV_ID = "foresight/SuboptimalValueBench-v0"  # the EnvSpec of a store of six tasks; every episode names its own


@dataclass(frozen=True)
class Bench:
    """The episodes of a benchmark and what is known of them; rejected counts (task, group, reason)."""

    store: Episodes
    annotations: list[Annotation]
    rejected: dict[tuple[str, str, str], int]

    def split(self, name: str) -> list[Annotation]:
        """The annotations of a split: train or test."""
        return [a for a in self.annotations if a.split == name]


def read_bench(store: EpisodeStore, config: BenchConfig) -> Bench:
    """The first episodes of each group that came out as planned, up to the counts; the store says everything."""
    taken: Counter[tuple[str, str, str]] = Counter()
    rejected: Counter[tuple[str, str, str]] = Counter()
    annotations = []
    for row, segments in zip(store.index, store.column("segments"), strict=True):
        split, task, group, _ = trial_of(row["seed"])
        if task not in config.tasks or taken[split, task, group] >= _counts(config, split).of(task, group):
            continue
        try:
            made = annotate(row["episode_index"], segments, row["success"], group, task=task, split=split)
            if group == "hesitation" and not _within(config, made, row["length"]):
                raise ValueError("share of the episode outside the range")
        except ValueError as error:
            rejected[task, group, str(error)] += 1
            continue
        if group == "retry":
            made = replace(made, group=row["variant"])
        taken[split, task, group] += 1
        annotations.append(made)
    return Bench(store, annotations, dict(rejected))


def _within(config: BenchConfig, made: Annotation, T: int) -> bool:
    low, high = config.hesitation_share
    return low <= (made.n - made.m) / T <= high


def _counts(config: BenchConfig, split: str) -> Counts:
    return config.test if split == "test" else config.train


def missing(store: EpisodeStore, config: BenchConfig, task: str, groups: Sequence[str]) -> list[Trial]:
    """The trials of some groups still to record for a task: as many more of each as came out wrong.

    ValueError where a group fails too often, which names it and the reasons.
    """
    bench = read_bench(store, config)
    have = Counter((a.split, *trial_of(_seed(store, a))[1:3]) for a in bench.annotations)
    tried = Counter(trial_of(row["seed"])[:3] for row in store.index)
    trials = []
    for split in SPLITS:
        for group in groups:
            wanted = _counts(config, split).of(task, group)
            if not wanted:
                continue
            key = (split, task, group)
            if tried[key] > 3 * wanted + 6:
                reasons = "; ".join(f"{n} {why}" for (t, g, why), n in bench.rejected.items() if (t, g) == key[1:])
                raise ValueError(f"bench: {task} {group}: {have[key]} of {tried[key]} came out as planned ({reasons})")
            trials += [Trial(trial_seed(*key, tried[key] + i)) for i in range(wanted - have[key])]
    return trials


def _seed(store: EpisodeStore, annotation: Annotation) -> int:
    return int(store._rows[annotation.episode]["seed"])


def generate(config: BenchConfig, path: Path, workers: int = 1) -> Bench:
    """Record the benchmark into the store at `path`, or continue or open it there.

    Resumable, and it grows: what is missing is read from the store, and greater counts continue it (the first episodes
    stay the same), so `path` must depend on every setting but the tasks and the counts. ValueError: a group that seldom
    comes out as planned.
    """
    begun = (path / HEADER_PATH).exists

    def done() -> bool:
        return begun() and complete(read_bench(EpisodeStore.open(path), config), config)

    make_once(path, done, lambda: _record_missing(config, path, workers))
    return read_bench(EpisodeStore.open(path), config)


def _record_missing(config: BenchConfig, path: Path, workers: int) -> None:
    if not (path / HEADER_PATH).exists():
        env = make_bench_env(config, config.tasks[0], 1)
        longest = max(_limit(config, task, groups) for task in config.pace for groups in TOGETHER)
        EpisodeStore.create(path, replace(env.spec_, env_id=ENV_ID, max_steps=longest)).close()
        env.close()
    for task in config.tasks:
        for groups in TOGETHER:
            while trials := missing(EpisodeStore.open(path), config, task, groups):
                print(f"  {task}: {len(trials)} episodes to record", flush=True)
                with EpisodeStore.open(path, "a") as writer:
                    record(
                        partial(make_bench_env, config, task, _limit(config, task, groups)),
                        partial(make_demonstrator, config),
                        trials,
                        writer,
                        source="oracle",
                        workers=min(workers, len(trials)),
                        action_noise=config.action_noise,
                    )


def bench_pairs(config: BenchConfig, task: str, count: int, path: Path) -> list[Pair]:
    """`count` experts of a task, each with counterfactual pictures too, recorded once into the folder `path`.

    Their seeds are test seeds that no episode of the benchmark has.
    """
    trials = [Trial(trial_seed("test", task, "expert", k)) for k in range(PAIRS, PAIRS + 3 * count)]
    return cached_pairs(
        path,
        partial(make_bench_env, config, task, _limit(config, task, ("expert",))),
        partial(make_demonstrator, config),
        trials,
        count,
        source="oracle",
        action_noise=config.action_noise,
    )


def complete(bench: Bench, config: BenchConfig) -> bool:
    """Whether every episode that the settings ask for is there."""
    wanted = sum(_counts(config, s).of(task, g) for s in SPLITS for task in config.tasks for g in GROUPS)
    return len(bench.annotations) == wanted


def _limit(config: BenchConfig, task: str, groups: Sequence[str]) -> int:
    """Steps: a failure lasts 1.3 of an expert's times, a success may take `limit` of them beside the longest pause."""
    expert = config.pace[task].seconds * config.hz
    longest = config.hesitation_share[1]
    pause = expert * longest / (1 - longest) if "hesitation" in groups else 0.0
    return round(expert * (1.3 if "drop" in groups else config.limit) + pause)
