"""Low-rank adapters in a model's pretrained part, through peft; merged at the end, so that the plain model is saved."""

from __future__ import annotations

import torch
from torch import nn

from episodes.extras import install
from networks.planner import adapted_layers, pretrained_parts
from networks.settings import ScaleConfig


def add_adapters(module: nn.Module, config: ScaleConfig, name: str) -> None:
    """Freeze `module.pretrained` and put adapters of rank r into its attention projections; the rest trains as before.

        y = W x + (alpha / r) B A x,   A (r, in) random, B (out, r) zero

    Source: LoRA (arXiv 2106.09685), section 4. Errors: a module without a pretrained part (ValueError), no peft
    (ImportError).
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError(f"scale.lora_rank={config.lora_rank} needs peft; {install('scale')}") from error
    parts = pretrained_parts(module)
    if not any(adapted_layers(part) for part in parts):
        raise ValueError(f"{name}: scale.lora_rank={config.lora_rank}, but it has no pretrained part; use 0")
    for part in parts:
        part.requires_grad_(False)
        settings = LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha or config.lora_rank,  # type: ignore[arg-type]
            target_modules=sorted(adapted_layers(part)),
        )
        inject_adapter_in_model(settings, part)  # type: ignore[arg-type]
        if config.frozen_dtype == "bf16":
            for p in part.parameters():
                p.data = p.data if p.requires_grad else p.data.to(torch.bfloat16)


def merge_adapters(module: nn.Module) -> None:
    """Add every adapter to the weight it adapts, and leave the plain layers in their places."""
    from peft.tuners.lora import LoraLayer

    for part in pretrained_parts(module):
        for place, layer in [(n, m) for n, m in part.named_modules() if isinstance(m, LoraLayer)]:
            layer.merge()
            above, _, last = place.rpartition(".")
            setattr(part.get_submodule(above), last, layer.get_base_layer())
