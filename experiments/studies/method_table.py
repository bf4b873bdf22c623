"""The study of methods and values as a table, a page and plain answers, made from its finished cells alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from agents.summary import summarise
from episodes.files import write_atomic
from episodes.intervals import bootstrap_mean, paired_bootstrap
from experiments.loop.run_folder import write_json
from experiments.studies.arms import Arm
from experiments.studies.engine import commands, numbered, numbers, read

Outcomes = dict[int, dict[int, dict[str, Any]]]  # data seed -> environment seed -> evaluated episode

_ARMS = ("values", "methods", "plain", "shuffled", "tokens", "iterations", "corrections", "same_rollouts", "results")
CHOICES = (*(f"study.{name}" for name in _ARMS), "seed=", "task=", "-m")
"""Words of a command that choose among cells; the row of a table names the command without them."""
READING = ("filtered_bc", "awr", "recap")  # the methods that read a value
QUESTIONS = (
    # what is asked, arm, the arm it is compared with
    ("looking ahead, {m}", "{m}+viva", "{m}+viva_no_lookahead"),
    ("viva against cloning the successes, {m}", "{m}+viva", "success_bc"),
    ("viva against as many steps of the successes at random, {m}", "{m}+viva", "success_random"),
    ("viva's labels against the same shuffled within phase, {m}", "{m}+viva", "{m}+viva+shuffled"),
    ("viva against the oracle, {m}", "{m}+viva", "{m}+oracle"),
)
PLAIN_QUESTIONS = (
    ("AWR against filtering, on viva", "awr+viva", "filtered_bc+viva"),
    ("RECAP against filtering, on viva", "recap+viva", "filtered_bc+viva"),
    ("RECAP on viva against RECAP on wvm", "recap+viva", "recap+wvm"),
    ("RECAP on viva against RECAP on the 201-bin value", "recap+viva", "recap+distributional"),
    ("a second iteration of RECAP, without corrections", "recap+viva@2", "recap+viva"),
    ("a second iteration of RECAP, with corrections", "recap+viva@2+corrections", "recap+viva"),
    ("corrections in the second iteration", "recap+viva@2+corrections", "recap+viva@2"),
    ("a third iteration of RECAP, without corrections", "recap+viva@3", "recap+viva"),
    ("a third iteration of RECAP, with corrections", "recap+viva@3+corrections", "recap+viva"),
    (
        "a third iteration of RECAP against filtering on the same rollouts",
        "recap+viva@3",
        "filtered_bc+viva@3+rollouts_of_recap",
    ),
    (
        "a third iteration of RECAP against the successes of the same rollouts",
        "recap+viva@3",
        "success_bc@3+rollouts_of_recap",
    ),
    ("the negative token against the positive one", "recap+viva+negative", "recap+viva"),
    ("no token against the positive one", "recap+viva+none", "recap+viva"),
)


@dataclass
class Study:
    """What the cells hold: evaluated episodes by (task, arm), metrics of the learned values by (task, value)."""

    arms: dict[tuple[str, str], Outcomes] = field(default_factory=dict)
    metrics: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    labels: dict[tuple[str, str], list[list[dict[str, Any]]]] = field(default_factory=dict)  # label reports, per seed
    commands: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # that made the cells of a row

    @property
    def tasks(self) -> list[str]:
        """The tasks of its cells, in order."""
        order = ("reach", "lift", "stack")
        return sorted({task for task, _ in self.arms}, key=lambda t: (order.index(t) if t in order else 9, t))


def read_cells(folder: Path) -> Study:
    """Read every cell; a damaged one is a ValueError that names it."""
    study = Study()
    for cell in read(folder):
        about, result = cell["about"], cell["result"]
        task, seed = about["task"], about["seed"]
        if "metrics" in result:
            study.metrics.setdefault((task, about["value"]), []).append(result)
            continue
        for name, rows in _lines(about, result["rows"]).items():
            study.arms.setdefault((task, name), {})[seed] = {row["seed"]: row for row in rows}
            made = study.commands.setdefault((task, name), [])
            made += [line for line in commands([cell], *CHOICES) if line not in made]
        if result.get("labels"):
            study.labels.setdefault((task, about["arm"]), []).append(result["labels"])
    return study


def _lines(about: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The evaluated episodes of a cell by the row of the table they belong to: one row per iteration.

    The first iteration of an arm with several is the arm without them, which has a cell of its own.
    """
    arm = Arm(**{f.name: about[f.name] for f in fields(Arm) if f.name in about})
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        k = row.get("iteration", 0) + 1
        if k > 1 or arm.iterations == 1:
            lines.setdefault(replace(arm, iterations=k).name, []).append(row)
    return lines


