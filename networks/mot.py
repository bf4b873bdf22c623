"""Mixture-of-Transformers: a small stream of tokens that reads a Wan video transformer, layer by layer, unseen by it.

Both streams are stock Wan blocks. The video blocks keep their weights and their forward; only the attention processors
differ, and what a processor has to know travels in the block's `rotary_emb` argument, which it forwards untouched.

    current video tokens attend to current video tokens
    future video tokens attend to current and future video tokens
    value tokens attend to current video tokens and value tokens

so a future frame reaches no value at any layer, and may be left out. The video stream knows nothing of the value
stream: its keys and values are computed once and read by every denoising step of the value.

Shapes: B batch, F latent frames, L tokens, C' latent channels, H' W' latent pixels, D width, N heads, E head width.
Source: WVM (section 3.2, appendix A). Differs from the paper: current tokens do not see the noised future (there, the
future would reach the value through the current tokens of the layer below).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Keys = tuple[Tensor, Tensor]
"""Keys and values (B, L, N, E) of one layer's current video tokens."""


@dataclass
class _Route:
    """What a video block hands to its self-attention, and gets back from it."""

    rotary: Keys  # cosine and sine of the tokens' positions
    current: int  # how many tokens, from the first, are current
    keys: Keys | None = None


class VideoAttention:
    """Self-attention of a video block: current tokens among themselves, future tokens to all (two calls, no mask)."""

    def __call__(
        self, attn: Any, hidden_states: Tensor, text: None = None, mask: None = None, rotary_emb: Any = None
    ) -> Tensor:
        route, now = rotary_emb, rotary_emb.current
        q, k, v = _heads(attn, hidden_states)
        q, k = _rotate(q, route.rotary), _rotate(k, route.rotary)
        route.keys = k[:, :now], v[:, :now]
        out = _attend(q[:, :now], k[:, :now], v[:, :now])
        if now < q.shape[1]:
            out = torch.cat([out, _attend(q[:, now:], k, v)], 1)
        return attn.to_out[0](out.type_as(hidden_states))


class JointAttention:
    """Self-attention of a value block: value tokens to [current video tokens, value tokens], in the video's width."""

    def __call__(
        self, attn: Any, hidden_states: Tensor, text: None = None, mask: None = None, rotary_emb: Any = None
    ) -> Tensor:
        q, k, v = _heads(attn, hidden_states)
        video_k, video_v = rotary_emb
        out = _attend(q, torch.cat([video_k.type_as(k), k], 1), torch.cat([video_v.type_as(v), v], 1))
        return attn.to_out[0](out.type_as(hidden_states))


class TextAttention:
    """Cross-attention whose text may have batch 1: one prompt is projected once, however many windows read it."""

    def __call__(
        self, attn: Any, hidden_states: Tensor, text: Any = None, mask: None = None, rotary_emb: None = None
    ) -> Tensor:
        q = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        k = attn.norm_k(attn.to_k(text)).unflatten(2, (attn.heads, -1))
        v = attn.to_v(text).unflatten(2, (attn.heads, -1))
        if len(k) == 1:  # all queries to one text: one long attention, and no copy of the text per window
            out = _attend(q.flatten(0, 1)[None], k, v)[0].unflatten(0, q.shape[:2])
        else:
            out = _attend(q, k, v)
        return attn.to_out[0](out.type_as(hidden_states))


def _heads(attn: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = attn.norm_q(attn.to_q(x)), attn.norm_k(attn.to_k(x)), attn.to_v(x)
    return q.unflatten(2, (attn.heads, -1)), k.unflatten(2, (attn.heads, -1)), v.unflatten(2, (attn.heads, -1))


def _keys(block: Any, x: Tensor, modulation: Tensor, rotary: Keys) -> Keys:
    """Keys and values (B, L, N, E) that a video block's self-attention would compute, and nothing else of the block."""
    shift, scale = (block.scale_shift_table + modulation.float()).chunk(6, 1)[:2]
    x = (block.norm1(x.float()) * (1 + scale) + shift).type_as(x)
    k = block.attn1.norm_k(block.attn1.to_k(x)).unflatten(2, (block.attn1.heads, -1))
    return _rotate(k, rotary), block.attn1.to_v(x).unflatten(2, (block.attn1.heads, -1))


def _rotate(x: Tensor, rotary: Keys) -> Tensor:
    """Rotate pairs of channels by their position's angle, as Wan does."""
    cos, sin = rotary[0][..., 0::2], rotary[1][..., 1::2]
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).type_as(x)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of q (B, L, N, E) over k, v (B, M, N, E): (B, L, N E)."""
    q, k = q.type_as(v), k.type_as(v)
    out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    return out.transpose(1, 2).flatten(2)


def _modulate(x: Tensor, table: Tensor, temb: Tensor, norm: nn.Module) -> Tensor:
    """The output norm of a Wan transformer: scaled and shifted by the time embedding temb (B, L, D) or (1, 1, D)."""
    shift, scale = (table[:, None] + temb[:, :, None]).chunk(2, 2)
    return (norm(x.float()) * (1 + scale[:, :, 0]) + shift[:, :, 0]).type_as(x)


def _time(embedder: Any, time: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Embed times (B, L) on Wan's 0 to 1000 scale: (B, L, D) and the blocks' modulation (B, L, 6, D)."""
    features = embedder.timesteps_proj(time.flatten()).unflatten(0, time.shape)
    temb = embedder.time_embedder(features.to(next(embedder.time_embedder.parameters()).dtype)).to(dtype)
    return temb, embedder.time_proj(embedder.act_fn(temb)).unflatten(2, (6, -1))


