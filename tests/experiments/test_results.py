"""What results/ says: every table comes from its cells alone, and no study names new settings above old numbers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.studies import method_table, methods, policy_ablation, sight, sight_table, value_ablation
from experiments.studies.engine import Cell, make, read
from experiments.studies.shaping import table as shaping_table
from experiments.studies.shaping.cell import ShapingJob
from experiments.studies.shaping.run import shaping_cell
from experiments.studies.shaping.value import ShapingValue
from tests import ROOT
from tests.helpers.commands import foresight, settings_of

ABLATIONS = {"ablation_viva": "viva", "ablation_wvm": "wvm", "videovla": "videovla"}
COMMITTED = sorted(path.parent for path in (ROOT / "results").glob("*/cells"))
VALUE = ShapingValue("", "v", low=0.2, high=0.8, claim=0.5, claim_accuracy=0.9, pool=(), held_out={})


def rebuild(folder: Path, name: str) -> None:
    """Make the table of a results folder of this name from its cells, as its study does."""
    if name in ABLATIONS:
        study = policy_ablation if name == "videovla" else value_ablation
        study.rebuild(folder, settings_of("ablate", f"ablation={ABLATIONS[name]}"))  # type: ignore[attr-defined]
        return
    by = {"shape": shaping_table, "reward_shaping.py": shaping_table, "sight": sight_table, "sight.py": sight_table}
    words = read(folder)[0]["command"].split()
    next((by[word] for word in (w.rpartition("/")[2] for w in words) if word in by), method_table).rebuild(folder)


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_a_committed_table_comes_from_its_cells(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "cells", tmp_path / "cells")
    rebuild(tmp_path, folder.name)
    assert (tmp_path / "table.md").read_text() == (folder / "table.md").read_text()


def studied(settings: Any) -> list[Cell]:
    return [methods.cell(settings, arm) for arm in methods.planned(settings)]


def seen(settings: Any) -> list[Cell]:
    return [sight.sight_cell(settings, name) for name in settings.study.values]


def of_value(settings: Any) -> list[Cell]:
    return [value_ablation.row_cell(settings, name, seed) for seed in settings.seeds for name in settings.rows]


def of_policy(settings: Any) -> list[Cell]:
    return [policy_ablation.row_cell(settings, name) for name in settings.rows]


def shaped(settings: Any) -> list[Cell]:
    jobs = [ShapingJob(settings, arm, seed, VALUE, Path()) for arm in settings.study.arms for seed in (0,)]
    return [shaping_cell(job) for job in jobs]


@pytest.mark.parametrize(
    ("words", "place", "cells", "change", "said"),
    [
        (["study", "task=reach", "study.methods=[awr]", "study.plain=[bc]"], "study.results=", studied,
         "labeller.keep=0.9", "labeller.keep=0.6, now 0.9"),
        (["study", "task=reach", "study.methods=[awr]", "study.plain=[bc]"], "study.results=", studied,
         "evaluation.max_steps=200", r"evaluation.max_steps=\d+, now 200"),
        (["sight", "task=reach", "study.values=[viva]"], "study.results=", seen,
         "values.viva.training.steps=3", r"valuefn.training.steps=\d+, now 3"),
        (["ablate", "ablation=viva", "rows=[full]", "seeds=[0]"], "results=", of_value,
         "probe_experts=1", r"probe_experts=\d+, now 1"),
        (["ablate", "ablation=videovla", "rows=[default]", "seeds=[0]", "seed=0"], "results=", of_policy,
         "policy.training.lr=0.1", "policy.training.lr=0.001, now 0.1"),
        (["shape", "study.arms=[sparse]", "study.seeds=[0]"], "study.results=", shaped,
         "agent.gamma=0.5", r"agent.gamma=0\.\d+, now 0.5"),
    ],
    ids=["study-labels", "study-evaluation", "sight", "ablate-value", "ablate-policy", "shape"],
)  # fmt: skip
def test_a_cell_of_other_settings_is_never_taken_for_one_of_these(
    words: list[str], place: str, cells: Callable[[Any], list[Cell]], change: str, said: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Every study command: one line, before anything is recorded or trained; cells and table stay as they are."""

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is made")

    for name in ("method_study.collect", "sight.collect", "value_ablation.make_bench", "policy_ablation.collect"):
        monkeypatch.setattr(f"experiments.studies.{name}", never)
    monkeypatch.setattr("experiments.studies.shaping.run.prepare_value", lambda settings: VALUE)
    monkeypatch.setattr("experiments.studies.shaping.run.run_cell", never)
    command, *given = [*words, f"{place}{tmp_path}"]
    made = cells(settings_of(command, *given))
    name = next(word for word in given if word.startswith("ablation=")).partition("=")[2] if command == "ablate" else ""
    folder = tmp_path / next((k for k, v in ABLATIONS.items() if v == name), "")
    make(made, [{}] * len(made), dict, folder)
    (folder / "table.md").write_text("old numbers under the old command")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit, match=rf"cells/.*\.json: made with {said}; use another results folder") as error:
        foresight(command, *given, change)
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in before} == before
