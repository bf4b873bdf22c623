"""pi0.5 as small as it gets, and something to feed it."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from agents.pi05 import Pi05Policy
from agents.settings import ExpertShape, PaliGemmaShape, Pi05Config
from tests.helpers import tiny
from tests.helpers.made_lift import made_episode

PREFIX = PaliGemmaShape(
    image_size=32, patch_size=16, vision_width=32, vision_layers=1, vision_heads=2, vision_mlp=64, width=48, layers=2,
    mlp=96, heads=2, head_dim=24, vocabulary=384, init_std=0.1,
)  # fmt: skip


def config(steps: int = 1, **changes: object) -> Pi05Config:
    small = {
        "checkpoint": "", "tokenizer": "", "max_tokens": 160, "chunk": 4, "execute": 2, "max_action_dim": 3,
        "noise_samples": 4, "prefix": PREFIX, "expert": ExpertShape(32, 64), "training": tiny.training(steps),
    }  # fmt: skip
    return Pi05Config(**small | changes)  # type: ignore[arg-type]


def lively(policy: Pi05Policy) -> Pi05Policy:
    """Random numbers everywhere: fresh gates are zero, and an expert that adds nothing would pass every test here."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return policy.eval()


def act(
    policy: Pi05Policy, seeds: list[int], frames: list[int | None], tasks: tuple[str, ...] = ("raise it",)
) -> np.ndarray:
    episode = made_episode(7)
    policy.reset(np.ones(len(seeds), bool), np.array(seeds), ["raise it"] * len(seeds))
    seen = [None if t is None else episode.observation(t) for t in frames]
    named = [o and dataclasses.replace(o, instruction=tasks[i % len(tasks)]) for i, o in enumerate(seen)]
    return policy.act(named)


def inputs(B: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Images (B, 2, 32, 32, 3), tokens (B, 9) and their mask; the second prompt is two tokens shorter."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.ones(B, 9, dtype=torch.bool)
    mask[1:, 7:] = False
    images = torch.randint(0, 256, (B, 2, 32, 32, 3), generator=g, dtype=torch.uint8)
    return images, torch.randint(3, 380, (B, 9), generator=g), mask
