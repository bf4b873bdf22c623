"""The planner: published sizes, a traced step against a real one, the sums by hand, and refusals before loading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from agents.make import planned_policy
from experiments.models.plan import describe
from networks import planner
from networks.memory import GIB
from networks.planned import Planned
from networks.planner import WAYS, Footprint, Line, footprint, table
from networks.settings import LatentsConfig, ScaleConfig
from networks.trainer import Trainer
from tests.helpers import tiny
from tests.helpers.composing import composed
from valuefns.make import planned_value
from valuefns.settings import WVMConfig


def test_published_sizes_on_the_meta_device() -> None:
    from diffusers import CogVideoXTransformer3DModel

    wvm = planned_value(WVMConfig(), LatentsConfig(), 2, 224)
    assert wvm is not None and wvm.source == "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
    with torch.device("meta"):
        model = wvm.build()
        cogvideox = CogVideoXTransformer3DModel(
            num_attention_heads=48, num_layers=42, time_embed_dim=512, text_embed_dim=4096, sample_width=90,
            sample_height=60, use_rotary_positional_embeddings=True,
        )  # fmt: skip
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert count["video"] == 4_999_787_712 and round(count["value"] / 1e9, 3) == 0.666
    assert round(sum(p.numel() for p in cogvideox.parameters()) / 1e9, 3) == 5.570


def test_a_traced_step_keeps_what_a_real_one_keeps() -> None:
    """The tiny pi0.5 on tensors with memory and without: the same parameters and the same bytes."""
    planned = planned_policy(composed("policy=pi05_tiny").policy, 2, 64)
    assert planned is not None
    f = footprint(planned.build, planned.batch, bf16=False)
    real = planned.build().train()
    assert f.trained == sum(p.numel() for p in real.parameters() if p.requires_grad)
    assert f.parameters == sum(p.numel() for p in real.parameters())
    for n in (1, 2):
        assert f.kept(n) == pytest.approx(planner._kept_bytes(real, planned.batch(n), bf16=False), rel=0.02)
    assert 0 < f.inputs(4) < f.kept(4)
    assert f.adapted > 0 and 0 < f.outside < f.trained
    text = describe(planned, f, 80.0, 2, 64)
    assert f"{f.trained:,} trained" in text and all(way.name in text for way in WAYS)


def test_the_sums_by_hand() -> None:
    """One billion parameters in ten blocks: 16 bytes each, less where they are spread, adapted or kept in 8 bits."""
    n = 10**9
    f = Footprint(n, 0, adapted=10**5, outside=0, blocks=10, kept=Line(0, 2 * GIB), inputs=Line(0, GIB / 10))
    one, fsdp, bits8, lora = WAYS
    assert one.per_device(f, 8, 3, False, False)["total"] == 16 * n + 6 * GIB
    assert one.per_device(f, 1, 3, True, False)["total"] == pytest.approx(16 * n + 0.3 * GIB + 0.6 * GIB)
    assert one.per_device(f, 1, 1, False, True)["optimizer"] == 12 * n
    assert bits8.per_device(f, 1, 1, False, False)["optimizer"] == 2 * n
    assert fsdp.per_device(f, 8, 1, False, False)["total"] == 16 * n / 8 + 3 * 4 * n / 10 + 2 * GIB
    assert lora.per_device(f, 1, 1, False, False)["weights"] == 2 * n + 4 * 16 * 10**5
    rows = {(row["way"], row["recomputed"]): row for row in table(f, 32, 10.0)}
    assert rows["one or DDP", True]["devices"] is None  # 15 GiB of state fit on no number of GPUs of 10
    assert rows["FSDP", True]["devices"] == 2
    found = rows["FSDP", True]
    assert found["micro_batch"] * found["devices"] * found["accumulation"] >= 32 and found["total"] <= 9.5


def test_too_little_memory_is_said_before_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = torch.nn.Linear(1000, 1000)
    monkeypatch.setattr("networks.memory.free_bytes", lambda device: 10**7)
    with pytest.raises(MemoryError, match=r"line: training: needs 0\.0 GiB on cpu, .*use scale\.lora_rank=16"):
        Trainer(tiny.training(1), name="line").fit(module, lambda step: {"x": np.zeros((2, 1))})
    monkeypatch.undo()
    for change, said in (
        (ScaleConfig(optimizer="adamw8bit"), "adamw8bit needs a CUDA device"),
        (ScaleConfig(lora_rank=4), "no pretrained part|needs peft"),
    ):
        with pytest.raises((ValueError, ImportError), match=said):
            Trainer(tiny.training(1, scale=change), name="line").fit(module, lambda step: {"x": np.zeros((2, 1))})
    with pytest.raises(ValueError, match="optimizer='sgd'"):
        ScaleConfig(optimizer="sgd")


def test_a_value_without_weights_has_no_plan() -> None:
    assert planned_value(composed("valuefn=constant").valuefn, LatentsConfig(), 2, 64) is None
    assert isinstance(planned_value(tiny.viva(), LatentsConfig("patch_pca"), 2, 64), Planned)


@pytest.mark.parametrize("name", ["viva", "wvm", "distributional", "pi05", "videovla"])
def test_recomputing_activations_changes_no_gradient(name: str) -> None:
    size = 64 if name in ("pi05", "videovla") else 32
    if name in ("pi05", "videovla"):
        planned = planned_policy(composed(f"policy={name}_tiny").policy, 2, size)
    else:
        latents = LatentsConfig("wan_vae") if name == "wvm" else tiny.PCA
        planned = planned_value(getattr(tiny, name)(), latents, 2, size)
    assert planned is not None

    def gradients(recompute: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        module = planned.build().train()
        for p in module.parameters():
            p.data.add_(0.05 * torch.randn_like(p))  # fresh gates are zero
        if recompute:
            planner.enable_checkpointing(module)
        torch.manual_seed(1)
        module(planned.batch(2)).sum().backward()
        return [p.grad for p in module.parameters() if p.grad is not None]

    plain, again = gradients(False), gradients(True)
    assert len(plain) == len(again) > 10 and any(g.abs().max() > 0 for g in plain)
    for a, b in zip(plain, again, strict=True):
        torch.testing.assert_close(a, b)
