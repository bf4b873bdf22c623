"""Does a value that looks ahead make a better policy? Every method on every value, over tasks and data seeds.

    python experiments/method_study.py -m task=lift,stack,pick_place_can seed=0,1,2 study.corrections=true
    python experiments/method_study.py task=stack seed=0 study.methods=[recap] study.values=[viva]

A cell is one arm (a method on a value) on one task under one data seed. Each leaves <study.results>/cells/*.json when
it is done, the same command skips those that are there, and table and report are rebuilt from the cells alone. All
arms of a task and data seed share demonstrations, gradient steps and evaluation trials.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two busy processes with two threads each collapse on two cores

import hydra
from omegaconf import DictConfig, OmegaConf

from agents.evaluate import summarise
from agents.extraction import labeller
from episodes.store import EpisodeStore
from episodes.workers import map_jobs
from experiments import schemas
from experiments.checks import check_common, refusing
from experiments.method_table import rebuild
from experiments.pinned import pin
from experiments.run_folder import LATER, NOT_IDENTITY, command_line, digest, read_json, write_json
from experiments.schemas import MethodStudyConfig, RecapSimConfig
from experiments.stages import Arm, ArmJob, collect, load_values, report_labels, run_arm, score, share_first_iteration
from experiments.value_report import truths, value_metrics
from valuefns.constant import ConstantConfig

schemas.register()


@dataclass(frozen=True)
class StudyArm:
    """A method on a value; `iterations` 2 adds the policy's own rollouts, with a corrector's help or without."""

    method: str
    value: str = ""  # empty: the method reads none
    iterations: int = 1
    corrections: bool = False
    shuffled: bool = False  # control: the labels permuted within each phase

    @property
    def name(self) -> str:
        name = self.method + (f"+{self.value}" if self.value else "") + ("+shuffled" if self.shuffled else "")
        return name + ("@2" if self.iterations > 1 else "") + ("+corrections" if self.corrections else "")


@hydra.main(config_path="conf", config_name="method_study", version_base="1.3")
def main(config: DictConfig) -> None:
    with refusing("method_study"):
        run_all(config)


def run_all(config: DictConfig) -> None:
    """Run the missing cells of one task and data seed, then rebuild the table of all tasks."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, MethodStudyConfig)
    settings, _ = pin(settings)  # the commits are in each cell's settings
    arms = planned(settings)
    check_common(settings)
    for value in settings.values.values():
        check_common(replace(settings, valuefn=value))
    folder, task = Path(settings.study.results), task_name(settings)
    pending = [arm for arm in arms if not done(settings, arm)]
    if pending:
        print(f"{task}, seed {settings.seed}: {len(pending)} of {len(arms)} cells to run", flush=True)
        store = collect(settings)
        print(f"{len(store)} episodes, {sum(r['success'] for r in store.index)} succeed", flush=True)
        values = {name: fit_value(settings, store, name) for name in dict.fromkeys(a.value for a in pending)}
        for iterations in (1, 2):  # a second iteration begins with the first's policy
            wave = [arm for arm in pending if arm.iterations == iterations]
            jobs = [job(settings, arm, store, values[arm.value]) for arm in wave]
            for arm, rows in zip(wave, map_jobs(run_arm, jobs, settings.workers), strict=True):
                rows = [row for row in rows if row["iteration"] == iterations - 1]
                cell = {"task": task, "seed": settings.seed, "command": command_line()}
                cell |= {"settings": identity(settings, arm)}
                cell |= {"labels": label_rows(settings, arm, store, values[arm.value])}
                write_json(cell_path(settings, arm.name), cell | asdict(arm) | {"arm": arm.name, "rows": rows})
                print("  " + json.dumps(summarise(f"{task} {arm.name}", rows)), flush=True)
    rebuild(folder)
    print((folder / "table.md").read_text())


def planned(settings: MethodStudyConfig) -> list[StudyArm]:
    """The arms the settings name, in the table's order; an unknown name is a ValueError."""
    study = settings.study
    unknown = [name for name in study.values if name not in settings.values]
    if unknown:
        raise ValueError(
            f"study.values={unknown}: choose from {', '.join(settings.values)}, or add +valuefn@values.mine=viva_tiny"
        )
    for method in (*study.plain, *study.methods, *study.shuffled):
        labeller(method)
    arms = [StudyArm(method) for method in study.plain]
    arms += [StudyArm(method, value) for value in study.values for method in study.methods]
    arms += [StudyArm(method, value, shuffled=True) for value in study.values[:1] for method in study.shuffled]
    if study.corrections:
        arms += [StudyArm("recap", "viva"), *(StudyArm("recap", "viva", 2, helped) for helped in (False, True))]
    return list(dict.fromkeys(arms))


