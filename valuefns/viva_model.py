"""ViVa's network: proprioception and value injected as latent frames of a stock Wan transformer.

Shapes: B batch, V views, C' latent channels, H' W' latent pixels, F latent frames, L text tokens, P proprioception.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from networks.flow_matching import integrate, interpolate, sample_tau, velocity
from networks.wan import load_transformer
from valuefns.settings import ViVaConfig


def repeat_pad(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Repeat the P entries of x (B, P) until they fill a latent frame (B, C', H', W') (ViVa section 3.2).

    The paper's frames are (H', W', C'): the channel runs fastest, so that every pixel holds all entries if P <= C'.
    """
    C, H, W = shape
    n = C * H * W
    repeats = -(-n // x.shape[1])
    return x.repeat(1, repeats)[:, :n].reshape(-1, H, W, C).permute(0, 3, 1, 2)


def unpad(frame: Tensor, P: int) -> Tensor:
    """Inverse of `repeat_pad`: mean over the complete chunks of P entries, (B, C', H', W') -> (B, P)."""
    flat = frame.permute(0, 2, 3, 1).flatten(1)
    chunks = flat.shape[1] // P
    return flat[:, : chunks * P].reshape(-1, chunks, P).mean(1)


class ViVaModel(nn.Module):
    """Denoises [future proprioception, value] after the clean prefix [blank, proprioception, views] (ViVa eq. 3).

        z_tau = (1 - tau) z0 + tau z1,  one tau per sample for all noised frames
        l = lambda_prop * mse(v_q, z1 - z0) + lambda_value * mse(v_v, z1 - z0)

    Value target z = G - 1 in [-1, 1) with ViVa's cost-to-go G in [0, 2); exposed V = 1 - G/2 = (1 - z) / 2.
    Differs from the paper: any number of views up to three; V rises where the decoded value falls; the clean tokens
    have timestep 0 (the paper does not say); squared errors are averaged, not summed, over a frame's elements. Ours,
    off by default: the pure-noise share, noise on proprioception, swapped proprioception (value and pictures stay the
    frame's own, so that only they agree), shifted images, a frozen transformer.
    """

    pretrained = ("transformer",)

    def __init__(self, config: ViVaConfig, proprio_dim: int) -> None:
        super().__init__()
        self.config = config
        self.transformer = load_transformer(config.wan)
        self.transformer.enable_gradient_checkpointing() if config.wan.checkpoint else None
        if config.frozen:
            self.transformer.requires_grad_(False)
            self.transformer.patch_embedding.requires_grad_(True)
            self.transformer.proj_out.requires_grad_(True)
        self.register_buffer("proprio_low", torch.zeros(proprio_dim))
        self.register_buffer("proprio_high", torch.ones(proprio_dim))

    def scale_proprio(self, q: Tensor) -> Tensor:
        """Min-max scale to [-1, 1] with the training data's range; constant entries become 0."""
        span = self.proprio_high - self.proprio_low
        scaled = 2 * (q - self.proprio_low) / span.clamp(min=1e-6) - 1
        return torch.where(span > 1e-6, scaled, torch.zeros_like(scaled))

    def unscale_proprio(self, x: Tensor) -> Tensor:
        """Proprioception (B, P) in its own units from scaled (B, P) in [-1, 1]."""
        return (x + 1) / 2 * (self.proprio_high - self.proprio_low) + self.proprio_low

    def _prefix(self, latents: Tensor, q: Tensor) -> Tensor:
        """Clean frames (B, C', 2 + V, H', W') from latents (B, V, C', H', W') and scaled q (B, P)."""
        shape = tuple(latents.shape[2:])
        state = repeat_pad(q, shape)[:, None]
        return torch.cat([torch.zeros_like(state), state, latents], 1).transpose(1, 2)

    def _denoise(self, prefix: Tensor, noised: Tensor, tau: Tensor, text: Tensor) -> Tensor:
        """Velocity of the noised frames (B, C', F, H', W')."""
        _, _, F_clean, H, W = prefix.shape
        F_noised = noised.shape[2]
        per_frame = (H // 2) * (W // 2)
        if self.config.per_token_time:
            time = torch.cat([tau.new_zeros(len(tau), F_clean), tau[:, None].expand(-1, F_noised)], 1)
            time = 1000 * time.repeat_interleave(per_frame, 1)  # (B, L)
        else:
            time = 1000 * tau
        dtype = next(self.transformer.parameters()).dtype
        out = self.transformer(
            hidden_states=torch.cat([prefix, noised], 2).to(dtype),
            timestep=time,
            encoder_hidden_states=text.to(dtype),
            return_dict=False,
        )[0]
        return out[:, :, F_clean:].float()

    def _targets(self, batch: dict[str, Tensor], shape: tuple[int, int, int]) -> Tensor:
        """Clean target frames (B, C', F, H', W'): [future proprioception], [future views], value."""
        frames = []
        if self.config.predict_proprio:
            frames.append(repeat_pad(self.scale_proprio(batch["future_proprio"]), shape)[:, None])
        if self.config.future_image:
            frames.append(batch["future_latents"].float())
        value = (batch["cost_to_go"] - 1)[:, None, None, None, None]
        frames.append(value.expand(-1, 1, *shape))
        return torch.cat(frames, 1).transpose(1, 2)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Per-sample loss (B,); batch: latents, proprio, future_proprio, cost_to_go (B,), text (B, L, D)."""
        config = self.config
        latents = batch["latents"].float()
        q = self.scale_proprio(batch["proprio"])
        if config.proprio_noise > 0:
            q = q + config.proprio_noise * torch.randn_like(q)
        z0 = self._targets(batch, tuple(latents.shape[2:]))
        z1 = torch.randn_like(z0)
        tau = sample_tau(len(z0), config.tau_shift, config.pure_noise_share, z0.device)
        v = self._denoise(self._prefix(latents, q), interpolate(z0, z1, tau), tau, batch["text"])
        error = (v - velocity(z0, z1)).square().mean((1, 3, 4))  # (B, F)
        loss = config.lambda_value * error[:, -1]
        if config.predict_proprio:
            loss = loss + config.lambda_prop * error[:, 0]
        if config.future_image:
            first = int(config.predict_proprio)
            loss = loss + config.lambda_image * error[:, first:-1].mean(1)
        return loss

    @torch.no_grad()
    def predict(self, latents: Tensor, proprio: Tensor, text: Tensor, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return V (B,) and the predicted q_{t+K} (B, P) (None without that target), from noise (1, C', F, H', W')."""
        latents = latents.float()
        prefix = self._prefix(latents, self.scale_proprio(proprio))
        z1 = noise.expand(len(latents), -1, -1, -1, -1)
        z0 = integrate(lambda z, tau: self._denoise(prefix, z, tau, text), z1, self.config.inference_steps)
        value = (1 - z0[:, :, -1].mean((1, 2, 3))) / 2
        future = self.unscale_proprio(unpad(z0[:, :, 0], proprio.shape[1])) if self.config.predict_proprio else None
        return value, future

    def noise(self, views: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
        """The fixed starting noise (1, C', F, H', W'): one frame always gets one value."""
        frames = 1 + int(self.config.predict_proprio) + views * int(self.config.future_image)
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(1, shape[0], frames, *shape[1:], generator=generator)
