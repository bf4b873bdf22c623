"""WVM's network: a video transformer that imagines the next frames, and a small value stream that reads it.

Shapes: B batch, h frames of a window, C' latent channels, F latent frames, H' W' latent pixels, M text tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from networks.flow_matching import integrate, interpolate, sample_tau, velocity
from networks.mot import Keys, TokenStream, VideoStream
from networks.wan import load_transformer
from valuefns import bins
from valuefns.settings import WVMConfig


class WVMModel(nn.Module):
    """Predicts the progress of h frames from their latents, and, as a second task, the h frames that follow.

        l = mean over the tokens after the prefix of (f_value - (y1 - y0))^2 + lambda * w * mse(f_video, x1 - x0)

    y = 2 v - 1 is the progress of the frames scaled to [-1, 1], x the latents of the next h frames; each draws its own
    noise level tau. w is the window's `video_weight`: 0 where it has no future, and of mean 1 over the batch. The first
    token is the prefix: the value already known for its frame, clean, or a random one.
    hl_gauss: the tokens after the prefix are 0, and l_value is a cross-entropy over bins instead.
    Source: WVM equations 4 to 7, appendix F. Differs from the paper: tau = 1 is noise (its y_tau is the mirror image);
    values are scaled to [-1, 1]; separate tau; current frames do not see future ones (networks/mot.py). Ours, off by
    default: the pure-noise share, noise on the current latents.
    """

    pretrained = ("video",)

    def __init__(self, config: WVMConfig, transformer: Any = None) -> None:
        super().__init__()
        self.config = config
        net = load_transformer(config.wan) if transformer is None else transformer
        self.video = VideoStream(net, checkpointing=bool(config.wan.checkpoint))
        outputs = 1 if config.head == "flow" else config.bins
        shape = (config.value_dim, config.value_heads, config.value_ffn_dim)
        self.value = TokenStream(net, config.chunk, *shape, outputs)
        self.register_buffer("centres", torch.linspace(0, 1, config.bins), persistent=False)
        if config.frozen:
            self.video.requires_grad_(False)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the video blocks in the backward pass; the value blocks are small."""
        self.video.checkpointing = True

    @property
    def imagines(self) -> bool:
        """Whether future frames take part in training."""
        return self.config.lambda_video > 0 and not self.config.frozen

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Per-sample loss (B,); batch: current (B, C', F, H', W'), values (B, h), text.

        Where it imagines, also future (B, C', F, H', W') and video_weight (B,).
        """
        config, values, text = self.config, batch["values"], batch["text"]
        z = batch["current"].float()
        current = z.shape[2]
        if config.latent_noise > 0:
            z = z + config.latent_noise * torch.randn_like(z)
        tau = z.new_zeros(len(z), 0)
        if self.imagines:
            x0 = batch["future"].float()
            x1 = torch.randn_like(x0)
            tau = sample_tau(len(z), device=z.device)
            z = torch.cat([z, interpolate(x0, x1, tau)], 2)
            tau = tau[:, None].expand(-1, x0.shape[2])
        imagined, keys = self.video(z, tau, text, current)
        loss = self._value_loss(values, text, keys)
        if self.imagines:
            assert imagined is not None, "future frames give a velocity"
            error = (imagined - velocity(x0, x1)).square().flatten(1).mean(1)
            loss = loss + config.lambda_video * batch["video_weight"] * error
        return loss

    def _value_loss(self, values: Tensor, text: Tensor, keys: list[Keys]) -> Tensor:
        config = self.config
        drawn = torch.rand_like(values[:, 0])
        prefix = torch.where(torch.rand_like(drawn) < config.prefix_random, drawn, values[:, 0])
        if config.head == "hl_gauss":
            logits = self._tokens(values.new_zeros(values[:, 1:].shape), torch.ones_like(drawn), prefix, text, keys)
            target = bins.hl_gauss(values[:, 1:], self.centres, 1 / (config.bins - 1))
            return bins.cross_entropy(logits, target).mean(1)
        y0 = 2 * values[:, 1:] - 1
        y1 = torch.randn_like(y0)
        tau = sample_tau(len(y0), 1.0, config.pure_noise_share, y0.device)
        f = self._tokens(interpolate(y0, y1, tau), tau, prefix, text, keys)[..., 0]
        return (f - velocity(y0, y1)).square().mean(1)

    def _tokens(self, noised: Tensor, tau: Tensor, prefix: Tensor, text: Tensor, keys: list[Keys]) -> Tensor:
        """Outputs (B, h - 1, .) of the tokens after the clean prefix (B,) in [0, 1]; tau is (B,) or (1,)."""
        tokens = torch.cat([(2 * prefix - 1)[:, None], noised], 1)
        levels = torch.cat([torch.zeros_like(tau)[:, None], tau[:, None].expand(-1, noised.shape[1])], 1)
        return self.value(tokens, levels, text, keys)[:, 1:]

    @torch.no_grad()
    def look(self, current: Tensor, text: Tensor) -> list[Keys]:
        """What values read of windows' current latents (B, C', F, H', W'); computed once per window."""
        return self.video(current.float(), current.new_zeros(len(current), 0), text, current.shape[2])[1]

    @torch.no_grad()
    def chunk(self, keys: list[Keys], prefix: Tensor, text: Tensor, noise: Tensor) -> Tensor:
        """Progress in [0, 1] of the frames after the first, (B, h - 1), given its value (B,) and noise (h - 1,)."""
        z1 = noise.expand(len(prefix), -1)
        if self.config.head == "hl_gauss":
            logits = self._tokens(torch.zeros_like(z1), torch.ones_like(prefix[:1]), prefix, text, keys)
            return bins.expectation(logits, self.centres)
        step = lambda z, tau: self._tokens(z, tau[:1], prefix, text, keys)[..., 0]  # noqa: E731  one tau for all
        return ((integrate(step, z1, self.config.inference_steps) + 1) / 2).clamp(0, 1)

    def noise(self, seed: int = 0) -> tuple[Tensor, float]:
        """The fixed starting noise (h - 1,) and first prefix of every episode: one episode always gets one value."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(self.config.chunk - 1, generator=generator)
        return noise, float(torch.rand((), generator=generator))