def task_name(settings: RecapSimConfig) -> str:
    import envs

    return next(name for name, task in envs.TASKS.items() if task.env_id == settings.task.env_id)


def done(settings: MethodStudyConfig, arm: StudyArm) -> bool:
    """Whether the arm's cell is there; one that other settings made is a ValueError."""
    path = cell_path(settings, arm.name)
    if not path.exists():
        return False
    cell = read_json(path, dict, "remove it; the same command makes it anew")
    changed = first_difference(cell.get("settings"), identity(settings, arm))
    if changed:
        raise ValueError(f"{path}: made with {changed}; use another study.results, or remove that file")
    return True


def identity(settings: MethodStudyConfig, arm: StudyArm) -> dict[str, Any]:
    """What an arm's outcome depends on, as plain json."""
    others = (*NOT_IDENTITY, "study", "values", "methods", "preset")
    facts = {k: v for k, v in asdict(arm_settings(settings, arm)).items() if k not in others}
    plain = json.loads(json.dumps(facts, default=str))
    assert isinstance(plain, dict)
    return plain


def first_difference(old: Any, new: Any, name: str = "") -> str:
    """The first setting that both have and that differs, in words; a setting that came later has its default."""
    if isinstance(old, dict) and isinstance(new, dict):
        old = {k: v for k, v in LATER.items() if k in new} | old
        found = (first_difference(old[k], new[k], f"{name}.{k}".lstrip(".")) for k in old if k in new)
        return next((text for text in found if text), "")
    return "" if old == new else f"{name}={old}, now {new}"


def arm_settings(settings: MethodStudyConfig, arm: StudyArm) -> MethodStudyConfig:
    """The study's settings as this arm uses them: with its value function, or the probe that nothing reads."""
    valuefn = settings.values[arm.value] if arm.value else ConstantConfig()
    return replace(settings, valuefn=valuefn, iterations=arm.iterations, corrections=arm.corrections)


def fit_value(settings: MethodStudyConfig, store: EpisodeStore, name: str) -> Path:
    """The file of the cross-fitted values of every demonstration; a learned one also leaves a cell of its metrics."""
    valuefn = settings.values[name] if name else ConstantConfig()
    path = score(settings, store, valuefn, workers=settings.workers)[1] / "values.npz"
    cell = cell_path(settings, f"value-{name}")
    if name not in ("", "oracle") and _values_of(cell) != path.parent.name:
        metrics = value_metrics(truths(store), load_values(path))
        facts = {"task": task_name(settings), "seed": settings.seed, "command": command_line()}
        write_json(cell, facts | {"value": name, "values": path.parent.name, "metrics": metrics})
    return path


def _values_of(cell: Path) -> str:
    """The content address of the values that a cell of metrics was made of; empty where there is none."""
    if not cell.exists():
        return ""
    return str(read_json(cell, dict, "remove it; the same command makes it anew").get("values"))


def label_rows(settings: MethodStudyConfig, arm: StudyArm, store: EpisodeStore, values: Path) -> list[dict[str, Any]]:
    """The label report of the demonstrations under the arm's labels, as plain json."""
    shares = report_labels(arm_settings(settings, arm), store, load_values(values), [arm.method])
    return [share.row() for share in shares]


def job(settings: MethodStudyConfig, arm: StudyArm, store: EpisodeStore, values: Path) -> ArmJob:
    """What one process needs to run the arm, in a folder of its own."""
    mine = arm_settings(settings, arm)
    folder = run_path(mine, arm)
    if arm.iterations > 1:
        first = replace(arm, iterations=1, corrections=False)
        share_first_iteration(run_path(arm_settings(settings, first), first), folder)
    labelled = Arm(arm.name, arm.method, str(values), arm.shuffled, iterations=arm.iterations)
    return ArmJob(mine, labelled, store.path, folder)


def run_path(settings: MethodStudyConfig, arm: StudyArm) -> Path:
    return (
        Path(settings.runs)
        / "method_study"
        / f"{task_name(settings)}-seed{settings.seed}"
        / (f"{arm.name}-{digest(identity(settings, arm))}")
    )


def cell_path(settings: MethodStudyConfig, name: str) -> Path:
    return Path(settings.study.results) / "cells" / f"{task_name(settings)}-seed{settings.seed}-{name}.json"


if __name__ == "__main__":
    main()
