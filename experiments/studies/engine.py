"""The one engine of every study: cells are made once, refused when other settings made them, and read into tables.

    cells = [Cell("lift-seed0-awr", identity(settings), {"arm": "awr", "seed": 0}), ...]
    with one_writer(folder):
        todo = missing(cells, folder)
        say_found(cells, todo)
        make(todo, jobs, work, folder, workers=2)
    for cell in read(folder): ...

A cell is the file <folder>/cells/<key>.json with {key, about, identity, command, result}: what it is of, all that its
outcome depends on, the command that made it, and the outcome. Whoever adds a study writes its rows and its questions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from episodes.files import one_line, writer_lock, writing
from episodes.workers import map_jobs
from experiments.loop.addresses import later
from experiments.loop.run_folder import NOT_IDENTITY, command_line, read_json, write_json

J = TypeVar("J")
LONGEST = 80  # characters of a setting in a message
WHERE = (*NOT_IDENTITY, "study.results", "results")  # settings that say where a cell lies, not what it is
AGAIN = "remove it; the study's command makes it anew"


@dataclass(frozen=True)
class Cell:
    """One outcome of a study: the key that names its file, all it depends on, and what a table says it is of."""

    key: str
    identity: dict[str, Any]
    about: dict[str, Any]

    def path(self, folder: Path) -> Path:
        """Its file in a study's folder."""
        return folder / "cells" / f"{self.key}.json"


def identity(settings: Any, *leave_out: str) -> dict[str, Any]:
    """What an outcome depends on, as plain json: the settings dataclass but for where and how fast it runs."""
    return plain({k: v for k, v in asdict(settings).items() if k not in (*NOT_IDENTITY, *leave_out)})


def plain(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts as a json file gives them back, so that those of a cell and of now can be compared."""
    found = json.loads(json.dumps(facts, default=str))
    assert isinstance(found, dict)
    return found


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Hold the study in `folder`; another process that holds it is a one-line ValueError."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = writer_lock(folder / ".lock", f"study {folder}")
    try:
        yield
    finally:
        lock.release()


def missing(cells: Sequence[Cell], folder: Path) -> list[Cell]:
    """The cells that are not there yet, in order.

    Errors: a damaged cell, or one that other settings made, is a ValueError naming the file and the first difference.
    """
    todo = []
    for cell in cells:
        path = cell.path(folder)
        if not path.exists():
            todo.append(cell)
            continue
        changed = first_difference(_read(path)["identity"], cell.identity)
        if changed:
            raise ValueError(f"{path}: made with {changed}; use another results folder, or remove that file")
    return todo


def say_found(cells: Sequence[Cell], todo: Sequence[Cell], what: str = "") -> None:
    """Say in a line how many cells of the study, or of its part `what`, are there, and how many will be run."""
    print(f"{f'{what}: ' if what else ''}{len(cells) - len(todo)} cells found, {len(todo)} to run", flush=True)


def first_difference(old: Any, new: Any, name: str = "") -> str:
    """The first setting that differs, in words; empty where none does.

    A setting that came with the code counts as what it was before it had a name (`later`), any other as a difference.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        old = {k: v for k, v in later(new, name.rpartition(".")[2]).items() if k in new} | old
        for k in dict.fromkeys([*new, *old]):
            text = first_difference(old.get(k, "unset"), new.get(k, "unset"), f"{name}.{k}".lstrip("."))
            if text:
                return text
        return ""
    return "" if old == new else f"{name}={_told(old)}, now {_told(new)}"


def _told(value: Any) -> str:
    text = one_line(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def make(
    cells: Sequence[Cell],
    jobs: Sequence[J],
    work: Callable[[J], dict[str, Any]],
    folder: Path,
    workers: int = 1,
    say: Callable[[Cell, dict[str, Any]], object] = lambda cell, result: None,
) -> None:
    """Make each cell from work(its job), on `workers` processes; a cell is written as soon as it is there."""
    for cell, result in zip(cells, map_jobs(work, jobs, workers), strict=True):
        content = {"key": cell.key, "about": cell.about, "identity": cell.identity, "command": command_line(*WHERE)}
        write_json(cell.path(folder), content | {"result": result})
        say(cell, result)


def read(folder: Path) -> list[dict[str, Any]]:
    """Every cell in `folder`, by key; a damaged one is a ValueError that names it."""
    return [_read(path) for path in sorted((folder / "cells").glob("*.json"))]


def _read(path: Path) -> dict[str, Any]:
    cell = read_json(path, dict, AGAIN)
    for name, kind in (("key", str), ("about", dict), ("identity", dict), ("command", str), ("result", dict)):
        if not isinstance(cell.get(name), kind):
            raise ValueError(f"{path}: has no {name!r}; {AGAIN}")
    return cell


def commands(cells: Sequence[dict[str, Any]], *leave_out: str) -> list[str]:
    """The commands that made cells, each once, without the words that choose among cells (`seeds=`, ...)."""
    parts = ("workers=", *leave_out)
    lines = {" ".join(w for w in cell["command"].split(" ") if not w.strip("'").startswith(parts)) for cell in cells}
    return sorted(lines)


def numbered(every: Sequence[str]) -> list[str]:
    """The commands as a numbered list of markdown."""
    return [f"{i}. `{command}`" for i, command in enumerate(every, 1)]


def numbers(mine: Sequence[str], every: Sequence[str]) -> str:
    """The numbers that a row's commands have in the list of all."""
    return ", ".join(str(every.index(command) + 1) for command in mine)
