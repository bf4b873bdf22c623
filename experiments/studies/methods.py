"""The arms of the study of methods and values, and how one of them becomes a cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from agents.extraction import labeller
from episodes.store import EpisodeStore
from experiments.loop.addresses import digest
from experiments.loop.schemas import MethodStudyConfig
from experiments.loop.stages import (
    ArmJob,
    load_values,
    report_labels,
    run_arm,
    score,
    share_first_iteration,
    train_policy,
)
from experiments.loop.value_report import episode_facts, value_metrics
from experiments.studies.arms import Arm
from experiments.studies.engine import Cell, identity
from valuefns.settings import ConstantConfig


def planned(settings: MethodStudyConfig) -> list[Arm]:
    """The arms the settings name, in the table's order; an unknown name is a ValueError."""
    study = settings.study
    unknown = [name for name in study.values if name not in settings.values]
    if unknown:
        raise ValueError(
            f"study.values={unknown}: choose from {', '.join(settings.values)}, or add +valuefn@values.mine=viva_tiny"
        )
    for method in (*study.plain, *study.methods, *study.shuffled, *study.same_rollouts):
        labeller(method)
    arms = [Arm(method) for method in study.plain]
    arms += [Arm(method, value) for value in study.values for method in study.methods]
    for first in study.values[:1]:
        arms += [Arm(method, first, shuffled=True) for method in study.shuffled]
        if study.tokens:
            arms += [Arm("recap", first), *(Arm("recap", first, token=token) for token in study.tokens)]
        if study.iterations > 1:
            helped = (False, True) if study.corrections else (False,)
            arms += [Arm("recap", first), *(Arm("recap", first, study.iterations, help_) for help_ in helped)]
            arms += [
                Arm(method, "" if method in study.plain else first, study.iterations, rollouts_of="recap")
                for method in study.same_rollouts
            ]
    return list(dict.fromkeys(arms))


def task_name(settings: Any) -> str:
    """The name of the settings' task; one of SIMPLER's with the prefix `simpler_`."""
    import envs

    task = envs.find_task(settings.task.env_id)
    return f"simpler_{task.name}" if task.name in envs.SIMPLER_TASKS else task.name


def arm_settings(settings: MethodStudyConfig, arm: Arm) -> MethodStudyConfig:
    """The study's settings as this arm uses them: with its value function, or the one that nothing reads."""
    valuefn = settings.values[arm.value] if arm.value else ConstantConfig()
    return replace(settings, valuefn=valuefn, iterations=arm.iterations, corrections=arm.corrections)


def cell(settings: MethodStudyConfig, arm: Arm) -> Cell:
    """The cell of an arm on the settings' task under their data seed."""
    task = task_name(settings)
    facts = identity(arm_settings(settings, arm), "study", "values", "methods", "preset")
    about = {"task": task, "seed": settings.seed, "arm": arm.name} | asdict(arm)
    facts |= {"arm": asdict(arm), "fine_tune": settings.study.fine_tune}
    return Cell(f"{task}-seed{settings.seed}-{arm.name}", facts, about)


def value_cell(settings: MethodStudyConfig, name: str) -> Cell:
    """The cell of a learned value's metrics on the demonstrations."""
    task = task_name(settings)
    mine = replace(settings, valuefn=settings.values[name])
    leave_out = ("study", "values", "methods", "preset", "policy", "labeller", "evaluation", "iterations", "rollouts")
    facts = identity(mine, *leave_out, "corrections", "takeover")
    return Cell(f"{task}-seed{settings.seed}-value-{name}", facts, {"task": task, "seed": settings.seed, "value": name})


def scored(settings: MethodStudyConfig, store: EpisodeStore, name: str) -> Path:
    """The file of the cross-fitted values of every demonstration by the value of this name; "" for none."""
    valuefn = settings.values[name] if name else ConstantConfig()
    return score(settings, store, valuefn, workers=settings.workers)[1] / "values.npz"


def metrics(job: tuple[Path, Path]) -> dict[str, Any]:
    """The metrics of the values in a file on the demonstrations of a store."""
    store, values = job
    return {"metrics": value_metrics(episode_facts(EpisodeStore.open(store)), load_values(values))}


def start_policy(settings: MethodStudyConfig, store: EpisodeStore) -> Path | None:
    """The folder of the cloned policy that every arm of the data seed starts from; None where each starts anew."""
    if not settings.study.fine_tune:
        return None
    facts = identity(
        settings, "study", "values", "valuefn", "methods", "preset", "labeller", "evaluation", "iterations"
    )
    task = f"{task_name(settings)}-seed{settings.seed}"
    folder = Path(settings.runs) / "method_study" / task / f"start-{digest(facts)}"
    train_policy(settings, store, labeller("bc")(store, [], settings.labeller), folder)
    return folder / "policy-0"


def arm_job(
    settings: MethodStudyConfig, arm: Arm, store: EpisodeStore, values: Path, start: Path | None = None
) -> ArmJob:
    """What one process needs to run the arm, in a folder of its own."""
    folder, policy_of, data_of = _place(settings, arm), None, None
    if arm.token:
        policy_of = _place(settings, replace(arm, token=""))
    if arm.rollouts_of:
        data_of = _place(settings, Arm(arm.rollouts_of, settings.study.values[0], arm.iterations))
    elif arm.iterations > 1:
        share_first_iteration(_place(settings, replace(arm, iterations=1, corrections=False)), folder)
    mine = arm_settings(settings, arm)
    if start is not None:
        training = replace(mine.policy.training, steps=settings.study.fine_tune)
        mine = replace(mine, policy=replace(mine.policy, training=training))
    return ArmJob(mine, arm, values, store.path, folder, policy_of, start, data_of)


def made(job: ArmJob) -> dict[str, Any]:
    """A cell's result: every evaluated episode, and the label report of the demonstrations."""
    rows = run_arm(job)
    store = EpisodeStore.open(job.store)
    shares = report_labels(job.settings, store, load_values(job.values), [job.arm.method])
    return {"rows": rows, "labels": [share.row() for share in shares]}


def waves(arms: Sequence[Arm]) -> list[list[Arm]]:
    """The arms in groups that can run together: those that begin with another's policy come after it."""
    first = [arm for arm in arms if arm.iterations == 1 and not arm.token]
    last = [arm for arm in arms if arm.rollouts_of]
    return [wave for wave in (first, [arm for arm in arms if arm not in first + last], last) if wave]


def _place(settings: MethodStudyConfig, arm: Arm) -> Path:
    task = f"{task_name(settings)}-seed{settings.seed}"
    return Path(settings.runs) / "method_study" / task / f"{arm.name}-{digest(cell(settings, arm).identity)}"
