"""VideoVLA as small as it gets, and something to feed it."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from agents.settings import VideoVlaConfig
from agents.videovla_model import VideoVlaModel
from episodes.types import Episode
from networks.settings import CogVideoXConfig, CogVideoXVAEConfig, T5TextConfig
from tests.helpers import tiny
from tests.helpers.made_lift import SPEC, made_episode

SPEC7 = dataclasses.replace(
    SPEC,
    action_names=("dx", "dy", "dz", "drx", "dry", "drz", "gripper"),
    action_low=(-1.0,) * 7,
    action_high=(1.0,) * 7,
    action_units=("m",) * 3 + ("rad",) * 3 + ("-1 opens, +1 closes",),
)
COGVIDEOX = CogVideoXConfig(
    "", num_layers=2, num_attention_heads=2, attention_head_dim=16, time_embed_dim=16, text_dim=16, sample_height=4,
    sample_width=8,
)  # fmt: skip
VAE = CogVideoXVAEConfig("", widths=(8, 8, 8, 8), layers=1, groups=1, training=tiny.training(2, batch_size=2))
TEXT = T5TextConfig("", max_length=40, d_model=16, num_layers=1)


def config(steps: int = 1, **changes: object) -> VideoVlaConfig:
    small = {
        "cameras": list(SPEC.cameras), "latents": 3, "ddim_steps": 3, "transformer": COGVIDEOX, "vae": VAE,
        "text": TEXT, "training": tiny.training(steps),
    }  # fmt: skip
    return VideoVlaConfig(**small | changes)  # type: ignore[arg-type]


def episode(seed: int, sign: float = 1.0) -> Episode:
    """`made_episode` with seven actions; the gripper closes (+1) in the brighter half."""
    made = made_episode(seed)
    actions = np.zeros((len(made), 7), np.float32)
    actions[:, :2] = made.actions
    actions[:, 6] = np.where(made.progress[:-1] > 0.5, 1.0, -1.0)
    return dataclasses.replace(made, actions=sign * actions)


def model(**changes: object) -> VideoVlaModel:
    torch.manual_seed(0)
    return VideoVlaModel(config(**changes)).eval()  # type: ignore[arg-type]


def inputs(B: int = 2, F: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Latents (B, F, 16, 4, 8), actions (B, 6, 7), text (B, 40, 16) and timesteps (B,)."""
    g = torch.Generator().manual_seed(seed)
    shapes = ((B, F, 16, 4, 8), (B, 6, 7), (B, 40, 16))
    latents, actions, text = (torch.randn(shape, generator=g) for shape in shapes)
    return latents, actions, text, torch.randint(1000, (B,), generator=g)
