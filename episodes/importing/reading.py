"""Reading files that somebody else wrote: one-line errors that name the file, and no path outside the dataset."""

from __future__ import annotations

import codecs
import json
import re
import string
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from episodes.files import one_line
from episodes.importing.remedies import REMEDIES
from episodes.video import VideoError


class Fault(ValueError):
    """What is wrong with a dataset; `cause` is a line of REMEDIES, which gives the way out."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        assert cause in REMEDIES, cause
        self.cause = cause

    @property
    def parts(self) -> list[Fault]:
        """What is wrong, each thing by itself."""
        return [self]


class Faults(Fault):
    """Several at once, each with its way out."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults[0].cause, "; ".join(map(str, faults)))
        self._parts = [part for fault in faults for part in fault.parts]

    @property
    def parts(self) -> list[Fault]:
        return self._parts


def each(*checks: Callable[[], Any]) -> list[Any]:
    """What the checks return; where several find a Fault, all of them are told at once."""
    found, faults = [], []
    for check in checks:
        try:
            found.append(check())
        except Fault as fault:
            faults.append(fault)
    if faults:
        raise faults[0] if len(faults) == 1 else Faults(faults)
    return found


class DatasetError(ValueError):
    """A ValueError that already names the file and the way out of its cause."""

    def __init__(self, place: object, fault: Fault) -> None:
        told = "; ".join(f"{part}; {REMEDIES[part.cause]}" for part in fault.parts)
        super().__init__(one_line(f"{place}: {told}"))
        self.causes = {part.cause for part in fault.parts}


@contextmanager
def reading_source(path: Path | str, part: str = "", otherwise: str = "metadata") -> Iterator[None]:
    """Turn whatever goes wrong inside into one line that names `path`, what was wrong with it and the way out.

    part: of the file, for instance "episode 3". otherwise: the cause of an error that does not tell its own.
    """
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:
        fault = _fault(error, otherwise)
        if fault is None:
            raise
        raise DatasetError(f"{path}: {part}" if part else path, fault) from error


def _fault(error: Exception, otherwise: str) -> Fault | None:
    if isinstance(error, Fault):
        return error
    if isinstance(error, VideoError):
        return Fault({"moment": "timestamps", "size": "video_size"}.get(error.kind, "damaged"), str(error))
    if isinstance(error, FileNotFoundError):
        return Fault("missing", "missing")
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, MemoryError) and not isinstance(error, pa.ArrowException):
        return Fault("damaged", "asks for more memory than there is")  # a number in a file may ask for any amount
    if isinstance(error, UnicodeDecodeError):
        return Fault("text", line)
    if isinstance(error, (pa.ArrowException, OSError, RuntimeError, json.JSONDecodeError)):
        return Fault("damaged", line)
    if isinstance(error, KeyError):
        return Fault("lacks", f"lacks {error.args[0]!r}")
    if isinstance(error, (ValueError, TypeError, IndexError, AttributeError, OverflowError)):
        return Fault(otherwise, line)
    return None


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark, or in UTF-16 with one."""
    data = path.read_bytes()
    return data.decode("utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig")


def read_json(path: Path, root: Path) -> dict[str, Any]:
    """The JSON object in a file of the dataset at `root`."""
    with reading_source(path):
        return json_object(read_text(within(root, path)))


def read_json_lines(path: Path, root: Path) -> list[dict[str, Any]]:
    """The JSON objects in a file of the dataset at `root`, one a line.

    A line ends at a line feed alone: other separators may stand in texts.
    """
    with reading_source(path):
        return [json_object(line) for line in read_text(within(root, path)).split("\n") if line.strip()]


def json_object(text: str) -> dict[str, Any]:
    """A JSON object from text; anything else is a Fault or a ValueError."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise Fault("damaged", "JSON is nested too deeply") from None
    if not isinstance(value, dict):
        raise Fault("metadata", f"holds a JSON {type(value).__name__}, not an object")
    return value


def whole(value: Any, name: str) -> int:
    """A count or index >= 0 from a file; anything else is a ValueError that names it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or int(value) != value:
        raise Fault("metadata", f"{name} is {value!r}, not a whole number")
    if not 0 <= value < 2**53:
        raise Fault("metadata", f"{name} is {value!r}, outside 0..2^53")
    return int(value)


def inside(root: Path, template: Any, **fields: int | str) -> Path:
    """The file that a path template of the dataset names, e.g. data/chunk-{chunk_index:03d}/file-{file_index:03d}.

    Errors (ValueError): a field other than the given ones, or a path that would leave `root`.
    """
    if not isinstance(template, str):
        raise Fault("metadata", f"path template {template!r} is not a text")
    for _, name, form, conversion in string.Formatter().parse(template):
        if name is not None and (name not in fields or conversion or not re.fullmatch(r"(0\dd)?", form or "")):
            wanted = ", ".join(sorted(fields))
            raise Fault("metadata", f"path template {template!r} has a field other than {wanted}")
    return inside_path(root, template.format(**fields))


def inside_path(root: Path, text: str) -> Path:
    """A path relative to `root` that stays in it."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\\" in str(path) or "\0" in str(path):
        raise Fault("outside", f"path {str(path)!r} leaves the dataset's folder")
    return within(root, root / path)


def within(root: Path, path: Path) -> Path:
    """`path`, if what it names lies in `root` and is a regular file (or is not there, which its reader says).

    Links are followed inside the folder only, or from a snapshot of the Hugging Face cache into its own blobs.
    """
    place, home = path.resolve(), root.resolve()
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    if not (place.is_relative_to(home) or place.is_relative_to(blobs)):
        raise Fault("file_link", f"{path.relative_to(root)} is a link that leaves the dataset's folder")
    if place.exists() and not place.is_file():
        raise Fault("file_link", f"{path.relative_to(root)} is not a regular file")
    return path
