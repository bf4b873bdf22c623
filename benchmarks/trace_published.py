"""Every published size: its parameters counted, and one training step traced on tensors without memory.

    python benchmarks/trace_published.py            # all; or names: viva wvm cogvideox pi05 distributional

Needs no weights and no GPU. A step that an operation refuses at this size, or a count that is not the published one,
fails. Activations are those of networks/planner.py: kept for the backward pass, per sample.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn

from agents.make import planned_policy
from agents.settings import Pi05Config
from networks.memory import GIB
from networks.planned import Planned
from networks.planner import footprint
from networks.settings import LatentsConfig, TrainerConfig
from valuefns.make import planned_value
from valuefns.settings import DistributionalConfig, ViVaConfig, WVMConfig

VIEWS, PIXELS = 2, 224
COUNTS = {"viva": 4_999_787_712, "wvm": 5_665_862_337, "cogvideox": 5_570_283_072, "pi05": 3_353_433_872}
"""Parameters of the published classes; wvm: Wan's and the 0.666 B of its value stream."""


class CogVideoXStep(nn.Module):
    """CogVideoX-5B's transformer on a clip of 49 frames of 480 x 720 pixels, as velocity prediction."""

    pretrained = ("transformer",)

    def __init__(self) -> None:
        from diffusers import CogVideoXTransformer3DModel

        super().__init__()
        self.transformer = CogVideoXTransformer3DModel(
            num_attention_heads=48, attention_head_dim=64, in_channels=16, out_channels=16, time_embed_dim=512,
            text_embed_dim=4096, num_layers=42, sample_width=90, sample_height=60, sample_frames=49, patch_size=2,
            temporal_compression_ratio=4, max_text_seq_length=226, use_rotary_positional_embeddings=True,
        )  # fmt: skip

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        z = batch["latents"]  # (B, F, C, H, W)
        tokens = z.shape[1] * z.shape[3] * z.shape[4] // 4
        out = self.transformer(
            hidden_states=z,
            encoder_hidden_states=batch["text"],
            timestep=batch["time"],
            image_rotary_emb=(torch.ones(tokens, 64), torch.zeros(tokens, 64)),
            return_dict=False,
        )[0]
        return (out - z).square().mean((1, 2, 3, 4))


def clip(n: int) -> dict[str, Tensor]:
    return {
        "latents": torch.zeros(n, 13, 16, 60, 90),
        "text": torch.zeros(n, 226, 4096),
        "time": torch.zeros(n, dtype=torch.long),
    }


def models() -> dict[str, Callable[[], Planned | None]]:
    """Name -> what to trace, at the published settings."""
    return {
        "viva": lambda: planned_value(ViVaConfig(), LatentsConfig(), VIEWS, PIXELS),
        "wvm": lambda: planned_value(WVMConfig(), LatentsConfig(), VIEWS, PIXELS),
        "cogvideox": lambda: Planned("cogvideox", CogVideoXStep, clip, TrainerConfig()),
        "pi05": lambda: planned_policy(Pi05Config(), VIEWS, PIXELS),
        "distributional": lambda: planned_value(DistributionalConfig(), LatentsConfig(), VIEWS, PIXELS),
    }


def main(names: list[str]) -> None:
    for name in names or list(models()):
        started = time.monotonic()
        model = models()[name]()
        assert model is not None
        f = footprint(model.build, model.batch)
        wanted = COUNTS.get(name, f.parameters)
        assert f.parameters == wanted, f"{name}: {f.parameters:,} parameters, published {wanted:,}"
        print(
            f"{name:<15} {f.parameters / 1e9:.4f} B  state {16 * f.trained / GIB:6.1f} GiB  "
            f"activations {f.kept.each / GIB:.3f} GiB per sample, recomputed {f.inputs.each / GIB:.3f}  "
            f"({time.monotonic() - started:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
