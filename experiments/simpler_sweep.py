"""A policy on SIMPLER's evaluation protocol: every variant of Visual Matching and Variant Aggregation, resumable.

    python experiments/simpler_sweep.py policy=random dry_run=true                     # the plan, nothing is run
    python experiments/simpler_sweep.py policy=scripted tasks=[pick_coke_can] settings=[visual_matching] images=false
    python experiments/simpler_sweep.py policy=FOLDER workers=2                        # a saved policy

The same command continues where it stopped; finished trials are not repeated. Leaves ledger.jsonl, episodes.parquet and
summary.json. A variant whose assets are missing is reported as not run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two busy processes with two threads each collapse on two cores

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from envs.ledger import TrialLedger
from envs.simpler.protocol import SETTINGS, SimplerTrial, groups, missing_files, trials, variants
from episodes.files import write_atomic
from episodes.intervals import wilson
from episodes.types import Observation
from episodes.workers import map_jobs
from experiments.checks import refusing
from experiments.run_folder import digest, write_json
from experiments.schemas import SimplerSweepConfig

BLOCK = 5  # trials of one task and scene that a worker runs before it reports


def planned(settings: SimplerSweepConfig) -> list[SimplerTrial]:
    """The trials that the settings ask for, in the protocol's order; ValueError naming an unknown name."""
    known = groups()
    for name, values, choices in (("tasks", settings.tasks, known), ("settings", settings.settings, SETTINGS)):
        wrong = [value for value in values if value not in choices]
        if wrong:
            raise ValueError(f"{name}={wrong}: choose from {', '.join(choices)}")
    pairs = [(g, s) for g in settings.tasks or known for s in settings.settings if s in known[g]]
    offered = {v for pair in pairs for v in variants(*pair)}
    wrong = [v for v in settings.variants if v not in offered]
    if wrong:
        raise ValueError(f"variants={wrong}: choose from {', '.join(sorted(offered))}")
    found: list[SimplerTrial] = []
    for group, setting in pairs:
        for variant in variants(group, setting):
            if not settings.variants or variant in settings.variants:
                every = trials(group, setting, variant)
                for _, same in groupby(every, key=lambda t: t.task):
                    found += _thinned(list(same), settings.limit)
    return found


def _thinned(every: list[SimplerTrial], limit: int) -> list[SimplerTrial]:
    if not 0 < limit < len(every):
        return every
    return [every[int(i)] for i in np.linspace(0, len(every) - 1, limit).round()]


def plan_table(plan: Sequence[SimplerTrial]) -> str:
    """Task, setting, variants and trials of a plan, one row each."""
    rows = [("task", "setting", "variants", "trials")]
    for (group, setting), same in groupby(plan, key=lambda t: (t.group, t.setting)):
        own = list(same)
        rows.append((group, setting, str(len({t.variant for t in own})), str(len(own))))
    rows.append(("all", "", "", str(len(plan))))
    return "\n".join(f"{a:26s} {b:20s} {c:>8s} {d:>7s}" for a, b, c, d in rows)


class RandomActor:
    """Uniform actions of a tenth of the action space's range, gripper at random; seeded per episode."""

    execute = 1

    def __init__(self, spec: Any) -> None:
        self.high = np.array(spec.action_high, np.float32) * np.array([0.1] * 6 + [1.0], np.float32)

    def reset(self, mask: npt.NDArray[np.bool_], seeds: npt.NDArray[np.int64], instructions: Sequence[str]) -> None:
        if mask[0]:
            self.rng = np.random.default_rng(int(seeds[0]))

    def act(self, observations: Sequence[Observation | None]) -> npt.NDArray[np.float32]:
        return self.rng.uniform(-self.high, self.high, (1, 1, len(self.high))).astype(np.float32)


_session: dict[str, Any] = {}  # a worker's environment and actor, kept from block to block


def _open(task: str, policy: str, image_size: int, images: bool, device: str) -> tuple[Any, Any]:
    if _session.get("key") != (task, policy):
        if "env" in _session:
            _session["env"].close()
        from envs.simpler.env import SimplerEnv

        env = SimplerEnv(task, image_size=image_size, images=images)
        _session.update(key=(task, policy), env=env, actor=_actor(env, policy, device))
    return _session["env"], _session["actor"]


def _actor(env: Any, policy: str, device: str) -> Any:
    if policy == "random":
        return RandomActor(env.spec_)
    if policy == "scripted":
        from envs.oracles.mix import OracleMix
        from envs.simpler.oracles import oracle

        return oracle([env], OracleMix.only("expert"))
    from agents.make import load_policy

    loaded = load_policy(Path(policy), device)
    env.spec_.require_same(loaded.spec, f"policy={policy}")
    return loaded


