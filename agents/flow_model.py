"""The fast baseline's network: a small convolutional encoder and a FiLM head that denoises an action chunk.

Shapes: B batch, V views, K action chunk, A action, P proprioception, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agents.settings import FlowConfig
from episodes.labels import NULL
from networks.flow_matching import integrate, interpolate, velocity_from_clean


class Encoder(nn.Module):
    """One camera: uint8 (B, H, W, 3) -> (B, feature)."""

    def __init__(self, image_size: tuple[int, int], feature: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, 32, 6, 4, padding=1), nn.SiLU(),
            nn.Conv2d(32, 64, 4, 2, padding=1), nn.SiLU(),
            nn.Conv2d(64, 64, 3, 2, padding=1), nn.SiLU(),
        )  # fmt: skip
        with torch.no_grad():
            flat = self.conv(torch.zeros(1, 3, *image_size)).numel()
        self.out = nn.Sequential(nn.Linear(flat, feature), nn.LayerNorm(feature))

    def forward(self, images: Tensor) -> Tensor:
        x = (images.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        return self.out(self.conv(x).flatten(1))


class FiLMBlock(nn.Module):
    """Residual block whose normalised input is scaled and shifted by the condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.film = nn.Linear(width, 2 * width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition).chunk(2, -1)
        return x + self.mlp(self.norm(x) * (1 + scale) + shift)


class FlowModel(nn.Module):
    """Predicts the clean, standardised action chunk from a noised one, the views, proprioception and the indicator."""

    def __init__(self, config: FlowConfig, views: int, image_size: tuple[int, int], P: int, A: int) -> None:
        super().__init__()
        self.config, self.shape = config, (config.chunk, A)
        D = config.width
        self.encoders = nn.ModuleList(Encoder(image_size, config.feature) for _ in range(views))
        self.observe = nn.Sequential(nn.Linear(views * config.feature + P, D), nn.SiLU(), nn.Linear(D, D))
        self.indicator = nn.Embedding(3, D)  # negative, positive, null
        self.time = nn.Sequential(nn.Linear(32, D), nn.SiLU(), nn.Linear(D, D))
        self.inp = nn.Linear(config.chunk * A, D)
        self.blocks = nn.ModuleList(FiLMBlock(D) for _ in range(config.blocks))
        self.out = nn.Sequential(nn.LayerNorm(D), nn.Linear(D, config.chunk * A))
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, 6, 16)))
        for name, size in (("proprio", P), ("action", A)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))
        self.to(memory_format=torch.channels_last)

    def encode(self, images: Tensor, proprio: Tensor) -> Tensor:
        """Observation features (B, D) of uint8 images (B, V, H, W, 3) and proprio (B, P)."""
        views = [encoder(images[:, i]) for i, encoder in enumerate(self.encoders)]
        q = (proprio - self.proprio_mean) / self.proprio_std
        return self.observe(torch.cat([*views, q.to(views[0].dtype)], -1))

    def clean(self, noised: Tensor, tau: Tensor, features: Tensor, indicator: Tensor) -> Tensor:
        """Predict the clean chunk (B, K, A) from the noised one, tau (B,), features (B, D) and indicator (B,)."""
        angles = tau[:, None] * self.frequencies
        condition = features + self.indicator(indicator) + self.time(torch.cat([angles.sin(), angles.cos()], -1))
        x = self.inp(noised.flatten(1))
        for block in self.blocks:
            x = block(x, condition)
        return self.out(x).float().unflatten(1, self.shape)

    @torch.no_grad()
    def forget_tokens(self) -> None:
        """Let every token mean what the null token means: where training goes on, one that was never shown is noise."""
        self.indicator.weight.copy_(self.indicator.weight[NULL].expand_as(self.indicator.weight))

    def losses(self, batch: dict[str, Tensor], indicator: Tensor) -> Tensor:
        """Mean squared error of the predicted clean chunk, averaged over the real steps of the chunk, (B,).

        Ours: several noise draws share one image encoding, which is where the time goes.
        """
        n = self.config.noise_samples
        features = self.encode(batch["images"], batch["proprio"])
        z0 = ((batch["actions"] - self.action_mean) / self.action_std).repeat_interleave(n, 0)
        z1 = torch.randn_like(z0)
        tau = torch.rand(len(z0), device=z0.device)
        predicted = self.clean(
            interpolate(z0, z1, tau), tau, features.repeat_interleave(n, 0), indicator.repeat_interleave(n, 0)
        )
        error = (predicted - z0).square().mean(-1)  # (B n, K)
        valid = batch["valid"].repeat_interleave(n, 0).float()
        return ((error * valid).sum(1) / valid.sum(1)).reshape(-1, n).mean(1)

    @torch.no_grad()
    def sample(self, images: Tensor, proprio: Tensor, indicator: int, guidance: float, noise: Tensor) -> Tensor:
        """Integrate noise (B, K, A) to an action chunk (B, K, A); guided: v = v_null + beta (v_I - v_null)."""
        features = self.encode(images, proprio)

        def field(z: Tensor, tau: Tensor) -> Tensor:
            token = torch.full((len(z),), indicator, device=z.device)
            clean = self.clean(z, tau, features, token)
            if guidance != 1:
                null = self.clean(z, tau, features, torch.full_like(token, 2))
                clean = null + guidance * (clean - null)
            return velocity_from_clean(z, clean, tau)

        return integrate(field, noise, self.config.euler_steps) * self.action_std + self.action_mean
