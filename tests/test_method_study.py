"""The study of methods and values: its table comes from the cells alone, and every answer is paired."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments import method_study
from experiments.method_table import read_cells, rebuild
from experiments.run_folder import write_json


def cell(folder: Path, arm: str, seed: int, successes: list[int], task: str = "lift") -> None:
    rows = [{"arm": arm, "seed": i, "success": bool(s), "seconds": 4.0, "steps": 40} for i, s in enumerate(successes)]
    facts = {"task": task, "seed": seed, "arm": arm, "command": f"python study.py task={task}"}
    write_json(folder / "cells" / f"{task}-seed{seed}-{arm}.json", facts | {"rows": rows})


def study(folder: Path) -> None:
    for seed in (0, 1):
        cell(folder, "bc", seed, [1, 0, 0, 0])
        for method in ("filtered_bc", "awr", "recap"):
            cell(folder, f"{method}+viva", seed, [1, 1, 1, 1])
            cell(folder, f"{method}+viva_no_lookahead", seed, [1, 0, 0, 0])
        cell(folder, "awr+viva+shuffled", seed, [1, 1, 1, 1])
    cell(folder, "recap+viva@2+corrections", 0, [1, 1, 1, 0], "stack")
    cell(folder, "recap+viva@2", 0, [0, 0, 0, 0], "stack")
    metric = {"name": "retry_voc", "what": "order", "mean": 0.5, "low": 0.4, "high": 0.6, "n": 2, "scores": [0.4, 0.6]}
    write_json(
        folder / "cells" / "lift-seed0-value-viva.json",
        {"task": "lift", "seed": 0, "command": "python study.py task=lift", "value": "viva", "metrics": [metric]},
    )


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
    assert "| lift | awr+viva | 1.00 |" in table and table.count("`python study.py task=lift`") == 1
    page = (tmp_path / "report.html").read_text()
    assert "it helps" in page and page.count("<svg") == 4


def test_a_trial_that_an_arm_lacks_is_not_compared(tmp_path: Path) -> None:
    cell(tmp_path, "awr+viva", 0, [1, 1, 0, 0])
    cell(tmp_path, "success_bc", 0, [1, 1])  # only the first two trials
    rebuild(tmp_path)
    answer = json.loads((tmp_path / "summary.json").read_text())["comparisons"][0]
    assert answer["n"] == 2 and answer["difference"] == 0


def test_a_damaged_cell_is_named(tmp_path: Path) -> None:
    study(tmp_path)
    (tmp_path / "cells" / "lift-seed0-bc.json").write_text('{"task": "li')
    with pytest.raises(ValueError, match=r"lift-seed0-bc\.json.*remove it"):
        read_cells(tmp_path)


def test_the_metrics_of_other_values_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that was trained again leaves no metrics of the one before."""
    place, made = [tmp_path / "values" / "new"], []
    monkeypatch.setattr(method_study, "score", lambda *_, **__: ([], place[0]))
    monkeypatch.setattr(method_study, "load_values", lambda path: [])
    monkeypatch.setattr(method_study, "truths", lambda store: [])
    monkeypatch.setattr(method_study, "value_metrics", lambda *_: made.append(1) or [{"n": len(made)}])
    task = SimpleNamespace(env_id="foresight/Lift-v0")
    study = SimpleNamespace(results=str(tmp_path))
    settings = SimpleNamespace(values={"viva": None}, workers=1, seed=0, task=task, study=study)
    cell = tmp_path / "cells" / "lift-seed0-value-viva.json"
    write_json(cell, {"task": "lift", "seed": 0, "value": "viva", "metrics": [{"n": 0}]})  # made by an older version
    counts = []
    for name in ("new", "new", "newer"):
        place[0] = tmp_path / "values" / name
        method_study.fit_value(settings, None, "viva")
        counts.append(json.loads(cell.read_text())["metrics"][0]["n"])
    assert counts == [1, 1, 2]
