"""Flow matching with one convention for the whole project: tau = 0 is data, tau = 1 is noise (Wan's direction).

    z_tau = (1 - tau) z0 + tau z1,   velocity = z1 - z0,   z1 ~ N(0, I)

Usage:
    z1 = torch.randn_like(z0)
    tau = sample_tau(len(z0), shift=1.0, pure_noise_share=0.0, device=z0.device)
    target = velocity(z0, z1)                       # what the network regresses, from interpolate(z0, z1, tau)
    z0_hat = integrate(lambda z, tau: net(z, tau), z1, steps=5)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def _expand(tau: Tensor, like: Tensor) -> Tensor:
    return tau.reshape(tau.shape + (1,) * (like.ndim - tau.ndim))


def interpolate(z0: Tensor, z1: Tensor, tau: Tensor) -> Tensor:
    """Return z_tau = (1 - tau) z0 + tau z1 for data z0 (B, ...), noise z1 (B, ...) and tau (B,)."""
    tau = _expand(tau, z0)
    return (1 - tau) * z0 + tau * z1


def velocity(z0: Tensor, z1: Tensor) -> Tensor:
    """Return the constant velocity dz/dtau = z1 - z0 of the straight path."""
    return z1 - z0


def velocity_from_clean(z: Tensor, clean: Tensor, tau: Tensor) -> Tensor:
    """Return the velocity (z_tau - z0_hat) / tau of a network that predicts the clean sample z0_hat."""
    return (z - clean) / _expand(tau, z)


def sample_tau(
    batch: int, shift: float = 1.0, pure_noise_share: float = 0.0, device: torch.device | str = "cpu"
) -> Tensor:
    """Draw tau (B,) ~ U[0, 1], shifted by s: tau' = s tau / (1 + (s - 1) tau), a share of it set to exactly 1.

    shift=1 is ViVa's paper, shift=5 Wan's own schedule. Ours: `pure_noise_share`, because one-step inference starts
    at tau = 1, a point that a uniform draw never trains.
    """
    tau = torch.rand(batch, device=device)
    tau = shift * tau / (1 + (shift - 1) * tau)
    if pure_noise_share > 0:
        tau = torch.where(torch.rand(batch, device=device) < pure_noise_share, torch.ones_like(tau), tau)
    return tau


def integrate(field: Callable[[Tensor, Tensor], Tensor], z1: Tensor, steps: int) -> Tensor:
    """Euler-integrate dz/dtau = field(z, tau) from tau = 1 to 0 in `steps` equal steps; returns z0_hat (B, ...)."""
    z = z1
    for k in range(steps):
        tau = torch.full((len(z),), 1 - k / steps, device=z.device, dtype=z.dtype)
        z = z - field(z, tau) / steps
    return z
