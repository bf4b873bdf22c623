"""Values as distributions over fixed bins: what a categorical head is trained on and how it is read."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def hl_gauss(values: Tensor, centres: Tensor, sigma: float) -> Tensor:
    """Gaussian-smoothed one-hot targets (..., K) of values (...) on K bin centres.

        p_k = exp(-(v - c_k)^2 / 2 sigma^2) / sum_j exp(-(v - c_j)^2 / 2 sigma^2)

    Values within 1e-6 of the first or last centre are a hard one-hot. Source: WVM equation F.8.
    """
    soft = torch.softmax(-((values[..., None] - centres) ** 2) / (2 * sigma**2), -1)
    end = (values - centres[0]).abs().le(1e-6) | (values - centres[-1]).abs().le(1e-6)
    return torch.where(end[..., None], one_hot(values, centres), soft)


def one_hot(values: Tensor, centres: Tensor) -> Tensor:
    """One-hot targets (..., K): the nearest of K equally spaced centres (pi*0.6, section IV: discretised returns)."""
    step = (centres[-1] - centres[0]) / (len(centres) - 1)
    nearest = ((values - centres[0]) / step).round().long().clamp(0, len(centres) - 1)
    return F.one_hot(nearest, len(centres)).to(centres.dtype)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-sum_k p_k log softmax(logits)_k, of logits and target (..., K): shape (...)."""
    return -(target * F.log_softmax(logits.float(), -1)).sum(-1)


def expectation(logits: Tensor, centres: Tensor) -> Tensor:
    """The mean sum_k softmax(logits)_k c_k of logits (..., K): shape (...)."""
    return (torch.softmax(logits.float(), -1) * centres).sum(-1)
