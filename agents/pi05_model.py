"""pi0.5's network: a PaliGemma prefix, computed once, and a Gemma action expert that denoises against its keys.

Shapes: B batch, V views, L prefix tokens, K action chunk, A action (padded), D width, G kv heads, E head dim.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from agents.pi05_expert import Expert, PrefixKeys, time_features
from agents.settings import Pi05Config
from networks.flow_matching import integrate, interpolate, velocity
from networks.planner import enable_checkpointing


def sample_tau(batch: int, alpha: float, device: torch.device) -> Tensor:
    """Draw tau (B,) ~ 0.999 Beta(alpha, 1) + 0.001 by inversion, u^(1/alpha): more noise than data, never exactly 0."""
    return 0.999 * torch.rand(batch, device=device) ** (1 / alpha) + 0.001


def resize_with_pad(images: Tensor, size: int) -> Tensor:
    """Images in [-1, 1] (N, 3, H, W) to (N, 3, size, size): aspect kept, the rest black (openpi)."""
    H, W = images.shape[2:]
    h, w = (round(n * size / max(H, W)) for n in (H, W))
    if (h, w) != (H, W):
        images = F.interpolate(images, (h, w), mode="bilinear", align_corners=False, antialias=h < H)
    top, left = (size - h) // 2, (size - w) // 2
    return F.pad(images, (left, size - w - left, top, size - h - top), value=-1.0)


class Pi05Model(nn.Module):
    """Predicts the velocity of a noised action chunk against a cached image-and-text prefix (pi0.5, section IV).

        z_tau = (1 - tau) z0 + tau z1,  l = mean over A of (v - (z1 - z0))^2, over the real steps of the chunk

    Prefix tokens [views, prompt] see each other; action tokens see the prefix and each other; the prefix never sees
    actions, so its keys and values are computed once per chunk. Positions count real tokens from 0.
    Differs from the paper: the flow-matching head alone, as in openpi's release (no discretised action tokens, no
    sub-task prediction, no knowledge insulation).
    """

    pretrained = ("paligemma", "gemma_expert")

    def __init__(self, config: Pi05Config, P: int, A: int) -> None:
        from transformers import GemmaConfig, PaliGemmaConfig, PaliGemmaModel

        super().__init__()
        self.config, self.action_dim = config, A
        self.shape = (config.chunk, config.max_action_dim)
        p, e = config.prefix, config.expert
        attention = {
            "num_hidden_layers": p.layers, "num_attention_heads": p.heads, "num_key_value_heads": p.kv_heads,
            "head_dim": p.head_dim, "hidden_activation": "gelu_pytorch_tanh", "attn_implementation": "sdpa",
            "initializer_range": p.init_std,
        }  # fmt: skip
        self.paligemma = PaliGemmaModel(
            PaliGemmaConfig(
                vision_config={
                    "model_type": "siglip_vision_model", "hidden_size": p.vision_width, "projection_dim": p.width,
                    "num_hidden_layers": p.vision_layers, "num_attention_heads": p.vision_heads,
                    "intermediate_size": p.vision_mlp, "patch_size": p.patch_size, "image_size": p.image_size,
                    "vision_use_head": False,
                },
                text_config={
                    "model_type": "gemma", "hidden_size": p.width, "intermediate_size": p.mlp,
                    "vocab_size": p.vocabulary,
                } | attention,
                projection_dim=p.width,
                image_token_index=p.vocabulary,
            )
        )  # fmt: skip
        shape = GemmaConfig(hidden_size=e.width, intermediate_size=e.mlp, vocab_size=p.vocabulary, **attention)
        self.gemma_expert = Expert(shape, p.layers)
        self.action_in_proj = nn.Linear(config.max_action_dim, e.width)
        self.action_out_proj = nn.Linear(e.width, config.max_action_dim)
        self.time_mlp_in = nn.Linear(e.width, e.width)
        self.time_mlp_out = nn.Linear(e.width, e.width)
        # Only the last layer's keys and values are read: what follows them never gets a gradient.
        last = self.paligemma.language_model.layers[-1]
        for unread in (last.self_attn.q_proj, last.self_attn.o_proj, last.mlp, last.post_attention_layernorm,
                       self.paligemma.language_model.norm):  # fmt: skip
            unread.requires_grad_(False)
        for name, size in (("proprio", P), ("action", A)):
            self.register_buffer(f"{name}_low", -torch.ones(size))
            self.register_buffer(f"{name}_high", torch.ones(size))

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the image tower and the expert in the backward pass; the prefix, whose keys are kept, is not."""
        enable_checkpointing(self.paligemma.vision_tower)
        self.gemma_expert.checkpointing = True

    def encode_images(self, images: Tensor) -> Tensor:
        """Image tokens (B, L, D) of uint8 images (B, V, H, W, 3), one view after the other."""
        pixels = images.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
        pixels = resize_with_pad(pixels, self.config.prefix.image_size).to(self.action_in_proj.weight.dtype)
        features = self.paligemma.get_image_features(pixels).pooler_output
        return features.unflatten(0, images.shape[:2]).flatten(1, 2)

    def encode_prefix(self, image_tokens: Tensor, tokens: Tensor, mask: Tensor) -> PrefixKeys:
        """Keys and values of [image tokens (B, L', D), prompt tokens (B, L'')]; mask (B, L'') marks the real ones."""
        from transformers import DynamicCache

        text = self.paligemma.get_input_embeddings()(tokens)  # scaled by sqrt(D) there
        embedded = torch.cat([image_tokens.to(text.dtype), text], 1)
        valid = torch.cat([mask.new_ones(image_tokens.shape[:2]), mask], 1)
        L = valid.shape[1]
        cache = DynamicCache()
        self.paligemma.language_model(
            inputs_embeds=embedded,
            attention_mask=valid[:, None, None, :].expand(-1, 1, L, -1),
            position_ids=positions(valid),
            past_key_values=cache,
            use_cache=True,
        )
        return PrefixKeys([layer.keys for layer in cache.layers], [layer.values for layer in cache.layers], valid)

    def velocity(self, noised: Tensor, tau: Tensor, prefix: PrefixKeys) -> Tensor:
        """Velocity (B, K, A) of the noised chunk (B, K, A) at tau (B,), float32."""
        dtype = self.action_in_proj.weight.dtype
        B, K, _ = noised.shape
        x = self.action_in_proj(noised.to(dtype))
        features = time_features(tau, x.shape[-1]).to(dtype)
        condition = F.silu(self.time_mlp_out(F.silu(self.time_mlp_in(features))))
        own = prefix.mask.new_ones(B, K)
        mask = torch.cat([prefix.mask, own], 1)[:, None, None, :].expand(-1, 1, K, -1)
        rope = self.paligemma.language_model.rotary_emb(x, prefix.lengths[:, None] + positions(own))
        for layer in self.gemma_expert.layers:
            if self.gemma_expert.checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, condition, rope, mask, prefix, use_reentrant=False)
            else:
                x = layer(x, condition, rope, mask, prefix)
        x, _ = self.gemma_expert.norm(x, condition)
        return self.action_out_proj(x).float()

    def scale(self, actions: Tensor) -> Tensor:
        """Actions (B, K, A) with 1 % and 99 % quantiles at -1 and 1, padded with zeros to max_action_dim."""
        scaled = 2 * (actions - self.action_low) / (self.action_high - self.action_low) - 1
        return F.pad(scaled, (0, self.shape[1] - self.action_dim))

    def unscale(self, scaled: Tensor) -> Tensor:
        """Inverse of `scale`."""
        return (scaled[..., : self.action_dim] + 1) / 2 * (self.action_high - self.action_low) + self.action_low

    def losses(self, batch: dict[str, Tensor], indicator: Tensor) -> Tensor:
        """Flow-matching loss per sample (B,), averaged over the real steps of the chunk; indicator (B,) picks a prompt.

        Batch: images uint8 (B, V, H, W, 3), tokens (B, 3, L) and tokens_mask (B, 3, L) per indicator, actions
        (B, K, A), valid (B, K).
        """
        n, rows = self.config.noise_samples, torch.arange(len(indicator), device=indicator.device)
        tokens, mask = batch["tokens"][rows, indicator], batch["tokens_mask"][rows, indicator]
        prefix = self.encode_prefix(self.encode_images(batch["images"]), tokens, mask).repeat_interleave(n)
        z0 = self.scale(batch["actions"]).repeat_interleave(n, 0)
        z1 = torch.randn_like(z0)
        tau = sample_tau(len(z0), self.config.tau_alpha, z0.device)
        error = (self.velocity(interpolate(z0, z1, tau), tau, prefix) - velocity(z0, z1)).square().mean(-1)
        valid = batch["valid"].repeat_interleave(n, 0).float()
        return ((error * valid).sum(1) / valid.sum(1)).reshape(-1, n).mean(1)

    @torch.no_grad()
    def sample(self, images: Tensor, tokens: Tensor, mask: Tensor, guidance: float, noise: Tensor) -> Tensor:
        """Integrate noise (B, K, max_action_dim) to an action chunk (B, K, A).

        tokens and mask (B, I, L): the prompt, and with I = 2 the prompt without indicator after it. Guided:
        v = v_null + beta (v_I - v_null) (pi*0.6, appendix); both prefixes are cached and denoised as one batch.
        """
        B, prompts = tokens.shape[:2]
        seen = self.encode_images(images).repeat_interleave(prompts, 0)  # the views do not depend on the prompt
        prefix = self.encode_prefix(seen, tokens.flatten(0, 1), mask.flatten(0, 1))

        def field(z: Tensor, tau: Tensor) -> Tensor:
            v = self.velocity(z.repeat_interleave(prompts, 0), tau.repeat_interleave(prompts, 0), prefix)
            v = v.unflatten(0, (B, prompts))
            return v[:, 0] if prompts == 1 else v[:, 1] + guidance * (v[:, 0] - v[:, 1])

        return self.unscale(integrate(field, noise, self.config.euler_steps))


def positions(valid: Tensor) -> Tensor:
    """Position of each real token among the real ones, from 0, of a mask (B, L)."""
    return (valid.cumsum(1) - 1).clamp(min=0)