class VideoStream(nn.Module):
    """A stock `WanTransformer3DModel`, walked block by block so that each layer's keys can be read.

    Usage: velocity, keys = VideoStream(transformer)(latents, tau, text, current=1)
    """

    def __init__(self, transformer: Any, checkpointing: bool = False) -> None:
        super().__init__()
        self.transformer, self.checkpointing = transformer, checkpointing
        for block in transformer.blocks:
            block.attn1.set_processor(VideoAttention())
            block.attn2.set_processor(TextAttention())

    def forward(self, latents: Tensor, tau: Tensor, text: Tensor, current: int) -> tuple[Tensor | None, list[Keys]]:
        """Return the velocity of the future frames (B, C', F - current, H', W') and every layer's current keys.

        latents (B, C', F, H', W'), of which the first `current` frames are clean; tau (B, F - current) in [0, 1] is the
        noise level of the others; text (B, M, D_text), or (1, M, D_text) for one prompt. Without future frames the
        velocity is None.
        """
        net = self.transformer
        B, _, frames, height, width = latents.shape
        _, p, q = net.config.patch_size
        per_frame = (height // p) * (width // q)
        dtype = net.patch_embedding.weight.dtype
        x = net.patch_embedding(latents.to(dtype)).flatten(2).transpose(1, 2).contiguous()
        words = net.condition_embedder.text_embedder(text.to(dtype))
        if frames > current:
            time = torch.cat([tau.new_zeros(B, current), 1000 * tau], 1)
            temb, modulation = _time(net.condition_embedder, time, x.dtype)
            temb, modulation = temb.repeat_interleave(per_frame, 1), modulation.repeat_interleave(per_frame, 1)
        else:  # every token is clean: one modulation for all
            temb, modulation = _time(net.condition_embedder, latents.new_zeros(1, 1, dtype=torch.float32), x.dtype)
            modulation = modulation[:, 0]
        rotary = net.rope(latents)

        def run(block: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            route = _Route(rotary, current * per_frame)
            x = block(x, words, modulation, route)
            assert route.keys is not None, "the block's self-attention is not VideoAttention"
            return x, *route.keys

        keys: list[Keys] = []
        whole = len(net.blocks) - (frames == current)  # of the last block only the keys are read then
        for block in net.blocks[:whole]:
            if self.checkpointing and torch.is_grad_enabled():
                x, k, v = checkpoint(run, block, x, use_reentrant=False)
            else:
                x, k, v = run(block, x)
            keys.append((k, v))
        if frames == current:
            return None, [*keys, _keys(net.blocks[-1], x, modulation, rotary)]
        x = _modulate(x, net.scale_shift_table, temb, net.norm_out)[:, current * per_frame :]
        out = net.proj_out(x).unflatten(1, (frames - current, height // p, width // q))
        out = out.unflatten(4, (p, q, -1)).permute(0, 6, 1, 2, 4, 3, 5)  # (B, C', F, h, p, w, q)
        return out.flatten(5, 6).flatten(3, 4).float(), keys


class TokenStream(nn.Module):
    """A DiT of the video's depth over a few scalar tokens, whose self-attention runs in the video's width.

    tokens (B, K), their noise levels tau (B, K) and the video's keys -> outputs (B, K, `outputs`). Each block is a
    stock `WanTransformerBlock` of width `dim`, with a self-attention from `dim` to the video's heads and back.
    At Wan2.2-5B's shape with dim 512, 8 heads and FFN 14336 it has 0.67 B parameters (WVM appendix A: about 0.7 B).
    Differs from the paper, which does not say how tokens are placed: a learned vector per slot, and no rotation.
    """

    def __init__(self, video: Any, slots: int, dim: int, heads: int, ffn_dim: int, outputs: int) -> None:
        from diffusers.models.transformers.transformer_wan import (
            WanAttention,
            WanTimeTextImageEmbedding,
            WanTransformerBlock,
        )

        super().__init__()
        shape = video.config
        self.token_in = nn.Linear(1, dim)
        self.slot = nn.Parameter(torch.randn(1, slots, dim) / dim**0.5)
        self.condition_embedder = WanTimeTextImageEmbedding(dim, shape.freq_dim, 6 * dim, shape.text_dim)
        blocks = []
        for _ in range(shape.num_layers):
            block = WanTransformerBlock(dim, ffn_dim, heads, cross_attn_norm=shape.cross_attn_norm, eps=shape.eps)
            block.attn1 = WanAttention(
                dim, heads=shape.num_attention_heads, dim_head=shape.attention_head_dim, eps=shape.eps,
                processor=JointAttention(),
            )  # fmt: skip
            block.attn2.set_processor(TextAttention())
            blocks.append(block)
        self.blocks = nn.ModuleList(blocks)
        self.norm_out = nn.LayerNorm(dim, shape.eps, elementwise_affine=False)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        self.proj_out = nn.Linear(dim, outputs)

    def forward(self, tokens: Tensor, tau: Tensor, text: Tensor, keys: list[Keys]) -> Tensor:
        dtype = self.token_in.weight.dtype
        x = self.token_in(tokens[..., None].to(dtype)) + self.slot
        words = self.condition_embedder.text_embedder(text.to(dtype))
        temb, modulation = _time(self.condition_embedder, 1000 * tau, x.dtype)
        for block, layer in zip(self.blocks, keys, strict=True):
            x = block(x, words, modulation, layer)
        return self.proj_out(_modulate(x, self.scale_shift_table, temb, self.norm_out)).float()
