"""CogVideoX-5B through stock diffusers classes: a hub id, a local folder, or the same class made small."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from networks.published import load_pretrained
from networks.settings import CogVideoXConfig


def load_cogvideox(config: CogVideoXConfig, dtype: torch.dtype = torch.float32) -> Any:
    """Return a `CogVideoXTransformer3DModel`, published weights or a random one of `config`'s shape.

    A checkpoint that cannot be found, in which one tensor does not fit, without rotary positions (the 2B model) or with
    patches in time (1.5) is a ValueError.
    """
    from diffusers import CogVideoXTransformer3DModel

    if config.checkpoint:
        model = load_pretrained(
            CogVideoXTransformer3DModel,
            config.checkpoint,
            "transformer",
            config.revision,
            what="cogvideox",
            dtype=dtype,
        )
        if not model.config.use_rotary_positional_embeddings or model.config.patch_size_t is not None:
            raise ValueError(f"transformer {config.checkpoint!r}: not a CogVideoX-5b; name one, or set checkpoint=''")
        return model
    model = CogVideoXTransformer3DModel(
        num_layers=config.num_layers,
        num_attention_heads=config.num_attention_heads,
        attention_head_dim=config.attention_head_dim,
        time_embed_dim=config.time_embed_dim,
        text_embed_dim=config.text_dim,
        in_channels=config.channels,
        out_channels=config.channels,
        sample_height=config.sample_height,
        sample_width=config.sample_width,
        use_rotary_positional_embeddings=True,
    )
    return model if dtype == torch.float32 else model.to(dtype)


def transformer_shape(config: CogVideoXConfig, model: Any) -> CogVideoXConfig:
    """Settings that build `model`'s class again without its checkpoint."""
    found = model.config
    return replace(
        config,
        checkpoint="",
        num_layers=found.num_layers,
        num_attention_heads=found.num_attention_heads,
        attention_head_dim=found.attention_head_dim,
        time_embed_dim=found.time_embed_dim,
        text_dim=found.text_embed_dim,
        channels=found.in_channels,
        sample_height=found.sample_height,
        sample_width=found.sample_width,
    )


def rotary_positions(model: Any, frames: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine (L, head dim) of a video of latent frames (height x width), laid out as its pipeline does."""
    from diffusers.models.embeddings import get_3d_rotary_pos_embed
    from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

    p = model.config.patch_size
    grid = (height // p, width // p)
    crop = get_resize_crop_region_for_grid(grid, model.config.sample_width // p, model.config.sample_height // p)
    return get_3d_rotary_pos_embed(model.config.attention_head_dim, crop, grid, frames, device=device)


def diffusion_schedule() -> Any:
    """CogVideoX-5B's published schedule: v-prediction, zero terminal SNR, trailing timesteps, no clipping.

    At the last of the 1000 timesteps alpha-bar is exactly 0, so that v is the only target of the three that says
    anything there: epsilon would be the input itself.
    """
    from diffusers import CogVideoXDDIMScheduler

    return CogVideoXDDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        clip_sample=False,
        snr_shift_scale=1.0,
    )
