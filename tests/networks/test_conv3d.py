"""Large frames under a video VAE's bf16 training on a CPU."""

import warnings

import numpy as np
import pytest

from networks.cogvideox_vae import VideoEncoder
from networks.conv3d import safe_precision
from networks.settings import CogVideoXVAEConfig, TrainerConfig


def test_only_large_frames_on_a_cpu_are_trained_in_float32() -> None:
    training = TrainerConfig(precision="bf16")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert safe_precision(training, 80, 80, "cpu") is training
        assert safe_precision(training, 480, 720, "cuda:0") is training
        assert safe_precision(TrainerConfig(precision="no"), 96, 96, "cpu").precision == "no"
    with pytest.warns(UserWarning, match="96 x 96"):
        assert safe_precision(training, 96, 96, "cpu").precision == "no"


@pytest.mark.filterwarnings("ignore:frames of 96 x 96")
def test_a_video_vae_trains_on_large_frames() -> None:
    """Without the guard this ends the test process on a CPU with AMX."""
    training = TrainerConfig(steps=1, batch_size=1, precision="bf16")
    shape = CogVideoXVAEConfig(checkpoint="", widths=(8, 16, 16, 32), layers=1, groups=4, training=training)
    clips = np.random.default_rng(0).integers(0, 255, (1, 9, 96, 96, 3), dtype=np.uint8)
    assert VideoEncoder(shape).fit(lambda rng, n: clips).fitted
