"""Settings of what networks are built from and trained with; no torch, so that commands check them at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from episodes.settings import require, require_one_of

STRIDE = 4
"""Frames of a clip in one of Wan's latent frames."""


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


@dataclass
class TrainerConfig:
    """Optimisation settings; the defaults are WVM's (appendix: training details), which ViVa's release shares."""

    steps: int = 30_000
    batch_size: int = 192  # samples per optimizer step, all processes together (ViVa, section 4.2)
    accumulation: int = 1  # micro-batches that each process makes of its share of them
    lr: float = 1e-4
    lr_final: float = 0.1  # cosine down to this share of lr
    warmup: int = 500  # steps of linear warm-up
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    ema_decay: float = 0.0  # 0: no averaging
    precision: str = "bf16"  # bf16 autocast, or "no" for float32
    log_every: int = 50  # steps; the loss is read from the device only then
    checkpoint_every: int = 500  # steps between resumable checkpoints; 0: none
    wandb: str = ""  # project name; empty: no Weights & Biases
    scale: ScaleConfig = field(default_factory=ScaleConfig)  # what makes a large model fit

    def __post_init__(self) -> None:
        require(self, steps=(0, inf), batch_size=(1, inf), accumulation=(1, inf), warmup=(0, inf), log_every=(1, inf))
        require(self, lr=(0, inf), lr_final=(0, inf), weight_decay=(0, inf), clip_norm=(0, inf), ema_decay=(0, 1))
        require(self, checkpoint_every=(0, inf))
        if len(self.betas) != 2 or not all(0 <= b < 1 for b in self.betas):
            raise ValueError(f"TrainerConfig: betas={self.betas}; use two numbers from 0 to below 1")
        require_one_of(self, precision=("bf16", "no"))


@dataclass
class WanConfig:
    """A Wan transformer; the shape fields are read only when `checkpoint` is empty (random initialisation)."""

    checkpoint: str = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"  # hub id or local folder; empty: build from the fields below
    revision: str = "main"  # hub revision
    num_layers: int = 30
    num_attention_heads: int = 24
    attention_head_dim: int = 128
    ffn_dim: int = 14336
    channels: int = 48  # latent channels in and out
    text_dim: int = 4096
    freq_dim: int = 256


@dataclass
class WanVAEConfig:
    """Wan2.2's VAE (stride 4 x 16 x 16); the shape fields are read only when `checkpoint` is empty."""

    checkpoint: str = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"  # hub id or local folder; empty: build from the fields below
    revision: str = "main"
    base_dim: int = 160  # a power of two when small: is_residual blocks need it
    decoder_base_dim: int = 256
    z_dim: int = 48
    num_res_blocks: int = 2


@dataclass
class TextConfig:
    """Wan's UMT5 encoder; the shape fields are read only when `checkpoint` is empty (random, bytes as tokens)."""

    checkpoint: str = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"  # hub id or local folder; empty: build from the fields below
    revision: str = "main"
    max_length: int = 512  # tokens, Wan's own
    d_model: int = 4096
    num_layers: int = 24


@dataclass
class T5TextConfig(TextConfig):
    """CogVideoX's T5 encoder (v1.1 XXL); the shape fields are read only when `checkpoint` is empty."""

    checkpoint: str = "THUDM/CogVideoX-5b"
    max_length: int = 226  # tokens, CogVideoX's own (VideoVLA section 3.3); a longer prompt is an error, not cut


@dataclass
class CogVideoXConfig:
    """A CogVideoX transformer; the shape fields are read only when `checkpoint` is empty (random initialisation)."""

    checkpoint: str = "THUDM/CogVideoX-5b"  # hub id or local folder; empty: build from the fields below
    revision: str = "main"  # hub revision
    num_layers: int = 42
    num_attention_heads: int = 48
    attention_head_dim: int = 64  # a multiple of 16: time, height and width share it
    time_embed_dim: int = 512
    text_dim: int = 4096
    channels: int = 16  # latent channels in and out
    sample_height: int = 60  # latent pixels of the training videos: the grid that rotary positions are spread over
    sample_width: int = 90


@dataclass
class CogVideoXVAEConfig:
    """CogVideoX's VAE (stride 4 x 8 x 8); the shape fields are read only when `checkpoint` is empty."""

    checkpoint: str = "THUDM/CogVideoX-5b"  # hub id or local folder; empty: build from the fields below
    revision: str = "main"
    widths: tuple[int, int, int, int] = (128, 256, 256, 512)  # channels of the four resolutions
    channels: int = 16  # C
    layers: int = 3  # residual blocks of a resolution
    groups: int = 32  # of the group norms
    training: TrainerConfig | None = None  # how to train one that has no checkpoint (tiny size)
    kl_weight: float = 1e-6  # of that training

    def __post_init__(self) -> None:
        require(self, channels=(1, 768), layers=(1, inf), groups=(1, inf), kl_weight=(0, inf))


@dataclass
class LatentsConfig:
    """What turns images into latent frames (C', H/16, W/16)."""

    name: str = "wan_vae"  # wan_vae: AutoencoderKLWan; patch_pca: frozen PCA of 16 x 16 patches
    vae: WanVAEConfig = field(default_factory=WanVAEConfig)
    training: TrainerConfig | None = None  # how to train a VAE that has no checkpoint (tiny size)
    kl_weight: float = 1e-6  # of that training
    channels: int = 48  # latent channels
    checkpoint: str = ""  # folder of an encoder fitted here
    init: str = ""  # folder or hub id (owner/name[@revision]) of one whose VAE's training starts from its weights

    def __post_init__(self) -> None:
        require(self, kl_weight=(0, inf), channels=(1, 768))

    @property
    def width(self) -> int:
        """C', the channels of a latent frame."""
        return self.vae.z_dim if self.name == "wan_vae" else self.channels
