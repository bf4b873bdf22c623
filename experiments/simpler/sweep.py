"""A sweep in its folder: pending trials go through workers into the ledger, and the ledger into files and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agents.adapter import load_adapter
from envs.ledger import TrialLedger, count, flag, number, text
from envs.simpler.protocol import SETTINGS, SimplerTrial
from episodes.files import write_atomic
from episodes.progress import progress
from episodes.workers import map_jobs
from experiments.loop.addresses import digest
from experiments.loop.run_folder import command_line, write_json
from experiments.loop.schemas import SimplerSweepConfig
from experiments.report.sweep import write_sweep_page
from experiments.simpler.tables import markdown, show, summary
from experiments.simpler.worker import BLOCK, Job, check_tasks, drawn_size, row_of, run_job

COLUMNS = pa.schema(
    [(name, pa.string()) for name in ("key", "task", "setting", "variant", "environment", "place", "policy", "backend")]
    + [("instruction", pa.string()), ("final", pa.bool_()), ("any", pa.bool_()), ("progress", pa.float64())]
    + [("steps", pa.int64()), ("error", pa.string())]
)

MEASURED = {"instruction": text, "final": flag, "any": flag, "progress": number, "steps": count}


def folder_of(settings: SimplerSweepConfig) -> Path:
    """Where a sweep's results lie: another policy, or another part of the protocol, is another folder.

    `limit` is not in its name: a sweep that is given more trials continues.
    """
    adapter = load_adapter(settings.adapter) if settings.adapter else ""  # what it says: its file may be edited
    facts: list[Any] = [settings.policy, adapter, settings.image_size, settings.images, settings.execute]
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
    for trial in plan:
        _own(ledger, trial, settings)  # before hours are spent on the others
    errors = run_trials(settings, plan, pending, ledger)
    rows = [row for t in plan if (row := _own(ledger, t, settings) or errors.get(t.key))]
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
    print(f"Page: {write_sweep_page(place, command_line())}")
    missing = len(plan) - sum(not row["error"] for row in rows)
    if missing:
        print(f"{missing} of {len(plan)} trials have no result; the same command tries them again")


def _own(ledger: TrialLedger, trial: SimplerTrial, settings: SimplerSweepConfig) -> dict[str, Any] | None:
    """The ledger's row of a trial, None where it has none; ValueError: it is not one of this sweep."""
    same = {name: value for name, value in row_of(trial, settings).items() if name not in MEASURED}
    return ledger.read(trial, same, MEASURED) if trial in ledger else None  # type: ignore[arg-type,operator]


def run_trials(
    settings: SimplerSweepConfig, plan: Sequence[SimplerTrial], pending: Sequence[SimplerTrial], ledger: TrialLedger
) -> dict[str, dict[str, Any]]:
    """Run the pending trials, results into the ledger; returns the error rows. Ends early where nobody answers."""
    errors: dict[str, dict[str, Any]] = {}
    in_a_row = 0
    with progress("trials", len(plan), len(plan) - len(pending)) as bar:
        for rows in _results(settings, pending):
            for row in rows:
                in_a_row = in_a_row + 1 if row["error"] else 0
                if row["error"]:
                    errors[row["key"]] = row
                    print(f"no result: {row['key']}: {row['error']}", flush=True)
                else:
                    ledger.add(row)
            bar.advance(len(rows))
            if in_a_row >= settings.give_up:
                print(f"the sweep ends: {in_a_row} trials in a row without an answer of {settings.policy}")
                break
    return errors


def _results(settings: SimplerSweepConfig, pending: Sequence[SimplerTrial]) -> Iterator[list[dict[str, Any]]]:
    if not pending:
        return
    if settings.backend == "simpler_env":
        from experiments.simpler.original import results

        yield from results(settings, pending)
        return
    jobs = jobs_of(pending, settings, drawn_size(settings))
    yield from map_jobs(partial(run_job, settings), jobs, workers=min(settings.workers, len(jobs)))


def jobs_of(pending: Iterable[SimplerTrial], settings: SimplerSweepConfig, size: tuple[int, int]) -> list[Job]:
    """Pending trials in blocks of one task and scene, large enough for the slots of a worker."""
    block = max(BLOCK, 3 * settings.slots)
    return [
        Job(tuple(own[i : i + block]), size)
        for _, same in groupby(pending, key=lambda t: (t.task, t.setup))
        for own in [list(same)]
        for i in range(0, len(own), block)
    ]


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
