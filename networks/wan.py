"""Wan2.2 through stock diffusers classes: a hub id, a local folder, or the same class made small by configuration."""

from __future__ import annotations

from typing import Any

import torch

from networks.published import load_pretrained
from networks.settings import WanConfig, WanVAEConfig


def load_transformer(config: WanConfig, dtype: torch.dtype = torch.float32) -> Any:
    """Return a `WanTransformer3DModel`, published weights or a random one of `config`'s shape.

    A checkpoint that cannot be found, or in which one tensor does not fit, is a ValueError that says so.
    """
    from diffusers import WanTransformer3DModel

    if config.checkpoint:
        return load_pretrained(
            WanTransformer3DModel, config.checkpoint, "transformer", config.revision, what="wan", dtype=dtype
        )
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=config.num_attention_heads,
        attention_head_dim=config.attention_head_dim,
        in_channels=config.channels,
        out_channels=config.channels,
        text_dim=config.text_dim,
        freq_dim=config.freq_dim,
        ffn_dim=config.ffn_dim,
        num_layers=config.num_layers,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
    )
    return model if dtype == torch.float32 else model.to(dtype)


def load_vae(config: WanVAEConfig, dtype: torch.dtype = torch.float32) -> Any:
    """Return an `AutoencoderKLWan`, published weights or a random one of `config`'s width."""
    from diffusers import AutoencoderKLWan

    if config.checkpoint:
        return load_pretrained(AutoencoderKLWan, config.checkpoint, "vae", config.revision, what="wan", dtype=dtype)
    vae = AutoencoderKLWan(
        base_dim=config.base_dim,
        decoder_base_dim=config.decoder_base_dim,
        z_dim=config.z_dim,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=config.num_res_blocks,
        temperal_downsample=[False, True, True],
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_temporal=4,
        scale_factor_spatial=16,
        is_residual=True,
        latents_mean=[0.0] * config.z_dim,
        latents_std=[1.0] * config.z_dim,
    )
    return vae if dtype == torch.float32 else vae.to(dtype)
