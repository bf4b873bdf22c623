"""Jobs on a Ray cluster of two machines (both here): the same results as local workers, also when one is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from episodes.workers import BACKEND, map_jobs
from tests import ROOT

ray = pytest.importorskip("ray", reason="needs the optional extra `ray`")


def _square(x: int) -> int:
    time.sleep(0.01 * (x % 3))
    return x * x


def _where(x: int) -> tuple[str, int, str]:
    time.sleep(0.5)
    return ray.get_runtime_context().get_node_id(), os.getpid(), os.environ["OMP_NUM_THREADS"]


def _killed_once(job: tuple[int, str]) -> int:
    """Dies with -9 the first time job 3 runs; the file says that it did."""
    x, folder = job
    if x == 3:
        try:
            (Path(folder) / "killed").touch(exist_ok=False)
        except FileExistsError:
            return x * x
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def _fail_on_two(x: int) -> int:
    if x == 2:
        raise KeyError("two")
    return x


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        made.add_node(num_cpus=1)
        made.wait_for_nodes()
        patch.setenv(BACKEND, f"ray:{made.address}")
        try:
            yield made.address
        finally:
            ray.shutdown()
            made.shutdown()


@pytest.mark.slow
def test_two_machines_give_the_results_of_one_process(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [(x, str(tmp_path)) for x in range(8)]
    assert list(map_jobs(_killed_once, jobs, 2)) == [x * x for x in range(8)]  # its worker was killed on the way
    assert (tmp_path / "killed").exists()
    there = list(map_jobs(_square, range(9), 2))
    facts = list(map_jobs(_where, range(6), 2))
    assert len({node for node, _, _ in facts}) == 2 and os.getpid() not in {pid for _, pid, _ in facts}
    assert {threads for *_, threads in facts} == {"1"}
    results = map_jobs(_fail_on_two, range(6), 2)
    assert [next(results) for _ in range(2)] == [0, 1]
    with pytest.raises(KeyError, match="two") as caught:
        next(results)
    assert caught.value.__notes__ == ["in job 2: 2"] and 'raise KeyError("two")' in str(caught.value.__cause__)
    monkeypatch.setenv(BACKEND, "local")
    assert there == list(map_jobs(_square, range(9), 2))


def test_an_unknown_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BACKEND, "slurm")
    with pytest.raises(ValueError, match="choose local, ray or ray:ADDRESS"):
        map_jobs(_square, [1], 2)
