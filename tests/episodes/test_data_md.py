"""docs/data.md, and sections on formats elsewhere, promise nothing that no test exercises: every sentence names its."""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import shlex
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from episodes.importing import Known, import_dataset
from episodes.lerobot_layout import ENCODINGS
from episodes.store import EpisodeStore
from experiments.data.schemas import ImportConfig
from tests.helpers.commands import foresight, settings_of
from tests.helpers.foreign_datasets import H, W, truths, write_robomimic, write_v3
from tests.helpers.some_episodes import make_episode, make_spec
from tests.helpers.tested_sentences import FIGURE, PROMISES, SCRIPTS

h5py = pytest.importorskip("h5py", reason="pip install -e .[robomimic]")
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/data.md").read_text()
SECTIONS = (
    ("docs/simpler.md", "### Policy servers"),
    ("docs/scale.md", "## Open X-Embodiment"),
    ("docs/value_bench.md", "## Your own episodes"),
)


def _section(page: str, head: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    text = (ROOT / page).read_text().split(f"\n{head}\n")[1]
    return re.split(rf"\n#{{1,{head.count('#')}}} ", text)[0]


PROMISED = "\n\n".join([PAGE, *(_section(*section) for section in SECTIONS)])


def _units(text: str) -> list[str]:
    """The sentences, rows of tables and lines of commands of a page."""
    found: list[str] = []
    paragraph: list[str] = []
    fenced = False
    for line in [*map(str.strip, text.splitlines()), ""]:
        fence, row = line.startswith("```"), line.startswith("|")
        if not (fenced or fence or row or not line or line.startswith("#")):
            paragraph.append(line)
            continue
        if paragraph:
            found += re.split(r"(?<=\.)\s+(?=[A-Z`])", " ".join(paragraph))
            paragraph = []
        fenced ^= fence
        if (fenced and not fence) or (row and not set(line) <= set("|- ")):
            found.append(line)
    return found


def _digest(unit: str) -> str:
    return hashlib.sha256(unit.encode()).hexdigest()[:6]


def _faults(text: str) -> list[str]:
    """Where a page and PROMISES differ."""
    said = {_digest(unit): unit for unit in _units(text)}
    new = [f"{digest} {unit!r}: name its test in PROMISES" for digest, unit in said.items() if digest not in PROMISES]
    gone = [f"{digest} ({PROMISES[digest][0]}): not on the page any more" for digest in PROMISES if digest not in said]
    return new + gone


@cache
def _tests_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_sentence_has_its_entry_and_every_entry_its_sentence() -> None:
    assert _faults(PROMISED) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Numbers become float32.", "Numbers become float32. TIFF is read."),
        ("share of a frame (0.5)", "share of a frame (0.6)"),
        ("Nothing is clipped.", ""),
        ("| rewards | `next.reward` | `rewards` |\n", ""),
        ("foresight export STORE ", "foresight export STORE full=yes "),
    ],
)
def test_a_sentence_that_comes_goes_or_changes_is_seen(old: str, new: str) -> None:
    assert PROMISED.count(old) == 1 and _faults(PROMISED.replace(old, new))


def test_what_the_entries_name_is_there() -> None:
    for words, *tests in PROMISES.values():
        assert tests, words
        for test in tests:
            file, _, name = test.partition("::")
            there = (ROOT / test).is_file() if test in SCRIPTS else test == FIGURE or name in _tests_of(file)
            assert there, test


def _commands() -> list[list[str]]:
    blocks = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("command", _commands(), ids=" ".join)
def test_the_commands_run(command: list[str], tmp_path: Path) -> None:
    program, *words = command
    assert program == "foresight"
    if any(word.startswith("oxe=") for word in words):  # run by test_import_oxe.py
        assert settings_of(words[0], *words[1:]).oxe == "bridge"
        return
    given = {"SOURCE": tmp_path / "d", "lift.hdf5": tmp_path / "lift.hdf5", "STORE": tmp_path / "s"}
    write_v3(given["SOURCE"], truths())
    write_robomimic(given["lift.hdf5"], truths())
    with EpisodeStore.create(given["STORE"], spec := make_spec()) as store:
        store.append(make_episode(seed, T=2, spec=spec) for seed in range(9))
    words = [str(given.get(word, word)).replace("=TARGET", f"={tmp_path / 't'}") for word in words]
    assert foresight(*words) == 0
    if words[0] == "export":
        assert (given["STORE"] / "meta/stats.json").is_file()
    else:
        assert len(EpisodeStore(tmp_path / "t")) == (7 if "skip=[3,7]" in words else 4)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_encodings_are_named_as_the_command_takes_them(encoding: str, tmp_path: Path) -> None:
    row = next(unit for unit in _units(PAGE) if unit.startswith("| `encoding=`"))
    comment = next(line for line in inspect.getsource(ImportConfig).splitlines() if " encoding: str" in line)
    assert f"`{encoding}`" in row and re.search(rf"\b{encoding}\b", comment.replace('= "png"', ""))
    write_v3(tmp_path / "d", truths())
    assert foresight("import", tmp_path / "d", f"target={tmp_path / 't'}", f"encoding={encoding}") == 0
    assert EpisodeStore(tmp_path / "t").encoding == encoding


def test_the_options_are_those_of_the_command_and_of_python() -> None:
    rows = [unit.split("|")[1] for unit in _units(PAGE) if unit.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)=", row)}
    assert named <= set(ImportConfig.__dataclass_fields__) and len(named) == 12
    assert list(inspect.signature(import_dataset).parameters)[:3] == ["source", "target", "known"]
    assert {"encoding", "tell"} <= set(inspect.signature(import_dataset).parameters)
    assert Known().tolerance == ImportConfig.tolerance == 0.5


def test_cameras_of_two_sizes_go_together_at_one(tmp_path: Path) -> None:
    made = truths()
    write_robomimic(tmp_path / "d.hdf5", made)
    with h5py.File(tmp_path / "d.hdf5", "a") as file:
        for demo in file["data"].values():
            for part in ("obs", "next_obs"):
                wide = demo[part]["wrist_image"][()].repeat(2, 1).repeat(2, 2)
                del demo[part]["wrist_image"]
                demo[part]["wrist_image"] = wide
    known = Known(instruction="lift")
    with pytest.raises(ValueError, match=r"image_size="):
        import_dataset(tmp_path / "d.hdf5", tmp_path / "s", known)
    store = import_dataset(tmp_path / "d.hdf5", tmp_path / "s", replace(known, image_size=(H, W)))
    np.testing.assert_array_equal(store[0].images["front"], made[0].images["front"])
    assert store[0].images["wrist"].shape[1:] == (H, W, 3) and set(store[0].extra["resized"]) == {"wrist"}