def rebuild(folder: Path) -> None:
    """Make summary.json, table.md and report.html from the cells."""
    from experiments.report.methods import write_page

    study = read_cells(folder)
    rows, answers, values, labels = arm_rows(study), comparisons(study), value_rows(study), label_rows(study)
    summary = {"seed": None, "rows": rows, "comparisons": answers, "values": values, "labels": labels}
    write_json(folder / "summary.json", summary)
    write_atomic(folder / "table.md", _markdown(rows, answers, values, labels).encode())
    write_page(folder, rows, answers, values, labels)


def arm_rows(study: Study) -> list[dict[str, Any]]:
    """One row per task and arm: success with its Wilson interval, successes per hour, n, and each data seed's rate."""
    rows = []
    for task in study.tasks:
        for arm in sorted((a for t, a in study.arms if t == task), key=_arm_order):
            seeds = study.arms[task, arm]
            row = summarise(arm, [r for s in sorted(seeds) for r in seeds[s].values()])
            method, _, value = arm.partition("@")[0].partition("+")
            facts = {"task": task, "arm": arm, "extraction": method, "value": value, "seeds": sorted(seeds)}
            per_seed = [float(np.mean([r["success"] for r in seeds[s].values()])) for s in sorted(seeds)]
            rows.append(facts | row | {"per_seed": per_seed, "commands": study.commands[task, arm]})
    return rows


def _arm_order(arm: str) -> tuple[Any, ...]:
    first, _, second = arm.partition("@")
    method, _, value = first.partition("+")
    value, _, shuffled = value.partition("+")
    values = ("", "viva_no_lookahead", "viva_future_unlearned", "viva")
    methods = ("bc", "success_bc", "success_random", *READING)
    return (
        bool(second),
        bool(shuffled),
        values.index(value) if value in values else 9 if value == "oracle" else 5,
        value,
        methods.index(method) if method in methods else 9,
        second,
    )


def comparisons(study: Study) -> list[dict[str, Any]]:
    """Paired differences of success, each with a two-level bootstrap interval over data seeds and trials.

    A question asked of every method is also answered for all of them together: the mean over methods of each trial.
    """
    answers = []
    for task in study.tasks:
        for text, a, b in QUESTIONS:
            pairs = [(a.format(m=m), b.format(m=m)) for m in READING]
            answers += [_compare(study, task, text.format(m=m), [pair]) for m, pair in zip(READING, pairs, strict=True)]
            answers.append(_compare(study, task, text.format(m="all three methods"), pairs))
        answers += [_compare(study, task, text, [(a, b)]) for text, a, b in PLAIN_QUESTIONS]
    return [answer for answer in answers if answer]


