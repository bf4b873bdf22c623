"""Worker processes: order, errors that say what happened, one thread, and no orphans."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from episodes.workers import map_jobs
from tests import ROOT


class OddError(Exception):
    """Pickles, but cannot be unpickled: its constructor takes two arguments."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"odd {a} {b}")


def _slow_square(x: int) -> int:
    time.sleep(0.05 * (x % 3 == 0))
    return x * x


def _fail_on_three(x: int) -> int:
    if x == 3:
        raise KeyError("three")
    return x


def _odd(x: int) -> int:
    raise OddError(x, x)


def _die_on_two(x: int) -> int:
    if x == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def _facts(_: int) -> tuple[int, str, str]:
    return os.getpid(), os.environ["OMP_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"]


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_jobs(workers: int) -> None:
    assert list(map_jobs(_slow_square, range(9), workers)) == [x * x for x in range(9)]
    assert list(map_jobs(_slow_square, [], workers)) == []


def test_workers_are_other_processes_with_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    facts = list(map_jobs(_facts, range(4), 2))
    assert os.getpid() not in {pid for pid, _, _ in facts}
    assert {threads for _, *threads in map(list, facts) for threads in [tuple(threads)]} == {("1", "1")}
    assert os.environ["OMP_NUM_THREADS"] == "7" and "OPENBLAS_NUM_THREADS" not in os.environ


def test_submission_is_bounded() -> None:
    drawn = []

    def jobs() -> Iterator[int]:
        for x in itertools.count():
            drawn.append(x)
            yield x

    results = map_jobs(_slow_square, jobs(), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    results.close()  # type: ignore[attr-defined]
    assert len(drawn) <= 3 + 4


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_keeps_its_type_traceback_and_job(workers: int) -> None:
    results = map_jobs(_fail_on_three, range(6), workers)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three") as caught:
        next(results)
    assert caught.value.__notes__ == ["in job 3: 3"]
    if workers == 2:
        assert 'raise KeyError("three")' in str(caught.value.__cause__)


def test_an_exception_that_cannot_travel_still_arrives() -> None:
    with pytest.raises(RuntimeError, match="OddError: odd 0 0") as caught:
        list(map_jobs(_odd, range(2), 2))
    assert "raise OddError" in str(caught.value.__cause__)


def test_a_killed_worker_is_said_so() -> None:
    with pytest.raises(RuntimeError, match="a worker process died"):
        list(map_jobs(_die_on_two, range(8), 2))


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="workers is 0"):
        map_jobs(_slow_square, [1], 0)
    with pytest.raises(ValueError, match="module-level function"):
        map_jobs(lambda x: x, [1], 2)


PARENT = """
import os, sys, time
from episodes.workers import map_jobs
def report(x):
    os.write(1, b"%d\\n" % os.getpid())  # one write: two workers share the pipe
    time.sleep(600)
if __name__ == "__main__":
    list(map_jobs(report, range(4), 2))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux only")
def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while any(map(_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [pid for pid in pids if _alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
