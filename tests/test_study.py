"""The study's table is made from its cells alone: rates, paired differences, the value's metrics."""

import json
from pathlib import Path

import pytest

from experiments.run_folder import write_json
from experiments.study_table import ROWS, rebuild


def cell(folder: Path, arm: str, seed: int, successes: list[int], iteration: int = 0) -> None:
    rows = [
        {"arm": arm, "method": arm, "iteration": iteration, "seed": i, "success": bool(s), "seconds": 4.0, "steps": 40}
        for i, s in enumerate(successes)
    ]
    write_json(folder / "cells" / f"{arm}-seed{seed}.json", {"arm": arm, "seed": seed, "rows": rows})


def test_table_from_cells(tmp_path: Path) -> None:
    for seed in (0, 1):
        cell(tmp_path, "bc", seed, [1, 0, 0, 0])
        cell(tmp_path, "success_bc", seed, [0, 0, 0, 0])
    cell(tmp_path, "awr", 0, [1, 1, 1, 0])  # its second data seed is not there yet
    metric = {"name": "voc", "what": "order", "mean": 0.5, "low": 0.4, "high": 0.6, "n": 2, "scores": [0.4, 0.6]}
    write_json(tmp_path / "cells" / "value-seed0.json", {"seed": 0, "value_metrics": [metric]})
    rebuild(tmp_path, "python experiments/recap_study.py")
    summary = json.loads((tmp_path / "summary.json").read_text())
    rows = {r["method"]: r for r in summary["rows"]}
    assert [r["method"] for r in summary["rows"]] == ["bc", "success_bc", "awr"]  # in the order of the study
    assert rows["bc"]["success"] == 0.25 and rows["bc"]["n"] == 8 and rows["bc"]["minus_bc"] is None
    assert rows["bc"]["per_hour"] == pytest.approx(3600 * 2 / 32)
    assert rows["awr"]["seeds"] == [0] and rows["awr"]["minus_bc"][0] == pytest.approx(0.5)
    assert rows["awr"]["minus_success_bc"][0] == pytest.approx(0.75)
    assert rows["success_bc"]["minus_bc"][0] == pytest.approx(-0.25)
    assert summary["value"][0]["mean"] == pytest.approx(0.5) and summary["value"][0]["n"] == 2
    table = (tmp_path / "table.md").read_text()
    assert "| awr | 0.75 |" in table and "+50 [" in table


def test_arms_are_named_once_and_tokens_follow_a_trained_arm() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert all(row.policy_of in names for row in ROWS if row.policy_of)
