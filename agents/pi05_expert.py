"""pi0.5's action expert: Gemma layers with time-conditioned norms, attending to a prefix computed elsewhere.

Shapes: B batch, L prefix tokens, K action chunk, D width, G kv heads, E head dim.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class PrefixKeys:
    """The prefix's keys and values (B, G, L, E) of every layer, which positions are real, and how many they are.

    Stands in for a transformers cache in the expert's attention: `update` appends the action tokens' own keys to what
    is returned and stores nothing, so that every denoising step reads the same prefix.
    """

    def __init__(self, keys: list[Tensor], values: list[Tensor], mask: Tensor) -> None:
        self.keys, self.values, self.mask = keys, values, mask  # mask bool (B, L)
        self.lengths = mask.sum(1)

    def update(self, key: Tensor, value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer with those of the prefix before them."""
        return torch.cat([self.keys[layer], key], 2), torch.cat([self.values[layer], value], 2)

    def repeat_interleave(self, n: int) -> PrefixKeys:
        """The same prefix for n noise draws per sample."""
        if n == 1:
            return self
        keys, values = ([x.repeat_interleave(n, 0) for x in xs] for xs in (self.keys, self.values))
        return PrefixKeys(keys, values, self.mask.repeat_interleave(n, 0))


class AdaRMSNorm(nn.Module):
    """RMSNorm with scale, shift and a residual gate read from the time: y = norm(x) (1 + scale) + shift.

    The projection starts at zero, so that a fresh layer is the identity (openpi's adaRMS; DiT's adaLN-zero).
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.dense = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift, gate = self.dense(condition)[:, None].float().chunk(3, -1)
        normed = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self.eps)
        return (normed * (1 + scale) + shift).to(x.dtype), gate.to(x.dtype)


class ExpertLayer(nn.Module):
    """Gemma's decoder layer with adaRMS norms and gated residuals around the stock attention and MLP."""

    def __init__(self, config: Any, index: int) -> None:
        from transformers.models.gemma.modeling_gemma import GemmaAttention, GemmaMLP

        super().__init__()
        self.self_attn, self.mlp = GemmaAttention(config, index), GemmaMLP(config)
        self.input_layernorm = AdaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = AdaRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, x: Tensor, condition: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor, prefix: PrefixKeys
    ) -> Tensor:
        y, gate = self.input_layernorm(x, condition)
        x = x + gate * self.self_attn(y, rope, mask, prefix)[0]
        y, gate = self.post_attention_layernorm(x, condition)
        return x + gate * self.mlp(y)


class Expert(nn.Module):
    """The action expert's layers and final norm (module names are the published ones)."""

    def __init__(self, config: Any, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ExpertLayer(config, i) for i in range(layers))
        self.norm = AdaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.checkpointing = False


def time_features(tau: Tensor, width: int) -> Tensor:
    """Sine and cosine features (B, D) of tau (B,) at periods from 0.004 to 4 (openpi)."""
    share = torch.linspace(0, 1, width // 2, device=tau.device)
    angles = tau.float()[:, None] * (2 * math.pi / (4e-3 * (4.0 / 4e-3) ** share))
    return torch.cat([angles.sin(), angles.cos()], -1)
