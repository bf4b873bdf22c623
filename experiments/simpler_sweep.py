"""A policy on SIMPLER's evaluation protocol: every variant of Visual Matching and Variant Aggregation, resumable.

    python experiments/simpler_sweep.py policy=random dry_run=true                     # the plan, nothing is run
    python experiments/simpler_sweep.py policy=scripted tasks=[pick_coke_can] settings=[visual_matching] images=false
    python experiments/simpler_sweep.py policy=FOLDER workers=2 slots=4                # a saved policy
    python experiments/simpler_sweep.py policy=ws://127.0.0.1:8000 adapter=fractal     # a policy server
    python experiments/simpler_sweep.py policy=ws://127.0.0.1:8000 backend=simpler_env  # on the original

The same command continues where it stopped; finished trials are not repeated, and trials whose server did not answer
are tried again. Leaves ledger.jsonl, episodes.parquet, summary.json, table.md and videos/. A variant whose assets are
missing is reported as not run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two busy processes with two threads each collapse on two cores

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from envs.ledger import TrialLedger
from envs.simpler.protocol import SETTINGS, SimplerTrial, groups, missing_files, trials, variants
from episodes.files import write_atomic, writer_lock, writing
from episodes.workers import map_jobs
from experiments.loop.checks import refusing
from experiments.loop.run_folder import digest, write_json
from experiments.loop.schemas import SimplerSweepConfig
from experiments.simpler_tables import markdown, show, summary
from experiments.simpler_worker import BLOCK, Job, check_tasks, drawn_size, policy_content, run_job

COLUMNS = pa.schema(
    [(name, pa.string()) for name in ("key", "task", "setting", "variant", "environment", "place", "policy", "backend")]
    + [("instruction", pa.string()), ("final", pa.bool_()), ("any", pa.bool_()), ("progress", pa.float64())]
    + [("steps", pa.int64()), ("error", pa.string())]
)


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


def jobs_of(pending: Iterable[SimplerTrial], settings: SimplerSweepConfig, size: tuple[int, int]) -> list[Job]:
    """Pending trials in blocks of one task and scene, large enough for the slots of a worker."""
    block = max(BLOCK, 3 * settings.slots)
    return [
        Job(tuple(own[i : i + block]), size)
        for _, same in groupby(pending, key=lambda t: (t.task, t.setup))
        for own in [list(same)]
        for i in range(0, len(own), block)
    ]


def run_all(settings: SimplerSweepConfig) -> None:
    plan = planned(settings)
    if settings.dry_run:
        print(plan_table(plan))
        return
    if settings.backend == "simpler_env":
        from experiments.simpler_original import offered

        plan, skipped = offered(plan)
    else:
        plan, skipped = with_assets(plan)
    settings = replace(settings, content=policy_content(settings))
    place = folder_of(settings)
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
    lock = writer_lock(place / "lock", f"the sweep {place}")
    try:
        run_in(place, settings, plan, skipped)
    finally:
        lock.release()


def folder_of(settings: SimplerSweepConfig) -> Path:
    """Where a sweep's results lie: another policy, or another part of the protocol, is another folder.

    `limit` is not in its name: a sweep that is given more trials continues.
    """
    facts: list[Any] = [settings.policy, settings.adapter, settings.image_size, settings.images, settings.execute]
    facts += [settings.backend]  # image_size=0 stands for the policy's own, which its content fixes
    part = [sorted(settings.tasks), sorted(settings.settings), sorted(settings.variants)]
    if part != [[], sorted(SETTINGS), []]:
        facts += part
    return Path(settings.runs) / "simpler_sweep" / digest(*facts, *filter(None, [settings.content]))


def run_in(
    place: Path, settings: SimplerSweepConfig, plan: Sequence[SimplerTrial], skipped: Sequence[SimplerTrial]
) -> None:
    """Run the trials that are missing in the folder, and write its tables."""
    ledger = TrialLedger(place / "ledger.jsonl")
    pending: list[Any] = ledger.pending(plan)  # type: ignore[arg-type]
    print(f"{place}: {len(plan) - len(pending)} of {len(plan)} trials are done")
    if pending:
        check_tasks(settings, pending)
    errors = collect(settings, plan, pending, ledger)
    rows = [ledger[t] if t in ledger else errors[t.key] for t in plan if t in ledger or t.key in errors]  # type: ignore[operator,index]
    if not rows:
        raise ValueError(f"no trial of {len(plan)} has a result; see the lines above")
    write_atomic(place / "episodes.parquet", lambda path: pq.write_table(pa.Table.from_pylist(rows, COLUMNS), path))
    found = summary(rows)
    facts = {"policy": settings.policy, "content": settings.content, "backend": settings.backend, "rows": found}
    write_json(place / "summary.json", facts | {"not_run": [t.key for t in skipped], "errors": list(errors)})
    write_atomic(place / "table.md", markdown(settings.policy, found))
    print(show(found))
    if settings.videos and settings.backend == "maniskill3":
        film_failures(settings, plan, rows, place)
    missing = len(plan) - sum(not row["error"] for row in rows)
    if missing:
        print(f"{missing} of {len(plan)} trials have no result; the same command tries them again")


def with_assets(plan: Sequence[SimplerTrial]) -> tuple[list[SimplerTrial], list[SimplerTrial]]:
    """The trials that can run here and those whose assets are missing, which are named."""
    from envs.simpler.assets import asset_folder

    folder = asset_folder()
    lacking = {trial.key: missing_files(trial, folder) for trial in plan}
    skipped = [trial for trial in plan if lacking[trial.key]]
    for variant, same in groupby(skipped, key=lambda t: f"{t.group}/{t.setting}/{t.variant}"):
        own = list(same)
        print(f"not run: {variant}, {len(own)} trials: {', '.join(lacking[own[0].key])} missing")
    return [trial for trial in plan if not lacking[trial.key]], skipped


def collect(
    settings: SimplerSweepConfig, plan: Sequence[SimplerTrial], pending: Sequence[SimplerTrial], ledger: TrialLedger
) -> dict[str, dict[str, Any]]:
    """Run the pending trials, results into the ledger; returns the error rows. Ends early where nobody answers."""
    errors: dict[str, dict[str, Any]] = {}
    done, in_a_row = len(plan) - len(pending), 0
    for rows in _results(settings, pending):
        for row in rows:
            in_a_row = in_a_row + 1 if row["error"] else 0
            if row["error"]:
                errors[row["key"]] = row
                print(f"no result: {row['key']}: {row['error']}", flush=True)
            else:
                ledger.add(row)
                done += 1
        print(f"{done} of {len(plan)}: {rows[-1]['key']}", flush=True)
        if in_a_row >= settings.give_up:
            print(f"the sweep ends: {in_a_row} trials in a row without an answer of {settings.policy}")
            break
    return errors


def _results(settings: SimplerSweepConfig, pending: Sequence[SimplerTrial]) -> Iterator[list[dict[str, Any]]]:
    if not pending:
        return
    if settings.backend == "simpler_env":
        from experiments.simpler_original import results

        yield from results(settings, pending)
        return
    jobs = jobs_of(pending, settings, drawn_size(settings))
    yield from map_jobs(partial(run_job, settings), jobs, workers=min(settings.workers, len(jobs)))


def film_failures(
    settings: SimplerSweepConfig, plan: Sequence[SimplerTrial], rows: Sequence[dict[str, Any]], place: Path
) -> None:
    """Run failed trials again with every picture drawn, one of each environment first, and write them as mp4."""
    failed = {row["key"] for row in rows if not row["error"] and not row["final"]}
    made = {path.stem.replace("--", "/") for path in (place / "videos").glob("*.mp4")}
    seen: dict[str, int] = {}
    ranked = []
    for trial in plan:
        if trial.key in failed and trial.key not in made:
            seen[trial.task] = seen.get(trial.task, 0) + 1
            ranked.append((seen[trial.task], trial))
    chosen = [trial for _, trial in sorted(ranked, key=lambda item: item[0])][: max(settings.videos - len(made), 0)]
    size = drawn_size(settings)
    for trial in sorted(chosen, key=lambda t: (t.task, t.key)):
        for row in run_job(settings, Job((trial,), size, str(place / "videos"))):
            print(f"video: {place / 'videos' / row['video']}" if "video" in row else f"no video: {row['error']}")


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
        try:
            run_all(parse(sys.argv[1:] if arguments is None else arguments))
        except ConnectionError as error:
            raise ValueError(str(error)) from error


if __name__ == "__main__":
    main()
