"""Low-rank adapters: only they and the new parts learn, and what is saved is the plain model."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from networks.adapters import add_adapters, merge_adapters
from networks.settings import ScaleConfig
from networks.trainer import Trainer
from tests.helpers import tiny
from valuefns.wvm_model import WVMModel

pytest.importorskip("peft", reason="needs the optional extra `scale`")


def batch(step: int, n: int = 4) -> dict[str, Any]:
    rng = np.random.default_rng(step)
    clip = rng.normal(size=(n, 48, 1, 4, 8)).astype(np.float32)
    return {
        "current": clip, "future": clip[::-1].copy(), "values": np.tile(np.linspace(0, 1, 4, dtype=np.float32), (n, 1)),
        "video_weight": np.ones(n, np.float32), "text": rng.normal(size=(1, 8, 16)).astype(np.float32),
    }  # fmt: skip


def test_adapters_learn_alone_and_are_merged_into_the_plain_model() -> None:
    torch.manual_seed(0)
    model = WVMModel(tiny.wvm())
    before = copy.deepcopy(model)
    Trainer(tiny.training(8, scale=ScaleConfig(lora_rank=2, activation_checkpointing=True))).fit(model, batch)
    old, new = before.state_dict(), model.state_dict()
    assert list(old) == list(new)  # the plain model's names again
    moved = {k for k in old if not torch.equal(old[k], new[k])}
    video = {k for k in moved if k.startswith("video.")}
    assert video and all(k.endswith(".weight") and "attn" in k for k in video)
    assert {"value.token_in.weight", "value.proj_out.weight"} <= moved
    for key in video:
        rank = torch.linalg.matrix_rank(new[key] - old[key], atol=1e-5)
        assert rank <= 2, key


def test_merging_changes_no_output() -> None:
    torch.manual_seed(0)
    model = WVMModel(tiny.wvm()).eval()
    add_adapters(model, ScaleConfig(lora_rank=2), "wvm")
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.1)
    tensors = {k: torch.as_tensor(v) for k, v in batch(0).items()}

    def loss() -> torch.Tensor:
        torch.manual_seed(1)
        return model(tensors)

    adapted = loss()
    merge_adapters(model)
    torch.testing.assert_close(loss(), adapted, rtol=1e-4, atol=1e-5)
