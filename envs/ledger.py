"""Trials and the ledger of finished ones, which makes an interrupted evaluation continue where it stopped."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from episodes.files import one_line, refuse_special, sync, writing

LONGEST = 4096  # characters of a text in a row


@dataclass(frozen=True)
class Trial:
    """One episode to run: the seed of the environment, the actor and the action noise."""

    seed: int

    @property
    def key(self) -> str:
        """What names the trial in a ledger."""
        return f"seed={self.seed}"

    @property
    def options(self) -> dict[str, Any] | None:
        """What the environment's `reset` is told besides the seed."""
        return None


def flag(value: Any) -> bool:
    """True or False."""
    return type(value) is bool


def count(value: Any) -> bool:
    """A whole number from 0."""
    return type(value) is int and 0 <= value < 2**53


def number(value: Any) -> bool:
    """A finite number from 0."""
    return type(value) in (int, float) and 0 <= value < 2**53


def number_or_nan(value: Any) -> bool:
    """A finite number from 0, or NaN where it is not known."""
    return number(value) or (type(value) is float and value != value)


def text(value: Any) -> bool:
    """A text of at most LONGEST characters that a file can hold."""
    if type(value) is not str or len(value) > LONGEST:
        return False
    return not any("\ud800" <= c <= "\udfff" for c in value)  # halves of a character, which no file can hold


class TrialLedger:
    """Append-only JSON lines at `path`, one row per finished trial, each with its trial's "key".

    A row is one write, flushed and synced, so a crash loses at most the row being written: a torn last line is ignored
    when the ledger is opened and removed by the next append. Errors (ValueError): a damaged line before the last one, a
    repeated key, a place that cannot be read or written, a file that somebody else has added to or replaced since.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._rows: dict[str, dict[str, Any]] = {}
        self._end = 0  # bytes of whole lines
        try:
            refuse_special(self.path)
            content = self.path.read_bytes() if self.path.exists() else b""
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ValueError(f"{self.path}: cannot be read ({reason}); choose another ledger") from error
        for number, line in enumerate(content.split(b"\n")[:-1], 1):  # what follows the last line's end is torn
            self._end += len(line) + 1
            try:
                row = json.loads(line)
                key = row["key"]
                if not isinstance(key, str) or key in self._rows:
                    raise ValueError("no key of its own")
                self._rows[key] = row
            except (ValueError, TypeError, KeyError, RecursionError):
                raise ValueError(
                    f"{self.path}: line {number} is not a row of a trial ledger, or the second of its trial; "
                    "delete the file to start anew"
                ) from None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows in the order in which they were written."""
        return list(self._rows.values())

    def __contains__(self, trial: Trial) -> bool:
        return trial.key in self._rows

    def read(
        self, trial: Trial, same: Mapping[str, Any], measured: Mapping[str, Callable[[Any], bool]]
    ) -> dict[str, Any]:
        """The row of a trial that is in the ledger, with its key and these columns alone.

        same: what these columns hold for this trial; measured: what is to be true of these. The file may have been
        written by anybody: a ValueError names the first column that is missing or another.
        """
        row = self._rows[trial.key]
        for name in (*same, *measured):
            right = name in row and (measured[name](row[name]) if name in measured else row[name] == same[name])
            if not right:
                value = row.get(name)
                shown = f"a {type(value).__name__}" if isinstance(value, (list, dict)) else f"{value!r:.40}"
                found = f"{name} is {shown}" if name in row else f"no {name}"
                raise ValueError(
                    one_line(
                        f"{self.path}: the row of {trial.key} is not one of this evaluation ({found}); name another "
                        "ledger, or delete the file to start anew"
                    )
                )
        return {name: same.get(name, value) for name, value in row.items() if name in {"key", *same, *measured}}

    def pending(self, trials: Iterable[Trial]) -> list[Trial]:
        """The trials that have no row yet, in their order."""
        return [trial for trial in trials if trial not in self]

    def add(self, row: dict[str, Any]) -> None:
        """Write one row, on disk when this returns."""
        if row["key"] in self._rows:
            raise ValueError(f"{self.path}: {row['key']} is already in the ledger; run only the pending trials")
        line = json.dumps(row).encode() + b"\n"
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new = not self.path.exists()
            with open(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # for this row, until the file is closed
                file.seek(max(self._end - 1, 0))
                rest = file.read()
                if not rest.startswith(b"\n" if self._end else b"") or b"\n" in rest[1 if self._end else 0 :]:
                    raise ValueError(
                        f"{self.path}: somebody else has added trials to it, or replaced it; let one process at a time "
                        "run, then the same command again"
                    )
                file.truncate(self._end)
                file.seek(self._end)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            if new:
                sync(self.path.parent)
        self._end += len(line)
        self._rows[row["key"]] = row
