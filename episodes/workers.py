"""Jobs on local worker processes: results in order, one thread each, and no worker outlives its parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from episodes.job import ONE_THREAD, name_of, rebuilt, run
from episodes.progress import listening
from episodes.stopping import interrupts_held

J = TypeVar("J")
R = TypeVar("R")

PR_SET_PDEATHSIG = 1  # linux/prctl.h

BACKEND = "FORESIGHT_WORKERS"
"""Environment variable: `local` (the default), or `ray`, `ray:ADDRESS` for the machines of a Ray cluster."""


def map_jobs(fn: Callable[[J], R], jobs: Iterable[J], workers: int = 2) -> Iterator[R]:
    """Yield fn(job) for each job, in the order of the jobs, computed on `workers` spawned processes.

    Where the environment variable FORESIGHT_WORKERS says `ray`, they are workers of a Ray cluster (workers_ray.py).

    At most 2 * workers jobs are in flight, so `jobs` may be an endless generator and results never pile up. `fn` and
    the jobs are sent by pickle: `fn` is a module-level function (or a functools.partial of one). Workers start with one
    thread each (set by environment before anything is imported there) and die with the thread that iterates, also when
    this process is killed with -9. workers=1 runs every job in this process.

    Errors: an exception in a job is raised here with its own type, the worker's traceback as its cause and a note
    naming the job, and the remaining jobs are dropped; a worker that dies is a RuntimeError that says so; workers < 1
    or an `fn` that cannot be sent is a ValueError.
    """
    if workers < 1:
        raise ValueError(f"map_jobs: workers is {workers}; use 1 to run in this process or more for worker processes")
    if workers == 1:
        return _map_here(fn, jobs)
    try:
        pickle.dumps(fn)
    except Exception as error:
        raise ValueError(f"map_jobs: {fn!r} cannot be sent to a worker; use a module-level function") from error
    backend, _, address = os.environ.get(BACKEND, "local").partition(":")
    if backend == "ray":
        from episodes.workers_ray import map_ray

        return map_ray(fn, jobs, workers, address or "auto")
    if backend != "local":
        raise ValueError(f"{BACKEND}={backend!r}: choose local, ray or ray:ADDRESS")
    return _map_processes(fn, jobs, workers)


def _map_here(fn: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
    for number, job in enumerate(jobs):
        try:
            result = fn(job)
        except Exception as error:
            error.add_note(name_of(number, job))
            raise
        yield result


def _map_processes(fn: Callable[[J], R], jobs: Iterable[J], workers: int) -> Iterator[R]:
    with listening() as heard:
        yield from _heard(fn, jobs, workers, ONE_THREAD | heard)


def _heard(fn: Callable[[J], R], jobs: Iterable[J], workers: int, environment: dict[str, str]) -> Iterator[R]:
    executor = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(os.getpid(),)
    )
    waiting: deque[tuple[int, J, Future[tuple[bool, Any]]]] = deque()
    numbered = iter(enumerate(jobs))
    finished = False
    try:
        while True:
            while len(waiting) < 2 * workers and (item := next(numbered, None)) is not None:
                # processes are started by submit and inherit the environment
                with _environment(environment), interrupts_held():
                    waiting.append((*item, executor.submit(run, fn, item[1])))
            if not waiting:
                break
            number, job, future = waiting[0]
            succeeded, value = future.result()
            waiting.popleft()
            if not succeeded:
                raise rebuilt(value, name_of(number, job))
            yield value
        finished = True
    except BrokenProcessPool as error:
        names = ", ".join(str(number) for number, _, _ in waiting)
        raise RuntimeError(
            f"map_jobs: a worker process died (killed, out of memory, or crashed while starting) with jobs {names} "
            "unfinished; look for the kernel's out-of-memory message, or use fewer workers"
        ) from error
    finally:
        if not finished:  # an error, or the caller stopped listening: nobody wants the rest
            for process in list((executor._processes or {}).values()):
                process.kill()
        executor.shutdown(wait=True, cancel_futures=True)


def _start_worker(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent died before the line above
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent stops the workers, once


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
