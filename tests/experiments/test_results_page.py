"""docs/results.md and README's table say what the tables under results/ say, to the letter."""

import shutil
from pathlib import Path

import pytest

from experiments.report.results_page import BEGIN, END, readme_with, results_page
from tests import ROOT

RESULTS = ROOT / "results"


def test_the_pages_are_those_of_the_committed_tables() -> None:
    assert (ROOT / "docs" / "results.md").read_text() == results_page(RESULTS), "run `foresight results`"
    readme = (ROOT / "README.md").read_text()
    assert readme == readme_with(RESULTS, readme), "run `foresight results`"


def test_every_study_has_a_title_and_headings_go_down_a_level(tmp_path: Path) -> None:
    shutil.copytree(RESULTS / "default", tmp_path / "results" / "default")
    table = tmp_path / "results" / "sight" / "table.md"
    table.parent.mkdir()
    table.write_text("# Sight\n\n## Lift\n\n| a |\n|---|\n")
    page = results_page(tmp_path / "results")
    assert "\n### Lift\n" in page and "# Sight\n" not in page and "`results/sight/table.md`" in page
    table.parent.rename(tmp_path / "results" / "mine")
    with pytest.raises(ValueError, match=r"results/mine: not in SECTIONS.*give it a title"):
        results_page(tmp_path / "results")


def test_readme_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must stand in it once each"):
        readme_with(RESULTS, f"{BEGIN} {END} {END}")
    assert readme_with(RESULTS, f"a\n{BEGIN}\nold\n{END}\nb").endswith(f"\n{END}\nb")
    assert "old" not in readme_with(RESULTS, f"a\n{BEGIN}\nold\n{END}\nb")
