"""The notebooks run from top to bottom, on small budgets, in a folder of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST = 300_000  # bytes with its outputs
BUDGET = (
    "preset=tiny collect.episodes=6 collect.max_steps=55 folds=1 valuefn.training.steps=2 valuefn.shifted_copies=1 "
    "policy.training.steps=2 policy.training.batch_size=4 evaluation.trials=1 videos=0 workers=1 methods=[bc]"
)
SMALL = {"budget": BUDGET, "steps": 120}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    patch = pytest.MonkeyPatch()
    patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    patch.setenv("PYTHONPATH", str(ROOT))
    patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    yield tmp_path_factory.mktemp("notebooks")  # they share one run
    patch.undo()


def executed(path: Path, place: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            names = [name for name in SMALL if f"{name} =" in cell.source]
            cell.source = "\n".join(f"{name} = {SMALL[name]!r}" for name in names)
        cell.source = cell.source.replace("range(20)", "range(2)")
    where = {"metadata": {"path": str(place)}}
    return NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()


@pytest.mark.slow
def test_they_run_and_readme_s_lines_too(place: Path) -> None:
    for path in NOTEBOOKS:  # one after the other: they share one run
        cells = executed(path, place).cells
        assert not [out for cell in cells for out in cell.get("outputs", ()) if out.output_type == "error"], path.name
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", lines], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0 and (place / "value.png").stat().st_size > 10_000, done.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_is_small_and_complete(path: Path) -> None:
    assert path.stat().st_size < LARGEST
    notebook = nbformat.read(path, as_version=4)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in codes), "executed before it was committed"
    assert not any(str(ROOT) in str(cell.outputs) or "/tmp/" in str(cell.outputs) for cell in codes), (
        "no paths of a machine"
    )
