"""The main job, stage after stage: collect, value, labels, policies, evaluation, report."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from agents.summary import summarise
from episodes.workers import map_jobs
from experiments.loop import schemas
from experiments.loop.applied import said_of_applied
from experiments.loop.checks import check
from experiments.loop.pinned import pin
from experiments.loop.results import sentence, table, write_results
from experiments.loop.run_folder import RunFolder, write_json
from experiments.loop.schemas import RecapSimConfig
from experiments.loop.stages import ArmJob, collect, report_labels, run_arm, score
from experiments.loop.tracking import track_run
from experiments.report.page import write_report
from experiments.studies.arms import Arm


def run_all(config: DictConfig) -> Path:
    """Run every stage, and return the run's folder; a stage whose files are there already is not run again."""
    settings = schemas.resolve(config)
    check(settings)
    run = RunFolder("recap_sim", config, title(settings), leaves="report.html")
    print(f"{'Continuing' if run.continued else 'Run'} {run.path}", flush=True)
    settings, checkpoints = pin(settings, run.facts.get("checkpoints"))
    run.record("checkpoints", checkpoints)
    with run.stage("collect"):
        store = collect(settings)
        successes = sum(row["success"] for row in store.index)
        steps = sum(row["length"] for row in store.index)
        print(f"  {len(store)} episodes, {steps} steps, {successes} succeed ({store.path})", flush=True)
    with run.stage("value"):
        if told := said_of_applied(settings.valuefn, store):
            print(f"  {told}", flush=True)
        values, place = score(settings, store, settings.valuefn, workers=settings.workers)
    with run.stage("labels"):
        shares = report_labels(settings, store, values, settings.methods)
        write_json(run.path / "label_report.json", {"rows": [share.row() for share in shares]})
    with run.stage("policies"):
        arms = [Arm(method, iterations=settings.iterations) for method in settings.methods]
        jobs = [ArmJob(settings, arm, place / "values.npz", store.path, run.path / "arms" / arm.method) for arm in arms]
        rows = []
        for arm, result in zip(arms, map_jobs(run_arm, jobs, min(settings.workers, len(jobs))), strict=True):
            rows += result
            print(f"  {sentence(summarise(arm.method, result))}", flush=True)
    with run.stage("report"):
        write_results(run, settings, store, values, place, rows)
    if settings.track:
        with run.stage("track"):
            track_run(run, settings)
    run.finish()
    page = write_report(run.path)
    print(table(run.path), f"\nReport: {page}", sep="\n", flush=True)
    return run.path


def title(settings: RecapSimConfig) -> str:
    """What a run is, in one line: task, methods and models."""
    return (
        f"{settings.task.env_id}: {', '.join(settings.methods)} with value={settings.valuefn.name}, "
        f"policy={settings.policy.name}, latents={settings.latents.name}, preset={settings.preset}"
    )
