"""Jobs on the machines of a Ray cluster: the same promises as local worker processes, and lost machines made good."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from episodes.extras import install
from episodes.job import ONE_THREAD, name_of, rebuilt, run

J = TypeVar("J")
R = TypeVar("R")

RETRIES = 3
"""Times a job is started again after its worker or machine was lost."""


def map_ray(fn: Callable[[J], R], jobs: Iterable[J], workers: int, address: str = "auto") -> Iterator[R]:
    """Yield fn(job) in the order of the jobs, at most `workers` at a time, each on one CPU of the cluster at `address`.

    A worker or machine that is lost has its job run again elsewhere (at most RETRIES times), so a job must give the
    same result when it is run twice, as all jobs here do. Files that jobs name must lie on a disk all machines share.
    Errors: as map_jobs; no ray installed is an ImportError; no cluster, or a job lost too often, a RuntimeError.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError(f"map_jobs: backend ray needs Ray; {install('ray')}") from error
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, runtime_env={"env_vars": _environment()})
        except ConnectionError as error:
            raise RuntimeError(
                f"map_jobs: no Ray cluster at {address!r}; start one with `ray start --head`, or use local workers"
            ) from error
    remote: Any = ray.remote(num_cpus=1, max_retries=RETRIES)(run)
    waiting: deque[tuple[int, J, Any]] = deque()
    numbered = iter(enumerate(jobs))
    try:
        while True:
            while len(waiting) < 2 * workers and (item := next(numbered, None)) is not None:
                waiting.append((*item, remote.remote(fn, item[1])))
            if not waiting:
                return
            number, job, reference = waiting[0]
            try:
                succeeded, value = ray.get(reference)
            except ray.exceptions.RayError as error:
                raise RuntimeError(
                    f"map_jobs: job {number} was lost {RETRIES + 1} times with its worker ({type(error).__name__}); "
                    "look for the kernel's out-of-memory message on its machine"
                ) from error
            waiting.popleft()
            if not succeeded:
                raise rebuilt(value, name_of(number, job))
            yield value
    finally:  # an error, or the caller stopped listening: nobody wants the rest
        for _, _, reference in waiting:
            ray.cancel(reference, force=True)


def _environment() -> dict[str, str]:
    """What a worker's process must find: one thread each, and the places this process imports from."""
    return ONE_THREAD | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
