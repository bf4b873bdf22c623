"""Latent encoders: the Wan VAE class made small, the PCA stand-in, augmentation, text."""

import diffusers
import numpy as np
import pytest
import torch

from networks.augment import shift_images
from networks.latents import LatentEncoder, encode_frames
from networks.settings import LatentsConfig, WanConfig, WanVAEConfig
from networks.text import TextEmbedder
from networks.wan import load_transformer, load_vae
from tests.helpers import tiny


def frames(n: int = 40, size: int = 32) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((n, 1, 1, 1, 3)) * 255 * np.ones((n, 2, size, size, 3))).astype(np.uint8)


def test_pca_latents_are_white_and_carry_the_picture() -> None:
    """Pictures of eight patterns: eight latent channels hold them, each with variance 1, and give them back."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(8, 16, 16, 3))

    def pictures(n: int) -> np.ndarray:
        patches = np.einsum("nk,khwc->nhwc", rng.normal(size=(4 * n, 8)) * np.arange(8, 0, -1), patterns)
        grid = patches.reshape(n, 2, 2, 16, 16, 3).transpose(0, 1, 3, 2, 4, 5).reshape(n, 32, 32, 3)
        return (128 + 2 * grid).clip(0, 255).astype(np.uint8)

    encoder = LatentEncoder(LatentsConfig("patch_pca", channels=8)).fit(pictures(400)[:, None])
    images = torch.as_tensor(pictures(200))
    z = encoder.encode(images)
    assert z.shape == (200, 8, 2, 2)
    assert torch.allclose(z.std((0, 2, 3)), torch.ones(8), atol=0.15)
    back = torch.linalg.lstsq(
        encoder.components.T.double().T, z.permute(0, 2, 3, 1).reshape(-1, 8).double().T
    ).solution.T
    x = images.reshape(200, 2, 16, 2, 16, 3).permute(0, 1, 3, 2, 4, 5).reshape(-1, 768) / 127.5 - 1
    error = (back.float() + encoder.patch_mean - x).square().mean() / (x - encoder.patch_mean).square().mean()
    assert error < 0.05


def test_the_tiny_vae_is_the_published_class_and_learns() -> None:
    vae = load_vae(WanVAEConfig("", base_dim=8, decoder_base_dim=8, num_res_blocks=1))
    assert type(vae) is diffusers.AutoencoderKLWan
    x = frames()
    encoder = LatentEncoder(tiny.vae(20)).fit(x)
    z = encode_frames(encoder, x)
    assert z.shape == (1, 40, 2, 48, 2, 2) and 0.3 < z.std() < 3
    assert not any(p.requires_grad for p in encoder.parameters())
    mirrored = encode_frames(encoder, 255 - x)
    assert np.abs(mirrored - z).mean() > 0.05  # the latent says something about the picture


def test_transformer_is_the_published_class() -> None:
    assert type(load_transformer(tiny.WAN)) is diffusers.WanTransformer3DModel


@pytest.mark.slow
def test_full_size_transformer_has_the_published_parameter_count() -> None:
    with torch.device("meta"):
        model = load_transformer(WanConfig(checkpoint=""))
    assert sum(p.numel() for p in model.parameters()) / 1e9 == pytest.approx(4.9998, abs=1e-3)


def test_sizes_that_cannot_be_encoded_are_named() -> None:
    encoder = LatentEncoder(LatentsConfig("patch_pca"))
    with pytest.raises(ValueError, match="multiples of 32"):
        encoder.encode(torch.zeros(1, 30, 32, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="patch_pca"):
        LatentEncoder(LatentsConfig("jpeg"))


def test_shift_moves_whole_pixels_and_repeats_edges() -> None:
    x = np.random.default_rng(0).integers(0, 255, (50, 2, 8, 8, 3), dtype=np.uint8)
    y = shift_images(x, 2, np.random.default_rng(1))
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    found = 0
    for i in range(50):
        hits = [(a, b) for a in range(5) for b in range(5) if (padded[i, 0, a : a + 8, b : b + 8] == y[i, 0]).all()]
        found += len(hits) >= 1
    assert found == 50 and (y != x).any()
    assert (shift_images(x, 0, np.random.default_rng(1)) == x).all()


def test_text_is_cached_and_distinct() -> None:
    embedder = TextEmbedder(tiny.TEXT)
    a = embedder.embed(["lift", "stack", "lift"])
    assert a.shape == (3, 8, 16) and torch.equal(a[0], a[2]) and not torch.equal(a[0], a[1])
    assert torch.equal(TextEmbedder(tiny.TEXT).embed(["lift"])[0], a[0])  # another process builds the same encoder
