"""Where 3-D convolutions can be trained in bf16."""

from __future__ import annotations

import warnings
from dataclasses import replace

from networks.settings import TrainerConfig

SAFE_PIXELS = 80 * 80
"""Largest frame known to be right; 64 x 128 was too, 96 x 96 was not."""


def safe_precision(training: TrainerConfig, height: int, width: int, device: str) -> TrainerConfig:
    """`training` of a video VAE on frames of height x width, in float32 where bf16 would end the process.

    On CPUs with AMX, oneDNN 3.12 (torch 2.13) writes past its memory in the weight gradient of a bf16 3-D convolution
    over large frames, and the process ends in "free(): invalid next size". GPUs are not concerned. Warns if it acts.
    """
    if training.precision == "no" or not device.startswith("cpu") or height * width <= SAFE_PIXELS:
        return training
    warnings.warn(
        f"frames of {height} x {width} on a CPU: the VAE is trained in float32, "
        "bf16 convolutions of this size crash there",
        stacklevel=2,
    )
    return replace(training, precision="no")
