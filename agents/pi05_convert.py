"""The published pi0.5 weights (openpi's PyTorch layout, which LeRobot's hub files share) in a `Pi05Model`.

One `model.safetensors`; LeRobot puts `model.` before every key. Sources of the names: what openpi's
examples/convert_jax_model_to_pytorch.py writes, and what lerobot/policies/pi05/modeling_pi05.py reads.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from networks.hub import locate
from networks.memory import require_memory
from networks.published import read_header, refuse

VISION = "paligemma_with_expert.paligemma.model.vision_tower.vision_model."
PALIGEMMA = "paligemma_with_expert.paligemma.model."
EXPERT = "paligemma_with_expert.gemma_expert.model."
RENAMED = {VISION: "paligemma.vision_tower.", PALIGEMMA: "paligemma.", EXPERT: "gemma_expert."}
"""Published beginning of a key -> ours, tried in this order; other keys keep their names."""

_WEIGHT_BIAS = ("weight", "bias")
_VISION_MODULES = ("layer_norm1", "layer_norm2", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                   "self_attn.out_proj", "mlp.fc1", "mlp.fc2")  # fmt: skip
_VISION_LAYER = [f"{module}.{x}" for module in _VISION_MODULES for x in _WEIGHT_BIAS]
_GEMMA_MODULES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                  "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip
_GEMMA_LAYER = [f"{module}.weight" for module in _GEMMA_MODULES]
_NORMS = ("input_layernorm", "post_attention_layernorm")
_PREFIX_NORMS = [f"{norm}.weight" for norm in _NORMS]
_EXPERT_NORMS = [f"{norm}.dense.{x}" for norm in _NORMS for x in _WEIGHT_BIAS]
EMBEDDING = f"{PALIGEMMA}language_model.embed_tokens.weight"
TIED = "paligemma_with_expert.paligemma.lm_head.weight"  # the same matrix; the hub file holds this one alone
UNUSED = "paligemma_with_expert.gemma_expert.lm_head.weight"  # the expert speaks no words


def published_keys(layers: int, vision_layers: int) -> list[str]:
    """Every key that a published pi0.5 file needs, without LeRobot's `model.`.

    The embedding is listed under its own name; a file may hold it as TIED instead.
    """
    keys = [f"{VISION}embeddings.{x}" for x in
            ("patch_embedding.weight", "patch_embedding.bias", "position_embedding.weight")]  # fmt: skip
    keys += [f"{VISION}encoder.layers.{i}.{x}" for i in range(vision_layers) for x in _VISION_LAYER]
    keys += [f"{VISION}post_layernorm.weight", f"{VISION}post_layernorm.bias"]
    keys += [f"{PALIGEMMA}multi_modal_projector.linear.weight", f"{PALIGEMMA}multi_modal_projector.linear.bias"]
    keys += [EMBEDDING]
    keys += [f"{PALIGEMMA}language_model.layers.{i}.{x}" for i in range(layers) for x in _GEMMA_LAYER + _PREFIX_NORMS]
    keys += [f"{PALIGEMMA}language_model.norm.weight"]
    keys += [f"{EXPERT}layers.{i}.{x}" for i in range(layers) for x in _GEMMA_LAYER + _EXPERT_NORMS]
    keys += [f"{EXPERT}norm.dense.weight", f"{EXPERT}norm.dense.bias"]
    heads = ("action_in_proj", "action_out_proj", "time_mlp_in", "time_mlp_out")
    return keys + [f"{head}.{x}" for head in heads for x in _WEIGHT_BIAS]


def our_name(published: str) -> str:
    """The name in `Pi05Model` of a published key."""
    for theirs, ours in RENAMED.items():
        if published.startswith(theirs):
            return ours + published.removeprefix(theirs)
    return published


def require_room(source: str, revision: str = "main") -> None:
    """Raise a MemoryError when the weights of `source` do not fit into memory in float32; it reads no tensor."""
    named = f"pi05 weights {source}"
    there = read_header(locate(source, revision, ["model.safetensors"], "pi05 weights").folder, named)
    size = 4 * sum(math.prod(shape) for shape in there.values())
    require_memory(size, "cpu", named, "use a machine with more memory")


@torch.no_grad()
def load_published(model: nn.Module, source: str, revision: str = "main") -> None:
    """Copy the published weights of `source` (a hub id, or a folder with model.safetensors) into a `Pi05Model`.

    Every parameter must be in the file with its shape, and the file may hold nothing else: missing, unknown or
    misshapen tensors, an unreadable file or an unknown source are a ValueError of one line that names them.
    """
    from safetensors import safe_open

    parameters = dict(model.named_parameters())
    shape = model.config.prefix  # type: ignore[union-attr]
    wanted = published_keys(shape.layers, shape.vision_layers)
    assert {our_name(key) for key in wanted} == set(parameters), "the key list does not cover this architecture"
    named = f"pi05 weights {source}"
    folder = locate(source, revision, ["model.safetensors"], "pi05 weights").folder
    there = read_header(folder, named)
    found = {key.removeprefix("model."): key for key in there}
    if EMBEDDING not in found and TIED in found:
        found[EMBEDDING] = found[TIED]
    both = [(k, there[found[k]], parameters[our_name(k)].shape) for k in wanted if k in found]
    info = {
        "missing_keys": set(wanted) - set(found),
        "unexpected_keys": set(found) - set(wanted) - {TIED, UNUSED},
        "mismatched_keys": [row for row in both if row[1] != tuple(row[2])],
    }
    refuse(info, named, "name a pi0.5 checkpoint (not pi0), and its shape in policy.prefix and policy.expert")
    with safe_open(folder / "model.safetensors", "pt") as file:
        for key in wanted:
            parameters[our_name(key)].copy_(file.get_tensor(found[key]))
