"""How far a command is: named bars on a terminal, and plain lines, now and then, where the output is a file.

    with progress("collect", total=200) as bar:
        for episode in episodes:
            bar.advance()

A worker process draws nothing: it sends what its bars say to the process that draws, as datagrams that may get lost, so
that no worker waits longer than PATIENCE. `under("awr")` names whose bars those inside are ("awr: policy").
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

SOCKET = "FORESIGHT_PROGRESS"
"""Environment variable of worker processes: where the process that draws listens."""
LINE_EVERY = 30.0  # seconds between two lines of a bar in a file
SENT_EVERY = 0.3  # seconds between two messages of a worker's bar
PATIENCE = 0.2  # seconds that a worker waits to say what no later message says again: that a bar ended, or went on
_DATAGRAM = 4096  # bytes


class Bar:
    """One named count towards its total, made by `progress`."""

    def __init__(self, name: str, total: int, done: int, quiet: bool) -> None:
        self.name, self.total, self.done, self.first, self.quiet = name, total, done, done, quiet
        self.started = time.monotonic()
        self._sent = 0.0
        self.key = f"{os.getpid()}:{id(self)}"

    def advance(self, by: int = 1) -> None:
        """Count `by` more as done."""
        self.done = min(self.done + by, self.total)
        self._say(ended=False)

    def reach(self, done: int) -> None:
        """Count up to `done` where fewer were counted: what workers said of it may have got lost."""
        if done > self.done:
            self.advance(done - self.done)

    def _say(self, ended: bool) -> None:
        now = time.monotonic()
        if self.quiet:
            return
        if not ended and now - self._sent < SENT_EVERY and self.done < self.total:
            return
        self._sent = now
        _tell({"key": self.key, "name": self.name, "done": self.done, "total": self.total, "ended": ended,
               "since": now - self.started, "first": self.first})  # fmt: skip


_names: list[str] = []  # whose bars are being made
_open: dict[str, Bar] = {}  # this process's bars by name
_board: Any = None  # what draws, in the process that does
_lock = threading.RLock()


@contextmanager
def under(name: str) -> Iterator[None]:
    """Name whose bars those made inside are."""
    _names.append(name)
    try:
        yield
    finally:
        _names.pop()


@contextmanager
def progress(name: str, total: int, done: int = 0, quiet: bool = False) -> Iterator[Bar]:
    """A bar from `done` towards `total`; it goes when the block ends. quiet: count, and say nothing."""
    bar = Bar(": ".join([*_names, name]), total, done, quiet or done >= total)
    _open[bar.name] = bar
    bar._say(ended=False)
    try:
        yield bar
    finally:
        _open.pop(bar.name, None)
        bar._say(ended=True)


def along(name: str, items: Sequence[T]) -> Iterator[T]:
    """The items, one by one, with a bar that counts them."""
    with progress(name, len(items)) as bar:
        for item in items:
            yield item
            bar.advance()


def advance(name: str, by: int = 1) -> None:
    """Count on the bar of this name, wherever it is: in this process, or in the one that draws."""
    if name in _open:
        _open[name].advance(by)
    elif SOCKET in os.environ:
        _send({"advance": name, "by": by})


@contextmanager
def listening() -> Iterator[dict[str, str]]:
    """Hear the bars of worker processes; gives what their environment must hold."""
    if SOCKET in os.environ:  # a worker's own workers are heard where it is
        yield {}
        return
    folder = tempfile.mkdtemp(prefix="foresight-")
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        path = str(Path(folder, "bars"))
        try:
            end.bind(path)
        except OSError:  # the folder for temporary files has too long a name: the bars of workers are not shown
            yield {}
            return
        threading.Thread(target=_listen, args=(end,), daemon=True, name="progress").start()
        yield {SOCKET: path}
        _send({"stop": True}, path)
    finally:
        end.close()
        shutil.rmtree(folder, ignore_errors=True)
        with _lock:
            if _board is not None:
                _board.forget_workers()


def _listen(end: socket.socket) -> None:
    while True:
        try:
            said = json.loads(end.recv(_DATAGRAM))
        except (OSError, ValueError):  # closed
            return
        if "stop" in said:
            return
        if "advance" not in said:
            _draw(said)
        elif said["advance"] in _open:
            _open[said["advance"]].advance(said["by"])


def _tell(said: dict[str, Any]) -> None:
    if SOCKET in os.environ:
        _send(said)
    else:
        _draw(said)


def _send(said: dict[str, Any], path: str = "") -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.settimeout(0.0 if said.get("ended") is False else PATIENCE)
        try:
            out.sendto(json.dumps(said).encode(), path or os.environ[SOCKET])
        except OSError:
            pass  # nobody listens any more, or it is behind


def _draw(said: dict[str, Any]) -> None:
    global _board
    with _lock:
        if _board is None:
            _board = _Bars() if sys.stderr.isatty() else _Lines()
        _board.draw(said)


class _Lines:
    """A line for each bar every LINE_EVERY seconds, and one at its end if there was one before."""

    def __init__(self) -> None:
        self.said: dict[str, float] = {}  # when a bar had its last line, in seconds since it began

    def draw(self, said: dict[str, Any]) -> None:
        before, since = self.said.get(said["key"], 0.0), said["since"]
        if said["ended"]:
            if self.said.pop(said["key"], None) is not None:
                print(f"  {_counted(said)}, {_clock(since)}", file=sys.stderr, flush=True)
        elif since - before >= LINE_EVERY:
            self.said[said["key"]] = since
            counted = said["done"] - said["first"]
            left = (said["total"] - said["done"]) * since / counted if counted > 0 else None
            ahead = f", about {_clock(left)} left" if left is not None else ""
            print(f"  {_counted(said)}{ahead}", file=sys.stderr, flush=True)

    def forget_workers(self) -> None:
        own = f"{os.getpid()}:"
        self.said = {key: since for key, since in self.said.items() if key.startswith(own)}


class _Bars:
    """Bars of rich, drawn while there is one; imported only when the first is."""

    def __init__(self) -> None:
        self.live: Any = None
        self.tasks: dict[str, Any] = {}

    def draw(self, said: dict[str, Any]) -> None:
        key = said["key"]
        if said["ended"]:
            self._drop(key)
            return
        if key not in self.tasks:
            if self.live is None:
                self.live = _live()
                self.live.start()
            self.tasks[key] = self.live.add_task(said["name"], total=said["total"], completed=said["done"])
        self.live.update(self.tasks[key], completed=said["done"])

    def _drop(self, key: str) -> None:
        if key in self.tasks:
            self.live.remove_task(self.tasks.pop(key))
        if not self.tasks and self.live is not None:
            self.live.stop()  # gives the cursor back
            self.live = None

    def forget_workers(self) -> None:
        own = f"{os.getpid()}:"
        for key in [key for key in self.tasks if not key.startswith(own)]:
            self._drop(key)


def _live() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("  {task.description}", markup=False), BarColumn(28), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True), transient=True,
        redirect_stdout=sys.stdout.isatty(),  # what goes into a file stays in it
    )  # fmt: skip


def _counted(said: dict[str, Any]) -> str:
    return f"{said['name']}: {said['done']} of {said['total']}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
