"""The engine of every study: cells are made once, and those of other settings, damaged or held ones are refused."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from experiments.studies.engine import Cell, commands, first_difference, identity, make, missing, one_writer, read


@dataclass
class Inner:
    lr: float = 0.1


@dataclass
class Settings:
    steps: int = 3
    training: Inner = field(default_factory=Inner)
    workers: int = 2  # where and how fast it runs is no part of what comes out


def cell(seed: int, **changes: int) -> Cell:
    return Cell(f"arm-seed{seed}", identity(Settings(**changes)), {"arm": "arm", "seed": seed})  # type: ignore[arg-type]


def squared(job: int) -> dict[str, int]:
    return {"square": job * job}


def test_cells_are_made_once_and_tell_what_made_them(tmp_path: Path) -> None:
    cells, said = [cell(k) for k in range(3)], []
    assert missing(cells, tmp_path) == cells
    make(cells[:2], [0, 1], squared, tmp_path, say=lambda cell, result: said.append((cell.key, result["square"])))
    assert said == [("arm-seed0", 0), ("arm-seed1", 1)] and missing(cells, tmp_path) == cells[2:]
    make(cells[2:], [2], squared, tmp_path)
    found = read(tmp_path)
    assert [c["result"]["square"] for c in found] == [0, 1, 4] and [c["about"]["seed"] for c in found] == [0, 1, 2]
    assert all(
        c["command"].startswith("python ") and c["identity"] == {"steps": 3, "training": {"lr": 0.1}} for c in found
    )
    assert missing([cell(0, workers=7)], tmp_path) == [], "how fast it ran is no difference"


def test_a_cell_of_other_settings_is_refused_with_the_first_difference(tmp_path: Path) -> None:
    make([cell(0)], [0], squared, tmp_path)
    before = (tmp_path / "cells" / "arm-seed0.json").read_bytes()
    with pytest.raises(
        ValueError, match=r"arm-seed0\.json: made with steps=3, now 4; use another results folder"
    ) as error:
        missing([cell(1), cell(0, steps=4)], tmp_path)
    assert "\n" not in str(error.value)
    assert (tmp_path / "cells" / "arm-seed0.json").read_bytes() == before
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 2}}) == "a.b=1, now 2"
    assert first_difference({"a": 1}, {"a": 1, "new": 5}) == "new=unset, now 5"
    assert len(first_difference({}, {"new": {f"word{k}": "two\nlines" for k in range(99)}})) < 150
    assert first_difference({"a": 1, "old": 5}, {"a": 1}) == "old=5, now unset"
    old, new = ({"policy": {"name": "flow"} | more} for more in ({}, {"weighting": "loss"}))
    assert first_difference(old, new) == "", "what a setting was before it had a name"


@pytest.mark.parametrize("content", ['{"key": "arm', "[]", '{"key": "arm-seed0", "about": {}}'])
def test_a_damaged_cell_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "arm-seed0.json").write_text(content)
    for call in (lambda: missing([cell(0)], tmp_path), lambda: read(tmp_path)):
        with pytest.raises(ValueError, match=r"arm-seed0\.json.*remove it") as error:
            call()
        assert "\n" not in str(error.value)


def test_two_writers_of_one_study(tmp_path: Path) -> None:
    other = (
        "import sys; from pathlib import Path; from experiments.studies.engine import one_writer\n"
        "with one_writer(Path(sys.argv[1])): pass"
    )
    with one_writer(tmp_path):
        found = subprocess.run(
            [sys.executable, "-c", other, str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert found.returncode != 0 and "another writer holds" in found.stderr.splitlines()[-1]
    with one_writer(tmp_path):
        pass


def test_a_full_disk_loses_no_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make([cell(0)], [0], squared, tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ValueError, match=r"arm-seed1.*free some disk space"):
        make([cell(1)], [1], squared, tmp_path)
    monkeypatch.undo()
    assert [c["key"] for c in read(tmp_path)] == ["arm-seed0"] and missing([cell(0), cell(1)], tmp_path) == [cell(1)]
    assert [p.name for p in (tmp_path / "cells").iterdir()] == ["arm-seed0.json"], "nothing half written is left"


def test_a_worker_s_error_keeps_the_cells_before_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        make([cell(0), cell(1)], [2, 0], _inverse, tmp_path)
    assert [json.loads(p.read_text())["result"] for p in (tmp_path / "cells").iterdir()] == [{"inverse": 0.5}]


def _inverse(job: int) -> dict[str, float]:
    return {"inverse": 1 / job}


def test_commands_leave_out_the_words_that_choose_cells() -> None:
    cells = [{"command": f"python study.py task=lift 'seeds=[{k}]' workers={k} lr=2"} for k in (1, 2)]
    assert commands(cells, "seeds=") == ["python study.py task=lift lr=2"]
