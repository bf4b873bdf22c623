"""Bad input is refused in one line that names the thing and the way out, and changes nothing on disk."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bad_inputs import CASES, WAY_OUT, Case, make_world


def tree(folder: Path) -> dict[str, str]:
    """{path: what it holds} of everything below a folder, lock files apart."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "folder"
        for p in sorted(folder.rglob("*"))
        if not (p.name.endswith("lock"))
    }


def refused(call: Callable[[], Any], named: str, folder: Path, kinds: Any = ValueError) -> str:
    """Call, and return the one line it is refused with."""
    before = tree(folder)
    with pytest.raises(kinds, match=named) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and "\r" not in text, text
    assert WAY_OUT.search(text), f"no way out in: {text}"
    assert tree(folder) == before, "bad input left something on disk"
    return text


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bad") / "world"
    make_world(root)
    return root


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_refused(case: Case, world: Path) -> None:
    copy = world.parent / "copies" / case.part
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(world / case.part, copy)
    case.damage(copy)
    refused(lambda: case.read(copy), case.named, copy)
    assert case.part != "nothing" or not list(copy.iterdir())


def test_the_world_is_good(world: Path) -> None:
    """Every reader accepts its undamaged part, so a refusal above is of the damage."""
    for case in CASES:
        if case.read.__name__ not in ("<lambda>", "read"):
            case.read(world / case.part)
