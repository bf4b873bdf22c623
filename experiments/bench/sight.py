"""Does a run's value look? The probes of valuefns/bench/sight.py on its held-out demonstrations, fold by fold."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from envs import TASKS, find_task
from envs.counterfactual import Pair, cached_pairs
from envs.ledger import Trial
from envs.oracles.mix import OracleMix
from envs.tasks import Task
from episodes import seeds
from episodes.store import Episodes
from experiments.loop.addresses import digest
from experiments.loop.applied import said_of_applied
from experiments.loop.schemas import RecapSimConfig
from experiments.loop.stages import CACHE_FORMAT, fit_latents, make_env, make_oracle
from valuefns.bench.sight import Sight, across_rows, compare, look, rows, verdict_of
from valuefns.crossfit import fold_of
from valuefns.make import load_value, make_value
from valuefns.protocol import ValueFunction
from valuefns.registry import reads_latents

FIRST = 900_000  # of TUNE or EVAL, where the seeds of the pairs begin; no trial has them


def make_pairs(settings: RecapSimConfig, count: int, split: str = "tune") -> list[Pair]:
    """`count` successes of the scripted expert with counterfactual pictures, from the cache; robosuite alone.

    They move as the demonstrations do, with the same noise and time limit: where that is too short for any success, or
    the task has no object, there are none.
    """
    if not count or not isinstance(find_task(settings.task.env_id), Task):
        return []
    pool = (seeds.EVAL if split == "eval" else seeds.TUNE)[FIRST:]
    collect = settings.collect
    address = digest(CACHE_FORMAT, "pairs", settings.task, collect.max_steps, collect.action_noise, split, count)
    return cached_pairs(
        Path(settings.cache) / "pairs" / address,
        partial(make_env, settings.task, collect.max_steps),
        partial(make_oracle, OracleMix.only("expert")),
        [Trial(s) for s in pool[: 4 * count]],
        count,
        source="oracle",
        action_noise=collect.action_noise,
    )


def fold_value(settings: RecapSimConfig, store: Episodes, place: Path, k: int, train: Sequence[int]) -> ValueFunction:
    """The k-th fold's model, loaded; one that learns nothing worth saving is made again."""
    folder = place / f"fold-{k}"
    if (folder / "config.json").exists():
        return load_value(folder, settings.device, settings.valuefn.name)
    latents = fit_latents(settings, store, settings.valuefn) if reads_latents(settings.valuefn) else settings.latents
    return make_value(settings.valuefn, latents, settings.seed, settings.device).fit(store.select(train))


def measure_sight(
    settings: RecapSimConfig,
    store: Episodes,
    values: Sequence[np.ndarray],
    progress: Sequence[np.ndarray],
    place: Path,
    episodes: int,
    pairs: Sequence[Pair],
) -> dict[str, Any]:
    """What the value of a run looks at: {"looks", "rows", "note"}.

    `episodes` held-out demonstrations a fold, drawn at random, and the pairs, dealt to the folds in turn. `values` and
    `progress` (T + 1,) are those of all episodes, `place` the folder of the fold models.
    """
    fold = fold_of(len(store), settings.folds, settings.seed)
    instruction = other_instruction(store)
    limit, seen, n = store.spec.max_steps, Sight(), 0
    for k in range(settings.folds):
        train = np.flatnonzero(fold != k) if settings.folds > 1 else np.arange(len(store))
        value = fold_value(settings, store, place, k, train.tolist())
        held = np.random.default_rng([settings.seed, k]).permutation(np.flatnonzero(fold == k))[:episodes]
        if len(held) > 1:
            seen.add(look(value, list(store.select(held.tolist())), instruction, limit, settings.seed))
            n += len(held)
        mine = pairs[k :: settings.folds]
        if mine:
            seen.add(compare(value, mine, limit))
    steps = [row["length"] for row in store.index]
    curves = [[x[:T] for x, T in zip(some, steps, strict=True)] for some in (values, progress)]
    found = across_rows(curves[0], curves[1], fold, store.spec.hz) + rows(seen)
    note = f"{n} demonstrations that the model had not seen" if settings.folds > 1 else f"{n} of its own demonstrations"
    if told := said_of_applied(settings.valuefn, store):
        note = f"{n} demonstrations ({told})"
    note += f", {len(pairs)} pairs of a scripted expert's pictures with and without what it has in its hand."
    return {"looks": verdict_of(found), "rows": found, "note": note}


def other_instruction(store: Episodes) -> str:
    """The words of another task, which no episode of the store has."""
    said = {text for row in store.index for text in row["tasks"]}
    return next(task.instruction for task in TASKS.values() if task.instruction not in said)
