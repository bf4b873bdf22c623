"""Video and action tokens in stock CogVideoX blocks when the two streams must be told apart.

A stock block modulates all of its vision tokens by one timestep and lets them all see each other. The default policy
uses it as it is. Two ablations cannot: with noise levels of their own, actions need their own timestep, and under the
causal mask video must not see actions. Here the block's own parts (norms, projections, feed-forward) run once per
stream, with unchanged weights; text goes with the video.

Shapes: B batch, L tokens, D width, N heads, E head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Rope = tuple[Tensor, Tensor]
Keys = tuple[Tensor, Tensor]
"""Keys and values (B, N, L, E) of one block's text and video tokens."""


def run(recompute: bool, block: Callable[..., Any], *args: Any) -> Any:
    """Call `block`, recomputing it in the backward pass where the transformer's gradient checkpointing is on."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(block, *args, use_reentrant=False)
    return block(*args)


def see(block: Any, text: Tensor, video: Tensor, time: Tensor, rope: Rope) -> tuple[Tensor, Tensor, Keys]:
    """The block on text and video alone, and the keys and values that others may read: (text, video, keys)."""
    x, said, gate, text_gate = block.norm1(video, text, time)
    q, k, v = _project(block.attn1, torch.cat([said, x], 1), rope, said.shape[1])
    out = _merge(block.attn1, F.scaled_dot_product_attention(q, k, v))
    said, seen = out.split([text.shape[1], video.shape[1]], 1)
    text, video = _feed_forward(block, text + text_gate * said, video + gate * seen, time)
    return text, video, (k, v)


def read(block: Any, actions: Tensor, time: Tensor, keys: Keys) -> Tensor:
    """The block on action tokens, which attend to the keys of text and video and to themselves."""
    nobody = actions[:, :0]
    x, _, gate, _ = block.norm1(actions, nobody, time)
    q, k, v = _project(block.attn1, x)
    k, v = torch.cat([keys[0].type_as(k), k], 2), torch.cat([keys[1].type_as(v), v], 2)
    actions = actions + gate * _merge(block.attn1, F.scaled_dot_product_attention(q, k, v))
    return _feed_forward(block, nobody, actions, time)[1]


def follow(
    block: Any, text: Tensor, video: Tensor, actions: Tensor, time: Tensor, action_time: Tensor, rope: Rope
) -> tuple[Tensor, Tensor, Tensor]:
    """The block under the causal mask: actions see everything, text and video do not see actions.

    Text is on the video's side: through it, video would see the actions of the block below.
    """
    text, video, keys = see(block, text, video, time, rope)
    return text, video, read(block, actions, action_time, keys)


def meet(
    block: Any, text: Tensor, video: Tensor, actions: Tensor, time: Tensor, action_time: Tensor, rope: Rope
) -> tuple[Tensor, Tensor, Tensor]:
    """The block with everyone seeing everyone, and actions modulated by a timestep of their own."""
    x, said, gate, text_gate = block.norm1(video, text, time)
    moved, _, action_gate, _ = block.norm1(actions, actions[:, :0], action_time)
    ours = _project(block.attn1, torch.cat([said, x], 1), rope, said.shape[1])
    theirs = _project(block.attn1, moved)
    q, k, v = (torch.cat(pair, 2) for pair in zip(ours, theirs, strict=True))
    out = _merge(block.attn1, F.scaled_dot_product_attention(q, k, v))
    said, seen, acted = out.split([text.shape[1], video.shape[1], actions.shape[1]], 1)
    text, video = _feed_forward(block, text + text_gate * said, video + gate * seen, time)
    _, actions = _feed_forward(block, actions[:, :0], actions + action_gate * acted, action_time)
    return text, video, actions


def _project(attn: Any, x: Tensor, rope: Rope | None = None, text: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (B, N, L, E); positions turn the tokens after the first `text` (actions have none)."""
    from diffusers.models.embeddings import apply_rotary_emb

    q, k, v = (layer(x).unflatten(2, (attn.heads, -1)).transpose(1, 2) for layer in (attn.to_q, attn.to_k, attn.to_v))
    q, k = attn.norm_q(q), attn.norm_k(k)
    if rope is not None:
        q, k = (torch.cat([y[:, :, :text], apply_rotary_emb(y[:, :, text:], rope)], 2) for y in (q, k))
    return q, k, v


def _merge(attn: Any, out: Tensor) -> Tensor:
    return attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))


def _feed_forward(block: Any, text: Tensor, x: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    normed, said, gate, text_gate = block.norm2(x, text, time)
    out = block.ff(torch.cat([said, normed], 1))
    return text + text_gate * out[:, : text.shape[1]], x + gate * out[:, text.shape[1] :]
