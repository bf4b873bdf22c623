"""Settings that make the training of a large model fit; what spreads it over devices is `accelerate launch`'s."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from episodes.settings import require, require_one_of

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "q_proj", "k_proj", "v_proj", "o_proj", "out_proj")
"""The attention projections of diffusers' and transformers' classes by their last names."""


@dataclass
class ScaleConfig:
    """How a training fits into memory; the defaults change nothing (docs/scale.md says what each one saves)."""

    optimizer: str = "adamw"  # adamw: torch's fused one; adamw8bit: state in 8 bits (bitsandbytes, needs CUDA)
    activation_checkpointing: bool = False  # recompute activations block by block in the backward pass
    lora_rank: int = 0  # of low-rank adapters on the pretrained part (peft), merged at the end; 0: train all of it
    lora_alpha: float = 0.0  # scale of the adapters, alpha / rank; 0: the rank
    frozen_dtype: str = "float32"  # of what adapters freeze: float32 or bf16

    def __post_init__(self) -> None:
        require(self, lora_rank=(0, inf), lora_alpha=(0, inf))
        require_one_of(self, optimizer=("adamw", "adamw8bit"), frozen_dtype=("float32", "bf16"))
