"""The study of methods and values: its table comes from the cells alone, and every answer is paired."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from experiments.studies.arms import Arm
from experiments.studies.engine import Cell, make
from experiments.studies.method_table import read_cells, rebuild


def cell(folder: Path, arm: Arm, seed: int, successes: list[int], task: str = "lift") -> None:
    """A cell of an arm; every iteration after the first solves one trial less."""
    rows = [
        {"arm": arm.name, "iteration": k, "seed": i, "success": bool(s and i >= k), "seconds": 4.0, "steps": 40}
        for k in range(arm.iterations) for i, s in enumerate(successes)
    ]  # fmt: skip
    about = {"task": task, "seed": seed, "arm": arm.name} | asdict(arm)
    made = Cell(f"{task}-seed{seed}-{arm.name}", {"task": task}, about)
    make([made], [rows], lambda rows: {"rows": rows}, folder)


def study(folder: Path) -> None:
    for seed in (0, 1):
        cell(folder, Arm("bc"), seed, [1, 0, 0, 0])
        for method in ("filtered_bc", "awr", "recap"):
            cell(folder, Arm(method, "viva"), seed, [1, 1, 1, 1])
            cell(folder, Arm(method, "viva_no_lookahead"), seed, [1, 0, 0, 0])
        cell(folder, Arm("awr", "viva", shuffled=True), seed, [1, 1, 1, 1])
    cell(folder, Arm("recap", "viva", 2, corrections=True), 0, [1, 1, 1, 1], "stack")
    cell(folder, Arm("recap", "viva", 2), 0, [0, 0, 0, 0], "stack")
    metric = {"name": "retry_voc", "what": "order", "mean": 0.5, "low": 0.4, "high": 0.6, "n": 2, "scores": [0.4, 0.6]}
    about = {"task": "lift", "seed": 0, "value": "viva"}
    make([Cell("lift-seed0-value-viva", {}, about)], [[metric]], lambda metrics: {"metrics": metrics}, folder)


def test_answers_are_paired_and_say_what_the_interval_says(tmp_path: Path) -> None:
    study(tmp_path)
    rebuild(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    rows = {(r["task"], r["arm"]): r for r in summary["rows"]}
    assert rows["lift", "awr+viva"]["success"] == 1 and rows["lift", "awr+viva"]["n"] == 8
    assert rows["lift", "awr+viva"]["extraction"] == "awr" and rows["lift", "awr+viva"]["value"] == "viva"
    answers = {(a["task"], a["question"]): a for a in summary["comparisons"]}
    together = answers["lift", "looking ahead, all three methods"]
    assert together["difference"] == pytest.approx(0.75) and together["seeds"] == [0, 1] and together["n"] == 8
    assert answers["lift", "looking ahead, awr"]["answer"] == "yes"
    assert answers["lift", "viva's labels against the same shuffled within phase, awr"]["answer"] == "not shown"
    assert ("lift", "viva against cloning the successes, recap") not in answers  # its cells are not there
    assert answers["stack", "corrections in the second iteration"]["difference"] == pytest.approx(0.75)
    assert summary["values"][0]["mean"] == pytest.approx(0.5)
    table = (tmp_path / "table.md").read_text()
    assert "| lift | awr+viva | 1.00 |" in table and "| 0: 1.00 1: 1.00 | 1 |" in table
    page = (tmp_path / "report.html").read_text()
    assert "it helps" in page and page.count("<svg") == 4


def test_a_trial_that_an_arm_lacks_is_not_compared(tmp_path: Path) -> None:
    cell(tmp_path, Arm("awr", "viva"), 0, [1, 1, 0, 0])
    cell(tmp_path, Arm("success_bc"), 0, [1, 1])  # only the first two trials
    rebuild(tmp_path)
    answer = json.loads((tmp_path / "summary.json").read_text())["comparisons"][0]
    assert answer["n"] == 2 and answer["difference"] == 0


def test_a_damaged_cell_is_named(tmp_path: Path) -> None:
    study(tmp_path)
    (tmp_path / "cells" / "lift-seed0-bc.json").write_text('{"task": "li')
    with pytest.raises(ValueError, match=r"lift-seed0-bc\.json.*remove it"):
        read_cells(tmp_path)
