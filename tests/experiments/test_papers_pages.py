"""docs/papers: a row for every table and figure, a command or a reason, and figures as results/ has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import ROOT
from tests.helpers.pages import LINK, commands, stale, tables

FOLDER = ROOT / "docs/papers"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
VERDICTS = ("shown", "not shown", "the opposite", "not comparable")


def numbered(word: str, last: int) -> set[str]:
    return {f"{word} {k}" for k in range(1, last + 1)}


HOLDS = {  # what each paper has, appendix included
    "viva": numbered("Figure", 11) | numbered("Table", 2),
    "wvm": numbered("Figure", 6) | numbered("Table", 4)
    | {"Figure B.1", "Table A.1", "Table A.2", "Table B.3", "Table C.4", "Table E.5"},
    "gvl": numbered("Figure", 17) | numbered("Table", 7),
    "videovla": numbered("Figure", 6) | numbered("Table", 14),
}  # fmt: skip


def rows(path: Path) -> list[list[str]]:
    """name, what it shows, our command, the paper, ours, verdict."""
    return tables(path.read_text())[0].rows


@pytest.mark.parametrize("name", HOLDS)
def test_every_table_and_figure_has_its_row(name: str) -> None:
    names = [row[0] for row in rows(FOLDER / f"{name}.md")]
    assert len(names) == len(set(names)) and set(names) == HOLDS[name]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_row_says_one_thing(path: Path) -> None:
    """A command, a drawing or a reason in five words; a verdict where, and only where, there is a figure of ours."""
    for name, shows, command, _, ours, verdict in rows(path):
        at = f"{path.name}: {name}"
        assert shows, at
        if verdict == "a drawing":
            assert (command, ours) == ("not here: a drawing", ""), at
            continue
        reason = re.fullmatch(r"not here: (.+)", command)
        assert bool(reason) != bool(commands(command)) and len(reason[1].split() if reason else []) <= 5, at
        if reason or ours in ("not run", "not kept"):
            assert verdict == "-" and (ours == "") == bool(reason), at
            continue
        assert LINK.search(ours), f"{at}: its figure is no link to the file it comes from"
        assert verdict.partition(":")[0] in VERDICTS, f"{at}: {verdict}"


@pytest.mark.parametrize("path", [*PAGES, FOLDER / "README.md", ROOT / "docs/words.md"], ids=lambda path: path.stem)
def test_links_lead_somewhere_and_figures_are_those_of_the_files(path: Path) -> None:
    wrong = []
    for figure, target, where in LINK.findall(path.read_text()):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        place = (path.parent / file).resolve()
        assert place.exists(), f"{path.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", place.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, target
        if where:
            wrong += [said] if (said := stale(figure, place, where)) else []
    assert not wrong, f"{path.name}: write what results/ has now:\n" + "\n".join(wrong)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_number_of_ours_is_read_from_a_file(path: Path) -> None:
    """No figure stands in our column without its file: outside links there are only words and settings."""
    for row in rows(path):
        beside = LINK.sub("", row[4])
        assert not re.search(r"(?<![\w.])[-+]?\.\d", beside), f"{path.name}: {row[0]}: {beside}"


def test_the_counts_are_those_of_the_rows() -> None:
    """How many of all tables and figures have a command, and how many of these a figure of ours."""
    counts = {}
    for name in HOLDS:
        found = rows(FOLDER / f"{name}.md")
        drawings = sum(row[5] == "a drawing" for row in found)
        commanded = [row for row in found if commands(row[2])]
        counts[name] = [len(found), drawings, len(commanded), sum(row[5] != "-" for row in commanded)]
    counts["all"] = [sum(column) for column in zip(*counts.values(), strict=True)]
    said = {
        row[1].partition("](")[0][1:-3] or row[0]: row[2:] for row in tables((FOLDER / "README.md").read_text())[0].rows
    }
    assert said == {name: list(map(str, numbers)) for name, numbers in counts.items()}
