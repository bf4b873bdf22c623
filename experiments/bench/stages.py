"""The stages of the value benchmark as cached steps: episodes, trained models, scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from envs.counterfactual import Pair
from episodes.files import sha256_file
from episodes.importing import Known, import_dataset
from episodes.lerobot_layout import HEADER_PATH
from episodes.store import Episodes, EpisodeStore
from experiments.bench.schemas import OwnDataConfig, ValueBenchConfig
from experiments.data.schemas import pair
from experiments.loop.addresses import digest
from experiments.loop.cached import cached
from experiments.loop.stages import fit_latents
from valuefns.bench.annotations import Annotation, read_csv
from valuefns.bench.generate import Bench, bench_pairs, generate
from valuefns.bench.plan import BenchConfig
from valuefns.bench.probes import PROBES
from valuefns.make import load_value, make_value
from valuefns.protocol import ValueFunction
from valuefns.registry import reads_latents
from valuefns.settings import APPLIED
from valuefns.views import require_store

BENCH_FORMAT = 1  # raise it when the generator makes other episodes from the same settings


def bench_path(config: BenchConfig, cache: str) -> Path:
    """Where the benchmark's store lies: addressed by all that shapes an episode, not by how many there are."""
    shape = {k: v for k, v in asdict(config).items() if k not in ("tasks", "test", "train")}
    return Path(cache) / "datasets" / f"value_bench-{digest(BENCH_FORMAT, shape)}"


def make_bench(settings: ValueBenchConfig) -> Bench:
    """The generated benchmark, or the user's own data with its annotations."""
    if settings.data.path:
        return own_data(settings.data, settings.cache)
    return generate(settings.bench, bench_path(settings.bench, settings.cache), settings.workers)


def make_pairs(settings: ValueBenchConfig) -> dict[str, list[Pair]]:
    """Counterfactual pictures by task; none for data of one's own, which no simulator can draw again."""
    if settings.data.path:
        return {}
    place = bench_path(settings.bench, settings.cache)
    count = settings.probe_pairs
    return {
        task: bench_pairs(settings.bench, task, count, place.with_name(f"{place.name}-pairs-{task}-{count}"))
        for task in settings.bench.tasks if count
    }  # fmt: skip


def pairs_for(config: Any, made: dict[str, list[Pair]]) -> dict[str, list[Pair]]:
    """The pairs a model is scored on: one a task for a vision-language model, whose every answer costs."""
    return {task: pairs[:1] for task, pairs in made.items()} if hasattr(config, "backend") else made


def own_data(data: OwnDataConfig, cache: str) -> Bench:
    """A store as it is, another dataset imported into the cache once; with the annotations of a csv file."""
    source = Path(data.path)
    if not data.annotations:
        raise ValueError("data.annotations is empty: name the csv file of episode,type,m,n that goes with data.path")
    if (source / HEADER_PATH).exists():
        store = EpisodeStore.open(source, image_size=pair(data.image_size))
    else:
        known = Known(success=data.success, instruction=data.instruction or None)
        facts = {name: value for name, value in asdict(data).items() if name != "image_size"}  # one of reading
        target = Path(cache) / "datasets" / f"own-{digest(_fingerprint(source), facts)}"
        opened = partial(EpisodeStore.open, image_size=pair(data.image_size))
        store = cached(target, HEADER_PATH, lambda target: import_dataset(source, target, known), opened)
    return Bench(store, read_csv(Path(data.annotations), len(store)), {})


def _fingerprint(source: Path) -> list[str]:
    """The metadata of a dataset by content, everything else by size: enough to notice that it has changed."""
    files = sorted(p for p in ([source] if source.is_file() else source.rglob("*")) if p.is_file())
    return [f"{p.name} {p.stat().st_size} {sha256_file(p) if 'meta' in p.parts else ''}" for p in files]


def training_episodes(bench: Bench, groups: Sequence[str], tasks: Sequence[str]) -> Episodes:
    """The view of the training split that models learn from."""
    chosen = [a.episode for a in bench.split("train")
              if (a.kind in groups or a.group in groups) and (not tasks or a.task in tasks)]  # fmt: skip
    if not chosen:
        known = sorted({name for a in bench.split("train") for name in (a.kind, a.group) if name})
        raise ValueError(
            f"train_on={list(groups)}, train_tasks={list(tasks)}: no episode of the train split ({known}) is among "
            "them; give checkpoints={model: folder}, or annotate episodes with split `train`"
        )
    return bench.store.select(sorted(chosen))


def trained(settings: ValueBenchConfig, name: str, bench: Bench) -> ValueFunction:
    """The value function of a model's name: loaded from its checkpoint or from the cache, or trained into it."""
    if name in settings.checkpoints:
        value = load_value(settings.checkpoints[name], settings.device)
        require_store(value, bench.store)
        return value
    config = settings.valuefns[name]
    if config.name in PROBES or isinstance(config, APPLIED):
        return make_value(config, settings.latents, settings.seed, settings.device)
    if hasattr(config, "backend"):  # a vision-language model learns nothing; its examples are shown, not trained on
        shown = bench.store
        if getattr(config, "shots", 0) and not config.shots_store:
            shown = training_episodes(bench, settings.train_on, settings.train_tasks)
        return make_value(config, settings.latents, settings.seed, settings.device).fit(shown)
    store = training_episodes(bench, settings.train_on, settings.train_tasks)
    if config.name in ("constant", "oracle"):  # without weights there is nothing to keep
        return make_value(config, settings.latents).fit(store)
    return fitted(settings, config, store)


def fitted(settings: Any, config: Any, store: Episodes) -> ValueFunction:
    """A value function trained on `store`, kept in the cache by everything that made it.

    `settings` has latents, cache, seed and device.
    """
    place = Path(settings.cache) / "values" / digest(
        BENCH_FORMAT, "bench", store.content_hash, config, settings.latents, settings.seed)  # fmt: skip

    def fit(place: Path) -> None:
        latents = fit_latents(settings, store, config) if reads_latents(config) else settings.latents
        make_value(config, latents, settings.seed, settings.device).fit(store, place).save(place)

    return cached(place, "model.safetensors", fit, lambda place: load_value(place, settings.device, config.name))


def tested_of(bench: Bench) -> list[Annotation]:
    """The annotations under test, those of one task after the other."""
    return bench.split("test")
