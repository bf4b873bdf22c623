"""Settings that must stand before any test imports a library.

Threads: pytest-xdist runs several workers, and one thread each is faster than all of them competing for the cores.
Rendering: off screen, with the backend `make setup` found to work (`make test` passes it on), else EGL.

Everything runs by default, the `slow` tests too; leave them out with `make test ARGS="-m 'not slow'"`.
"""

import os
import pathlib
import sys

import pytest

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test downloads weights
if sys.platform == "linux" and not os.environ.get("MUJOCO_GL"):
    _found = pathlib.Path(sys.prefix, "mujoco-gl")
    os.environ["MUJOCO_GL"] = _found.read_text().strip() if _found.is_file() else "egl"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need a CUDA device where there is none (torch is only imported when such a test exists)."""
    needs_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not needs_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in needs_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """A test that has torch loaded starts with one thread, whatever the test before it set."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)
