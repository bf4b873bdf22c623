"""Training on several processes is the training of one: the same curve, weights normalised over all of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from networks.checkpoint import load_tensors
from tests import ROOT
from tests.helpers import distributed_script, sharded_script
from tests.helpers.distributed_script import curve


def launch(folder: Path, script: str, processes: int, *arguments: str) -> None:
    """Start the script through `accelerate launch` on CPU processes (gloo)."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file",
        str(ROOT / "experiments/conf/accelerate/cpu.yaml"), "--num_processes", str(processes),
        "--main_process_port", str(port), str(ROOT / "tests" / "helpers" / script), str(folder), *arguments,
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_follow_the_curve_of_one_also_when_they_are_stopped_and_go_on(tmp_path: Path) -> None:
    """Stopped at step 25 with the last checkpoint at 20. Tolerance 1e-5: the sums of two halves, in another order."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    (one / "stopped").write_text("")
    distributed_script.main(one, accumulation=2)
    launch(two, "distributed_script.py", 2, "1")  # stops itself
    assert (two / "resume.safetensors").exists() and len(curve(two)) == 25
    launch(two, "distributed_script.py", 2, "1")
    assert not (two / "resume.safetensors").exists()
    assert json.loads((two / "model" / "config.json").read_text())["processes"] == 2
    assert len(curve(one)) == len(curve(two)) == 30 and sum(curve(one)[-5:]) < 0.5 * sum(curve(one)[:5])
    np.testing.assert_allclose(curve(two), curve(one), rtol=1e-5)
    ours, theirs = (load_tensors(folder / "model" / "model.safetensors")[0] for folder in (one, two))
    for key in ours:
        torch.testing.assert_close(theirs[key], ours[key], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_sharded_state_is_saved_whole_and_loaded_again(tmp_path: Path) -> None:
    """FSDP2 itself on two CPU processes (accelerate shards only on GPUs): stopped, resumed, and saved as one model."""
    launch(tmp_path, "sharded_script.py", 2)
    expected = sharded_script.whole().state_dict()
    saved, _ = load_tensors(tmp_path / "model" / "model.safetensors")
    assert set(saved) == set(expected)
    for key in expected:
        torch.testing.assert_close(saved[key], expected[key], rtol=1e-4, atol=1e-6)
