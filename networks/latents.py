"""One image to one latent frame: Wan's VAE (published or tiny), or a frozen PCA of patches where no VAE can be had."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from episodes.fit import require_multiple
from episodes.settings import from_json
from networks.augment import move_images
from networks.checkpoint import load_config, load_module, reading_checkpoint, save_module
from networks.conv3d import safe_precision
from networks.hub import find_model
from networks.settings import LatentsConfig
from networks.starting import require_same_model
from networks.trainer import Trainer
from networks.wan import load_vae


def require_size(size: tuple[int, int]) -> None:
    """A ValueError where pictures of a size (H, W) have no latent frames, with the next size that has."""
    require_multiple(size, 32, "latents need")


class LatentEncoder(nn.Module):
    """Encodes uint8 images (N, H, W, 3) as latent frames float (N, C', H/16, W/16), about unit variance; frozen in use.

    Differs from the paper: `patch_pca` has no pretrained VAE behind it. It is the same linear map of every 16 x 16
    patch, whitened; the report names it. A VAE without a checkpoint is trained on the store's single images: the
    layers that join the frames of a clip stay random.
    """

    def __init__(self, config: LatentsConfig) -> None:
        super().__init__()
        if config.name not in ("wan_vae", "patch_pca"):
            raise ValueError(f"latents={config.name}: choose wan_vae or patch_pca")
        self.config = config
        self.fitted = bool(config.name == "wan_vae" and config.vae.checkpoint)
        if config.name == "wan_vae":
            self.vae = load_vae(config.vae)
            mean, std = self.vae.config.latents_mean, self.vae.config.latents_std
            self.register_buffer("latent_mean", torch.tensor(mean)[:, None, None])
            self.register_buffer("latent_std", torch.tensor(std)[:, None, None])
        else:
            self.register_buffer("patch_mean", torch.zeros(16 * 16 * 3))
            self.register_buffer("components", torch.zeros(config.channels, 16 * 16 * 3))
        self.requires_grad_(False)
        if config.checkpoint:
            load_module(Path(config.checkpoint), self)
            self.fitted = True

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return the latent frames of uint8 images (N, H, W, 3); H and W must be multiples of 32."""
        _, H, W, _ = images.shape
        require_size((H, W))
        if self.config.name == "patch_pca":
            patches = _patches(images).to(self.components.device)
            z = patches.sub_(self.patch_mean) @ self.components.T  # (N, L, C')
            return z.transpose(1, 2).reshape(len(images), -1, H // 16, W // 16)
        x = images.to(self.latent_mean.device).permute(0, 3, 1, 2)[:, :, None].float() / 127.5 - 1
        z = self.vae.encode(x.to(self.vae.dtype)).latent_dist.mode()[:, :, 0].float()
        return (z - self.latent_mean) / self.latent_std

    @torch.no_grad()
    def encode_video(self, images: Tensor) -> Tensor:
        """Return the latent frames (N, C', 1 + k, H/16, W/16) of uint8 clips (N, 1 + 4k, H, W, 3); Wan's VAE only."""
        _N, frames, H, W, _ = images.shape
        assert self.config.name == "wan_vae" and frames % 4 == 1, (self.config.name, frames)
        require_size((H, W))
        x = images.to(self.latent_mean.device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        z = self.vae.encode(x.to(self.vae.dtype)).latent_dist.mode().float()
        return (z - self.latent_mean[:, None]) / self.latent_std[:, None]

    def fit(self, frames: np.ndarray, seed: int = 0, device: str = "cpu", folder: Path | None = None) -> LatentEncoder:
        """Fit on unlabelled uint8 frames (N, V, H, W, 3); it sees no reward, no success and no order."""
        require_size((frames.shape[2], frames.shape[3]))
        flat = frames.reshape(-1, *frames.shape[2:])
        if self.config.name == "patch_pca":
            if self.config.init:
                raise ValueError(
                    "latents.init: patch_pca is computed, not trained; latents.checkpoint=FOLDER applies a saved one"
                )
            self._fit_pca(flat, seed)
        else:
            self._train_vae(flat, seed, device, folder)
        self.fitted = True
        return self.eval()

    def _fit_pca(self, images: np.ndarray, seed: int) -> None:
        pick = np.random.default_rng(seed).choice(len(images), min(2000, len(images)), replace=False)
        x = _patches(torch.as_tensor(images[np.sort(pick)])).reshape(-1, 16 * 16 * 3)
        mean = x.mean(0)
        variance, axes = torch.linalg.eigh(torch.cov((x - mean).T))
        top = torch.argsort(variance, descending=True)[: self.config.channels]
        self.patch_mean.copy_(mean)
        self.components.copy_((axes[:, top] / variance[top].clamp(min=1e-6).sqrt()).T)

    def _train_vae(self, images: np.ndarray, seed: int, device: str, folder: Path | None) -> None:
        training = self.config.training
        if training is None:
            raise ValueError(
                "latents=wan_vae without a checkpoint needs its training settings; use latents=wan_vae_tiny"
            )

        def batch(step: int) -> dict[str, np.ndarray]:
            rng = np.random.default_rng([seed, step])
            return {"images": images[np.sort(rng.integers(len(images), size=training.batch_size))]}

        if self.config.init:
            self._start()
        safe = safe_precision(training, images.shape[1], images.shape[2], device)
        self.vae.requires_grad_(True)
        Trainer(safe, folder, "wan_vae", seed, device).fit(_VAEObjective(self.vae, self.config.kl_weight), batch)
        self.vae.requires_grad_(False)
        self.eval()
        pick = np.random.default_rng(seed).choice(len(images), min(512, len(images)), replace=False)
        z = torch.cat([self.encode(torch.as_tensor(images[np.sort(p)])) for p in np.array_split(pick, 8)])
        self.latent_mean.copy_(z.mean((0, 2, 3))[:, None, None])
        self.latent_std.copy_(z.std((0, 2, 3)).clamp(min=1e-4)[:, None, None])

    def _start(self) -> None:
        """Take over the weights of the saved encoder that `config.init` names; another architecture is a ValueError."""
        folder = find_model(self.config.init, "latents.init").folder
        what = f"latents.init={self.config.init}"
        require_same_model(latents_config(folder), self.config, ("training", "kl_weight", "checkpoint", "init"), what)
        load_module(folder, self)

    def save(self, folder: Path) -> None:
        """Write the fitted encoder to `folder`; name it as `LatentsConfig.checkpoint` to load it."""
        save_module(folder, self, asdict(replace(self.config, checkpoint="")))  # its weights are here


def latents_config(folder: Path) -> LatentsConfig:
    """Settings that load the encoder saved in `folder`; a damaged or foreign folder is a ValueError."""
    raw = load_config(folder)
    with reading_checkpoint(folder / "config.json", "name the folder of a latent encoder or fit one again"):
        config = from_json(LatentsConfig, raw)
    return replace(config, vae=replace(config.vae, checkpoint=""), training=None, checkpoint=str(folder), init="")


class _VAEObjective(nn.Module):
    def __init__(self, vae: nn.Module, kl_weight: float) -> None:
        super().__init__()
        self.vae, self.kl_weight = vae, kl_weight

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        x = batch["images"].permute(0, 3, 1, 2)[:, :, None].float() / 127.5 - 1  # (B, 3, 1, H, W)
        posterior = self.vae.encode(x).latent_dist
        kl = posterior.kl().flatten(1).sum(1)  # the class leaves one axis of a video latent unsummed
        reconstruction = self.vae.decode(posterior.sample()).sample
        return F.mse_loss(reconstruction, x, reduction="none").mean((1, 2, 3, 4)) + self.kl_weight * kl


def _patches(images: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) -> float (N, L, 768) in [-1, 1], L = H/16 * W/16 in row order."""
    N, H, W, _ = images.shape
    x = images.reshape(N, H // 16, 16, W // 16, 16, 3).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(N, (H // 16) * (W // 16), 768).float().div_(127.5).sub_(1)


@torch.no_grad()
def encode_frames(
    encoder: LatentEncoder,
    frames: np.ndarray,
    shift: int = 0,
    copies: int = 1,
    seed: int = 0,
    batch: int = 256,
    alike: np.ndarray | None = None,
) -> np.ndarray:
    """Encode frames uint8 (N, V, H, W, 3) once: float16 (copies, N, V, C', H', W'); copy 0 is unshifted.

    The images of the other copies are shifted by up to `shift` whole pixels: one draw per copy, frame and view, or per
    copy, number in `alike` (N,) and view, so that frames of the same number (an episode's) keep to one another.
    """
    N, V = frames.shape[:2]
    drawn_as = np.arange(N) if alike is None else alike
    out = None
    for copy in range(copies):
        rng = np.random.default_rng([seed, copy])
        moved = rng.integers(-shift, shift + 1, (drawn_as.max(initial=0) + 1, V, 2)) * (copy > 0)
        for start in range(0, N, batch):
            part = slice(start, start + batch)
            chunk = move_images(frames[part], moved[drawn_as[part]])
            z = encoder.encode(torch.from_numpy(np.array(chunk)).reshape(-1, *chunk.shape[2:]))
            if out is None:
                out = np.empty((copies, N, V, *z.shape[1:]), np.float16)
            out[copy, start : start + len(chunk)] = z.reshape(len(chunk), V, *z.shape[1:]).cpu().numpy()
    assert out is not None, "no frames to encode"
    return out
