"""How a command ends before its time: Ctrl-C, bad input, a full disk or too little memory are one line each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from episodes.files import disk_full, one_line

STOPPED = "stopped; run the same command to continue"
INTERRUPTED = 130  # exit status, as shells say it: 128 + SIGINT
COMMANDS = ("agents", "envs", "experiments")
"""The packages whose modules are commands."""
LONGEST = 4000  # characters of an error
SCRIPT = "foresight"
"""The command as it is installed."""


def interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: while a class is made, in an import, Python itself makes another of it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


@contextmanager
def stopping() -> Iterator[None]:
    """Turn a KeyboardInterrupt into STOPPED on stderr and the exit status 130; for a command's outermost block."""
    try:
        yield
    except BaseException as error:
        if not interrupted(error):
            raise
        print(STOPPED, file=sys.stderr, flush=True)
        sys.exit(INTERRUPTED)


@contextmanager
def refusing(command: str) -> Iterator[None]:
    """End the command with one line for what its user can fix: bad input, a full disk, a library that is missing.

    Ctrl-C ends it with one line, too, and the exit status 130.
    """
    with stopping():
        try:
            yield
        except MemoryError as error:
            said = f" ({error})" if str(error) else ""
            sys.exit(_line(f"{command}: not enough memory{said}; use fewer workers, smaller batches or pictures"))
        except (ValueError, ImportError, FloatingPointError) as error:
            sys.exit(_line(f"{command}: {error}"))
        except Exception as error:
            if full := disk_full(error):  # whichever library wrote
                sys.exit(_line(f"{command}: {full}"))
            from episodes.connection import ServerError

            if isinstance(error, ServerError):
                sys.exit(_line(f"{command}: {error}; start it again, then give the same command again"))
            raise


def _line(text: str) -> str:
    """One line that can be read: of what a file says by the megabyte, the beginning and the way out."""
    return one_line(text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}")


def catch_interrupts() -> None:
    """The same for an interrupt that comes outside of `stopping`; worker processes end without a word.

    A thread that hands its error on as its `exception`, as TensorBoard's writer does, says nothing itself.
    Only where the process runs a command of this project: whoever imports it keeps the interrupts of their own program.
    """
    if not _runs_a_command():
        return
    usual = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not interrupted(error):
            usual(kind, error, trace)
            return
        if multiprocessing.parent_process() is None:
            print(STOPPED, file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(INTERRUPTED)

    sys.excepthook = hook
    usual_in_threads = threading.excepthook

    def in_threads(args: threading.ExceptHookArgs) -> None:
        if getattr(args.thread, "exception", None) is not args.exc_value:  # that one is raised where it is awaited
            usual_in_threads(args)

    threading.excepthook = in_threads


def _runs_a_command() -> bool:
    words = sys.orig_argv
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1].split(".")[0] in COMMANDS
    script = Path(sys.argv[0])
    return script.name == SCRIPT or script.parent.name in COMMANDS or multiprocessing.parent_process() is not None


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back for a moment; a process that is started meanwhile never sees one, its parent stops it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