def run_block(
    policy: str, image_size: int, images: bool, device: str, block: tuple[SimplerTrial, ...]
) -> list[dict[str, Any]]:
    """Roll out trials of one task and return their rows."""
    from envs.rollout import rollout

    env, actor = _open(block[0].task, policy, image_size, images, device)
    rows = []
    for trial, episode in zip(block, rollout(actor, [env], block, source=f"policy:{policy}", draw_all=False)):  # type: ignore[arg-type]
        rows.append(
            {
                "key": trial.key,
                "task": trial.group,
                "setting": trial.setting,
                "variant": trial.variant,
                "environment": trial.task,
                "place": trial.place,
                "instruction": episode.instruction,
                "final": bool(episode.success),
                "any": bool((episode.progress >= 1.0).any()),
                "progress": float(np.nanmax(episode.progress)),
                "steps": len(episode),
                "policy": policy,
            }
        )
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Success at the last step and at any step, per task and setting, with 95 % Wilson intervals.

    A task's rate is the mean over its variants, and of open and close drawer their mean, as in SIMPLER; `n`, `low` and
    `high` are those of the pooled trials.
    """
    found = []
    for group, setting in dict.fromkeys((r["task"], r["setting"]) for r in rows):
        own = [r for r in rows if (r["task"], r["setting"]) == (group, setting)]
        k, n = sum(r["final"] for r in own), len(own)
        low, high = wilson(k, n)
        rates = _means(own, "variant", "final")
        found.append(
            {
                "task": group,
                "setting": setting,
                "n": n,
                "final": float(np.mean(rates)),
                "low": low,
                "high": high,
                "any": float(np.mean(_means(own, "variant", "any"))),
            }
        )
    return found


def _means(rows: Sequence[dict[str, Any]], column: str, value: str) -> list[float]:
    names = dict.fromkeys(r[column] for r in rows)
    return [float(np.mean([r[value] for r in rows if r[column] == name])) for name in names]


def show(rows: Sequence[dict[str, Any]]) -> str:
    """The summary as text."""
    head = f"{'task':26s} {'setting':20s} {'n':>5s} {'final':>6s}  {'95 %':11s} {'any':>6s}"
    lines = [
        f"{r['task']:26s} {r['setting']:20s} {r['n']:5d} {r['final']:6.3f}  {r['low']:.2f} - {r['high']:.2f} "
        f"{r['any']:6.3f}"
        for r in rows
    ]
    return "\n".join([head, *lines])


def run_all(settings: SimplerSweepConfig) -> None:
    plan = planned(settings)
    if settings.dry_run:
        print(plan_table(plan))
        return
    from envs.simpler.assets import asset_folder

    folder = asset_folder()
    lacking = {trial.key: missing_files(trial, folder) for trial in plan}
    skipped = [trial for trial in plan if lacking[trial.key]]
    for variant, same in groupby(skipped, key=lambda t: f"{t.group}/{t.setting}/{t.variant}"):
        own = list(same)
        print(f"not run: {variant}, {len(own)} trials: {', '.join(lacking[own[0].key])} missing")
    plan = [trial for trial in plan if not lacking[trial.key]]
    place = Path(settings.runs) / "simpler_sweep" / digest(settings.policy, settings.image_size, settings.images)
    ledger = TrialLedger(place / "ledger.jsonl")
    pending: list[Any] = ledger.pending(plan)  # type: ignore[arg-type]
    print(f"{place}: {len(plan) - len(pending)} of {len(plan)} trials are done")
    jobs = [
        tuple(own[i : i + BLOCK])
        for _, same in groupby(pending, key=lambda t: (t.task, t.setup))
        for own in [list(same)]
        for i in range(0, len(own), BLOCK)
    ]
    run = partial(run_block, settings.policy, settings.image_size, settings.images, settings.device)
    done = len(plan) - len(pending)
    for rows in map_jobs(run, jobs, workers=min(settings.workers, max(len(jobs), 1))):
        for row in rows:
            ledger.add(row)
        done += len(rows)
        print(f"{done} of {len(plan)}: {rows[-1]['key']}", flush=True)
    rows = [ledger[trial] for trial in plan]  # type: ignore[index]
    write_atomic(place / "episodes.parquet", lambda path: pq.write_table(pa.Table.from_pylist(rows), path))
    found = summary(rows)
    write_json(place / "summary.json", {"policy": settings.policy, "rows": found, "not_run": [t.key for t in skipped]})
    print(show(found))


def parse(arguments: Sequence[str]) -> SimplerSweepConfig:
    """Settings from key=value words; ValueError naming an unknown key or a bad value."""
    try:
        merged = OmegaConf.merge(OmegaConf.structured(SimplerSweepConfig), OmegaConf.from_dotlist(list(arguments)))
        settings = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        known = ", ".join(f.name for f in fields(SimplerSweepConfig))
        raise ValueError(f"{str(error).splitlines()[0]}; the settings are {known}") from error
    assert isinstance(settings, SimplerSweepConfig)
    return settings


def main(arguments: Sequence[str] | None = None) -> None:
    with refusing("simpler_sweep"):
        run_all(parse(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    main()
