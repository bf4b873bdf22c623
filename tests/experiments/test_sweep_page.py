"""The page of a SIMPLER sweep, from the files of its folder alone."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments.loop.run_folder import write_json
from experiments.report.sweep import write_sweep_page
from experiments.simpler.tables import summary
from tests.experiments.test_report import Page

BASE = {"setting": "visual_matching", "progress": 0.5, "error": ""}


def made_sweep(folder: Path, rows: list[dict]) -> Path:
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "episodes.parquet")
    facts = {"policy": "<ours>", "content": "", "backend": "maniskill3", "rows": summary(rows)}
    write_json(folder / "summary.json", facts)
    return folder


def trials(task: str, variant: str, solved: int, n: int, **changes: object) -> list[dict]:
    return [
        BASE | {"task": task, "variant": variant, "final": k < solved, "any": k <= solved} | changes for k in range(n)
    ]


def test_tasks_variants_and_what_is_missing_are_on_it(tmp_path: Path) -> None:
    rows = trials("pick_coke_can", "urdf_a", 3, 4) + trials("pick_coke_can", "urdf_b", 1, 4)
    rows += trials("move_near", "urdf_a", 0, 2, error="gone", final=None, any=None, progress=None)
    page = write_sweep_page(made_sweep(tmp_path / "s", rows), "foresight sweep policy=ours")
    html = page.read_text()
    table = {cells[0]: cells for cells in Page(html).rows if cells}
    assert table["Pick Coke Can"][1:] == ["50.0 %", "21.5 to 78.5 %", "75.0 %", "8 of 300", "0"]
    assert table["Move Near"][1:] == ["–", "–", "–", "0 of 240", "2"]
    order = [cells[0] for cells in Page(html).rows if cells and cells[0].startswith("urdf")]
    assert order == ["urdf_b", "urdf_a"], "the hardest first"
    assert "&lt;ours&gt;" in html and "no average" in html and "foresight sweep policy=ours videos=8" in html


def test_a_damaged_summary_is_one_line(tmp_path: Path) -> None:
    place = made_sweep(tmp_path / "s", trials("pick_coke_can", "a", 1, 2))
    (place / "summary.json").write_text("{")
    with pytest.raises(ValueError, match=r"summary\.json: .*run the sweep's command again"):
        write_sweep_page(place, "x")
