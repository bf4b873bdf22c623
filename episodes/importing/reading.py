"""Reading files that somebody else wrote: one-line errors that name the file, and no path outside the dataset."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa


class DatasetError(ValueError):
    """A ValueError that already names the file and the way out."""


@contextmanager
def reading(path: Path, way_out: str = "copy the dataset again") -> Iterator[None]:
    """Turn whatever goes wrong inside into one line that names `path`, what was wrong with it and the way out."""
    try:
        yield
    except DatasetError:
        raise
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: missing; {way_out}") from error
    except KeyError as error:
        raise DatasetError(f"{path}: lacks {error.args[0]!r}; {way_out}") from error
    except (OSError, ValueError, TypeError, IndexError, AttributeError, OverflowError, pa.ArrowException) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DatasetError(f"{path}: {line}; {way_out}") from error


def read_json(path: Path, root: Path) -> dict[str, Any]:
    """The JSON object in a file of the dataset at `root`."""
    with reading(path):
        within(root, path)
        return json_object(path.read_text(encoding="utf-8"))


def read_json_lines(path: Path, root: Path) -> list[dict[str, Any]]:
    """The JSON objects in a file of the dataset at `root`, one a line."""
    with reading(path):
        within(root, path)
        return [json_object(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"holds a JSON {type(value).__name__}, not an object")
    return value


def whole(value: Any, name: str) -> int:
    """A count or index >= 0 from a file; anything else is a ValueError that names it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or int(value) != value:
        raise ValueError(f"{name} is {value!r}, not a whole number")
    if not 0 <= value < 2**53:
        raise ValueError(f"{name} is {value!r}, outside 0..2^53")
    return int(value)


def inside(root: Path, template: Any, **fields: int | str) -> Path:
    """The file that a path template of the dataset names, e.g. data/chunk-{chunk_index:03d}/file-{file_index:03d}.

    Errors (ValueError): a field other than the given ones, or a path that would leave `root`.
    """
    if not isinstance(template, str):
        raise ValueError(f"path template {template!r} is not a text")
    for _, name, form, conversion in string.Formatter().parse(template):
        if name is not None and (name not in fields or conversion or not re.fullmatch(r"(0\dd)?", form or "")):
            raise ValueError(f"path template {template!r} has a field other than {', '.join(sorted(fields))}")
    path = PurePosixPath(template.format(**fields))
    if path.is_absolute() or ".." in path.parts or "\\" in str(path) or "\0" in str(path):
        raise ValueError(f"path {str(path)!r} leaves the dataset's folder")
    return within(root, root / path)


def within(root: Path, path: Path) -> Path:
    """`path`, if what it names lies in `root` and is a regular file (or is not there, which its reader says).

    Links are followed inside the folder only, or from a snapshot of the Hugging Face cache into its own blobs.
    """
    place, home = path.resolve(), root.resolve()
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    if not (place.is_relative_to(home) or place.is_relative_to(blobs)):
        raise ValueError(
            f"{path.relative_to(root)} is a link that leaves the dataset's folder; put a copy in its place"
        )
    if place.exists() and not place.is_file():
        raise ValueError(f"{path.relative_to(root)} is not a regular file")
    return path
