"""One job in a worker, and its exception as data on the way back: what every kind of worker shares."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

J = TypeVar("J")
R = TypeVar("R")

ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",  # torch's own pool follows it
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "OPENCV_FOR_THREADS_NUM",
    )
}
"""The environment of a worker: one thread each."""


def name_of(number: int, job: object) -> str:
    """Which job it was, in words, for an error's note."""
    text = repr(job)
    return f"in job {number}: {text if len(text) <= 200 else text[:197] + '...'}"


class _WorkerTraceback(Exception):
    """Carries the text of a traceback from a worker, shown as the cause of the exception raised here."""

    def __str__(self) -> str:
        return "\n" + str(self.args[0])


def run(fn: Callable[[J], R], job: J) -> tuple[bool, Any]:
    """Run one job in a worker; an exception travels as data, because one that cannot be unpickled breaks the pool."""
    try:
        return True, fn(job)
    except Exception as error:
        try:
            pickle.loads(packed := pickle.dumps(error))
        except Exception:
            packed = b""
        return False, (packed, f"{type(error).__name__}: {error}", traceback.format_exc())


def rebuilt(failure: tuple[bytes, str, str], name: str) -> BaseException:
    """The exception of a worker with its own type where that can be had, the worker's traceback as its cause."""
    packed, summary, text = failure
    error: BaseException = pickle.loads(packed) if packed else RuntimeError(summary)
    error.__cause__ = _WorkerTraceback(text)
    error.add_note(name)
    return error
