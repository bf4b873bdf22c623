"""Ctrl-C, a full disk and too little memory end a command with one line, whoever noticed."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from episodes.files import disk_full, writing
from episodes.stopping import COMMANDS, STOPPED, refusing
from tests import ROOT

BEGIN = "import os, signal, sys, time\n"
WORKING = """
from episodes.stopping import stopping
with stopping():
    print("ready", flush=True)
    time.sleep(30)
"""
LOADING = """
import experiments
print("ready", flush=True)
time.sleep(30)  # a library that takes its time
"""
WRAPPED = """
class Slow:
    def __set_name__(self, owner, name):  # what is raised here, Python makes a RuntimeError
        print("ready", flush=True)
        time.sleep(30)
IN_TIME
class Made:
    field = Slow()
"""
WORKERS = """
import experiments
from episodes.stopping import stopping
from episodes.workers import map_jobs
def work(n):
    os.write(1, b"ready\\n")  # one write: two workers share the pipe
    time.sleep(30)
if __name__ == "__main__":
    with stopping():
        list(map_jobs(work, range(4), 2))
"""


def started(folder: Path, code: str) -> subprocess.Popen[str]:
    script = folder / "experiments" / "script.py"  # a command of this project, by the folder it lies in
    script.parent.mkdir()
    script.write_text(BEGIN + code)
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a job in the background inherits "ignore"
    return subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, preexec_fn=heeds,
    )  # fmt: skip


def test_every_command_ends_that_way() -> None:
    """Whatever is run as a module or a script of the rooms; one runs in another Python, without this project."""
    commands = [
        path
        for room in COMMANDS
        for path in sorted((ROOT / room).rglob("*.py"))
        if 'if __name__ == "__main__":' in path.read_text() and path.name != "original_worker.py"
    ]
    assert len(commands) > 20
    for path in commands:
        assert re.search(
            r"with (refusing|stopping)\(|^    (command\(\"\w+\"\)$|sys\.exit\(\")", path.read_text(), re.M
        ), f"{path}: Ctrl-C ends it with a traceback"
    assert "with refusing(" in (ROOT / "experiments/cli/run.py").read_text(), "where `command` runs all of them"
    for room in COMMANDS:
        assert "catch_interrupts()" in (ROOT / room / "__init__.py").read_text()


MAKING = WRAPPED.replace("IN_TIME", "import experiments")
MAKING_INSIDE = WRAPPED.replace("IN_TIME", "from episodes.stopping import refusing\nwith refusing('x'):").replace(
    "class Made:\n    field", "  class Made:\n    field"
)


@pytest.mark.parametrize(
    "code",
    [WORKING, LOADING, WORKERS, MAKING, MAKING_INSIDE],
    ids=["working", "loading", "workers", "making a class", "making a class in a command"],
)
def test_ctrl_c_is_one_line(code: str, tmp_path: Path) -> None:
    """Sent to the whole group, as a terminal does: workers end without a word."""
    process = started(tmp_path, code)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=25)
    assert (process.returncode, said) == (130, f"{STOPPED}\n")


def test_ctrl_c_while_workers_start_is_one_line(tmp_path: Path) -> None:
    process = started(tmp_path, WORKERS)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None and len(children.read_text().split()) < 2:  # the tracker's, and the first worker
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=25)
    assert (process.returncode, said) == (130, f"{STOPPED}\n")


FULL = os.strerror(errno.ENOSPC)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, FULL, "place/file"),
        shutil.Error([("a", "place/file", f"[Errno 28] {FULL}")]),
        RuntimeError(f"PytorchStreamWriter failed: {FULL}"),
        OSError(f"[Errno 28] Error writing bytes to file. Detail: [errno 28] {FULL}"),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    ],
)
def test_a_full_disk_is_one_line_whichever_library_wrote(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"x: .*cannot be written .*free some disk space") as caught, refusing("x"):
        raise error
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"place.*free some disk space"), writing(tmp_path / "place"):
        raise error


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    for error in (RuntimeError("x"), KeyError("x"), OSError(errno.ENOENT, "x")):
        assert disk_full(error) == ""
        with pytest.raises(type(error)), writing(tmp_path):
            raise error


def test_too_little_memory_is_one_line() -> None:
    for error in (MemoryError(), MemoryError("Unable to allocate 9 GiB")):
        with pytest.raises(SystemExit, match=r"x: not enough memory.*fewer workers"), refusing("x"):
            raise error


def test_what_a_file_says_by_the_megabyte_is_a_line_that_can_be_read() -> None:
    with pytest.raises(SystemExit) as caught, refusing("x"):
        raise ValueError(f"a.json: rows is {[0] * 10**6}; write it again")
    said = str(caught.value)
    assert len(said) < 5000 and said.startswith("x: a.json: rows is [0, ") and said.endswith("; write it again")
