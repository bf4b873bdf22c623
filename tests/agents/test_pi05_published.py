"""Weights in the published layout of pi0.5: taken over whole, refused where they are of something else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from agents.make import make_policy
from agents.pi05 import Pi05Policy
from agents.pi05_model import Pi05Model
from tests.helpers.made_lift import SPEC
from tests.helpers.small_pi05 import PREFIX, act, config

# One layer of each kind, written from the published names; shapes are those of PREFIX with one layer and an expert of
# width 32 and mlp 64.
PUBLISHED = """
P.vision_tower.vision_model.embeddings.patch_embedding.weight 32 3 16 16
P.vision_tower.vision_model.embeddings.patch_embedding.bias 32
P.vision_tower.vision_model.embeddings.position_embedding.weight 4 32
P.vision_tower.vision_model.encoder.layers.0.layer_norm1.bias 32
P.vision_tower.vision_model.encoder.layers.0.layer_norm1.weight 32
P.vision_tower.vision_model.encoder.layers.0.layer_norm2.bias 32
P.vision_tower.vision_model.encoder.layers.0.layer_norm2.weight 32
P.vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias 64
P.vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight 64 32
P.vision_tower.vision_model.encoder.layers.0.mlp.fc2.bias 32
P.vision_tower.vision_model.encoder.layers.0.mlp.fc2.weight 32 64
P.vision_tower.vision_model.encoder.layers.0.self_attn.k_proj.bias 32
P.vision_tower.vision_model.encoder.layers.0.self_attn.k_proj.weight 32 32
P.vision_tower.vision_model.encoder.layers.0.self_attn.out_proj.bias 32
P.vision_tower.vision_model.encoder.layers.0.self_attn.out_proj.weight 32 32
P.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.bias 32
P.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight 32 32
P.vision_tower.vision_model.encoder.layers.0.self_attn.v_proj.bias 32
P.vision_tower.vision_model.encoder.layers.0.self_attn.v_proj.weight 32 32
P.vision_tower.vision_model.post_layernorm.bias 32
P.vision_tower.vision_model.post_layernorm.weight 32
P.multi_modal_projector.linear.bias 48
P.multi_modal_projector.linear.weight 48 32
P.language_model.layers.0.input_layernorm.weight 48
P.language_model.layers.0.mlp.down_proj.weight 48 96
P.language_model.layers.0.mlp.gate_proj.weight 96 48
P.language_model.layers.0.mlp.up_proj.weight 96 48
P.language_model.layers.0.post_attention_layernorm.weight 48
P.language_model.layers.0.self_attn.k_proj.weight 24 48
P.language_model.layers.0.self_attn.o_proj.weight 48 48
P.language_model.layers.0.self_attn.q_proj.weight 48 48
P.language_model.layers.0.self_attn.v_proj.weight 24 48
P.language_model.norm.weight 48
paligemma_with_expert.paligemma.lm_head.weight 384 48
paligemma_with_expert.gemma_expert.lm_head.weight 384 32
E.layers.0.input_layernorm.dense.bias 96
E.layers.0.input_layernorm.dense.weight 96 32
E.layers.0.mlp.down_proj.weight 32 64
E.layers.0.mlp.gate_proj.weight 64 32
E.layers.0.mlp.up_proj.weight 64 32
E.layers.0.post_attention_layernorm.dense.bias 96
E.layers.0.post_attention_layernorm.dense.weight 96 32
E.layers.0.self_attn.k_proj.weight 24 32
E.layers.0.self_attn.o_proj.weight 32 48
E.layers.0.self_attn.q_proj.weight 48 32
E.layers.0.self_attn.v_proj.weight 24 32
E.norm.dense.bias 96
E.norm.dense.weight 96 32
action_in_proj.bias 32
action_in_proj.weight 32 3
action_out_proj.bias 3
action_out_proj.weight 3 32
time_mlp_in.bias 32
time_mlp_in.weight 32 32
time_mlp_out.bias 32
time_mlp_out.weight 32 32
"""


def published(beginning: str = "") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for line in PUBLISHED.split("\n")[1:-1]:
        key, *shape = line.split()
        for short, part in (("P.", "paligemma"), ("E.", "gemma_expert")):
            if key.startswith(short):
                key = f"paligemma_with_expert.{part}.model.{key.removeprefix(short)}"
        tensors[beginning + key] = torch.randn([int(n) for n in shape], generator=generator)
    return tensors


def test_published_weights_find_their_places(tmp_path: Path) -> None:
    shape = dataclasses.replace(PREFIX, layers=1)
    settings = config(prefix=shape, checkpoint=str(tmp_path))
    for beginning in ("", "model."):  # openpi's file and LeRobot's
        tensors = published(beginning)
        save_file(tensors, tmp_path / "model.safetensors")
        model = make_policy(settings, SPEC).model
        assert isinstance(model, Pi05Model)
        lm, expert = model.paligemma.language_model, model.gemma_expert
        vlm = f"{beginning}paligemma_with_expert.paligemma."
        for found, key in (
            (lm.embed_tokens.weight, f"{vlm}lm_head.weight"),
            (lm.layers[0].mlp.up_proj.weight, f"{vlm}model.language_model.layers.0.mlp.up_proj.weight"),
            (model.paligemma.vision_tower.encoder.layers[0].mlp.fc1.bias,
             f"{vlm}model.vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias"),
            (expert.layers[0].post_attention_layernorm.dense.weight,
             f"{beginning}paligemma_with_expert.gemma_expert.model.layers.0.post_attention_layernorm.dense.weight"),
            (model.time_mlp_out.weight, f"{beginning}time_mlp_out.weight"),
        ):  # fmt: skip
            assert torch.equal(found, tensors[key]), key
        unused = tensors[f"{beginning}paligemma_with_expert.gemma_expert.lm_head.weight"]
        assert sum(p.numel() for p in model.parameters()) == sum(t.numel() for t in tensors.values()) - unused.numel()
    loaded, built = make_policy(settings, SPEC), Pi05Policy(dataclasses.replace(settings, checkpoint=""), SPEC)
    built.model.load_state_dict(loaded.model.state_dict())
    np.testing.assert_array_equal(act(loaded, [1], [3]), act(built, [1], [3]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("time_mlp_in.bias"), r"1 missing \(time_mlp_in.bias\)"),
        (lambda t: t.update({"state_proj.weight": torch.zeros(2)}), r"1 unknown \(state_proj.weight\)"),
        (lambda t: t.update({"action_in_proj.weight": torch.zeros(32, 32)}), r"action_in_proj.weight is \(32, 32\)"),
    ],
)
def test_weights_of_something_else_are_refused(change, named: str, tmp_path: Path) -> None:
    tensors = published()
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=named):
        make_policy(config(prefix=dataclasses.replace(PREFIX, layers=1), checkpoint=str(tmp_path)), SPEC)


def test_too_little_memory_is_said_before_anything_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(published(), tmp_path / "model.safetensors")
    monkeypatch.setattr("networks.memory.free_bytes", lambda device: 1000)
    with pytest.raises(MemoryError, match=r"pi05 weights .* needs 0\.0 GiB on cpu, 0\.0 GiB are free"):
        make_policy(config(checkpoint=str(tmp_path)), SPEC)


def test_an_unreadable_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    for checkpoint in (str(tmp_path), str(tmp_path / "none"), "nobody/nothing"):  # the hub is off in tests
        with pytest.raises(ValueError, match=f"pi05 weights.*{Path(checkpoint).name}"):
            make_policy(config(checkpoint=checkpoint), SPEC)