def _compare(study: Study, task: str, question: str, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Mean of a - b over the data seeds and trials that every arm has; empty where an arm is missing."""
    if any((task, arm) not in study.arms for pair in pairs for arm in pair):
        return {}
    outcomes = [(study.arms[task, a], study.arms[task, b]) for a, b in pairs]
    seeds = sorted(set.intersection(*(set(o) for pair in outcomes for o in pair)))
    if not seeds:
        return {}
    trials = sorted(set.intersection(*(set(o[s]) for pair in outcomes for o in pair for s in seeds)))
    a, b = (
        np.mean([[[pair[i][s][t]["success"] for t in trials] for s in seeds] for pair in outcomes], axis=0)
        for i in (0, 1)
    )
    mean, low, high = paired_bootstrap(a, b, shared_trials=True)
    return {
        "task": task,
        "question": question,
        "difference": mean,
        "low": low,
        "high": high,
        "answer": "yes" if low > 0 else "the opposite" if high < 0 else "not shown",
        "seeds": seeds,
        "n": len(seeds) * len(trials),
    }


def label_rows(study: Study) -> list[dict[str, Any]]:
    """The label report of each task and arm: means over data seeds; starved where it is under any of them."""
    rows = []
    for (task, arm), reports in sorted(study.labels.items(), key=lambda item: (item[0][0], _arm_order(item[0][1]))):
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in (row for report in reports for row in report):
            groups.setdefault((row["by"], row["group"]), []).append(row)
        for (by, group), mine in groups.items():
            means = {name: float(np.mean([row[name] for row in mine])) for name in ("kept", "weight", "effective")}
            facts = {"task": task, "labels": arm, "by": by, "group": group, "steps": sum(row["steps"] for row in mine)}
            rows.append(facts | means | {"starved": any(row["starved"] for row in mine)})
    return rows


SHOWN_METRICS = ("spearman_expert", "spearman_simulator", "retry_voc", "hesitation_drift", "success_gap")


def value_rows(study: Study) -> list[dict[str, Any]]:
    """Metrics of the learned values on held-out demonstrations: the mean over all data seeds with its interval."""
    rows = []
    for (task, value), cells in sorted(study.metrics.items()):
        for name in SHOWN_METRICS:
            found = [m for c in cells for m in c["metrics"] if m["name"] == name and m["mean"] is not None]
            if not found:
                continue
            scores = [s for m in found for s in m["scores"]]
            mean, low, high = (
                bootstrap_mean(scores) if scores else (float(np.mean([m["mean"] for m in found])), None, None)
            )
            facts = {"task": task, "value": value, "metric": name, "what": found[0]["what"], "mean": mean}
            rows.append(facts | {"low": low, "high": high, "n": sum(m["n"] for m in found), "seeds": len(found)})
    return rows


def points(answer: dict[str, Any]) -> str:
    """A difference in points with its interval."""
    return f"{100 * answer['difference']:+.0f} [{100 * answer['low']:+.0f}, {100 * answer['high']:+.0f}]"


def _markdown(
    rows: Sequence[dict[str, Any]],
    answers: Sequence[dict[str, Any]],
    values: Sequence[Any],
    labels: Sequence[dict[str, Any]],
) -> str:
    made = list(dict.fromkeys(line for row in rows for line in row["commands"]))
    lines = [
        "# Methods and values",
        "",
        "Commands, with `task=` and `seed=` of the row:",
        "",
        *numbered(made),
        "",
        "Success with its 95 % Wilson interval over all trials; per hour counts simulated time, failures included.",
        "",
        "| task | arm | success | 95 % | per hour | n | data seeds | command |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        seeds = " ".join(f"{s}: {x:.2f}" for s, x in zip(r["seeds"], r["per_seed"], strict=True))
        interval = f"{r['low']:.2f}-{r['high']:.2f}"
        lines.append(
            f"| {r['task']} | {r['arm']} | {r['success']:.2f} | {interval} | {r['per_hour']:.0f} | {r['n']} | {seeds} "
            f"| {numbers(r['commands'], made)} |"
        )
    lines += [
        "",
        "## What it answers",
        "",
        "Differences in points, paired on (data seed, trial), with a two-level bootstrap 95 % interval over data seeds",
        "and trials. Yes: the interval lies above 0; the opposite: below.",
        "",
        "| task | question | difference | answer | n | data seeds |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {a['task']} | {a['question']} | {points(a)} | {a['answer']} | {a['n']} | {len(a['seeds'])} |"
        for a in answers
    ]
    lines += [
        "",
        "## The learned values on held-out demonstrations",
        "",
        "Every episode is scored by a model that has not seen it; progress units p = 2V - 1.",
        "",
        "| task | value | metric | mean | 95 % | episodes |",
        "|---|---|---|---|---|---|",
    ]
    for v in values:
        interval = "" if v["low"] is None else f"{v['low']:.2f} to {v['high']:.2f}"
        lines.append(f"| {v['task']} | {v['value']} | {v['what']} | {v['mean']:.2f} | {interval} | {v['n']} |")
    starved = [r for r in labels if r["starved"]]
    if labels:
        lines += ["", "## The labels", "", "Phases of the successes whose steps weigh less than half of their mean:"]
        lines += [""] + [f"- {r['task']} {r['labels']}: progress {r['group']}, {r['weight']:.2f}" for r in starved]
        lines += [] if starved else ["none."]
    return "\n".join(lines) + "\n"
