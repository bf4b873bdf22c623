"""The distributional value's network: a SigLIP image tower and a Gemma 3 language model with a categorical head.

Shapes: B batch, V views, H W pixels, L text tokens, D width, K bins.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.published import load_pretrained
from valuefns import bins
from valuefns.settings import DistributionalConfig, GemmaShape


class DistributionalModel(nn.Module):
    """p(V | images, instruction) over K bins on [-1, 0], read at the last token of [views, instruction].

        l = -log p_b(V), b the bin nearest to the Monte-Carlo return;   V = sum_b p_b c_b

    Source: pi*0.6 (RECAP), section IV and equation 5; methods that compare with it call it the VLM-based value.
    Differs from the paper: its 670 M backbone is not published; this is Gemma 3's own multi-modal class at that size.
    The default return is ViVa's V - 1, to compare like with like; the paper's is scale=recap.
    """

    pretrained = ("encoder",)

    def __init__(self, config: DistributionalConfig) -> None:
        from transformers import Gemma3Config, Gemma3Model

        super().__init__()
        self.config, e = config, config.encoder
        shape = Gemma3Config(
            vision_config={
                "model_type": "siglip_vision_model", "hidden_size": e.vision_width, "intermediate_size": e.vision_mlp,
                "num_hidden_layers": e.vision_layers, "num_attention_heads": e.vision_heads,
                "image_size": e.image_size, "patch_size": e.patch_size, "vision_use_head": False,
            },
            text_config={
                "model_type": "gemma3_text", "hidden_size": e.width, "intermediate_size": e.mlp,
                "num_hidden_layers": e.layers, "num_attention_heads": e.heads, "num_key_value_heads": e.kv_heads,
                "head_dim": e.head_dim, "query_pre_attn_scalar": e.head_dim, "vocab_size": e.vocabulary,
                "initializer_range": e.init_std,
            },
            mm_tokens_per_image=e.image_tokens,
            initializer_range=e.init_std,
            attn_implementation="sdpa",
        )  # fmt: skip
        if e.checkpoint:
            self.encoder = load_pretrained(
                Gemma3Model, e.checkpoint, revision=e.revision, what="distributional", config=shape
            )
        else:
            self.encoder = Gemma3Model(shape)
            nn.init.normal_(self.encoder.multi_modal_projector.mm_input_projection_weight, std=e.vision_width**-0.5)
            self._load_towers(e, shape)
        self.head = nn.Linear(e.width, config.bins)
        self.register_buffer("centres", torch.linspace(-1, 0, config.bins), persistent=False)

    def _load_towers(self, e: GemmaShape, shape: Any) -> None:
        """Give the image tower and the language model published weights of their own; the projection stays random."""
        from transformers import Gemma3TextModel, SiglipVisionModel

        if e.vision_checkpoint:
            loaded = load_pretrained(
                SiglipVisionModel, e.vision_checkpoint, revision=e.vision_revision, what="distributional",
                config=shape.vision_config, unused=("text_model.", "logit_", "vision_model.head."),
            )  # fmt: skip
            self.encoder.vision_tower.load_state_dict(loaded.state_dict())
        if e.language_checkpoint:
            loaded = load_pretrained(
                Gemma3TextModel, e.language_checkpoint, revision=e.language_revision, what="distributional",
                config=shape.text_config,
            )  # fmt: skip
            self.encoder.language_model.load_state_dict(loaded.state_dict())

    def logits(self, images: Tensor, tokens: Tensor, real: Tensor) -> Tensor:
        """Logits (B, K) of uint8 images (B, V, H, W, 3) and left-padded prompts (B, L) with real (B, L) tokens."""
        size = self.config.encoder.image_size
        pixels = images.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
        if pixels.shape[2:] != (size, size):
            pixels = F.interpolate(pixels, (size, size), mode="bilinear", align_corners=False, antialias=True)
        seen = self.encoder.get_image_features(pixels, return_dict=True).pooler_output
        seen = seen.unflatten(0, images.shape[:2]).flatten(1, 2)  # (B, V * image_tokens, D)
        words = self.encoder.get_input_embeddings()(tokens)
        attended = torch.cat([torch.ones_like(seen[..., 0], dtype=real.dtype), real], 1).long()
        hidden = self.encoder(
            inputs_embeds=torch.cat([seen.to(words.dtype), words], 1),
            attention_mask=attended,
            position_ids=(attended.cumsum(1) - 1).clamp(min=0),
            token_type_ids=torch.cat([torch.ones_like(seen[..., 0]), torch.zeros_like(real)], 1).long(),
            use_cache=False,
        ).last_hidden_state
        return self.head(hidden[:, -1].to(self.head.weight.dtype))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Per-sample loss (B,); batch: images, tokens, real, returns (B,) in [-1, 0]."""
        logits = self.logits(batch["images"], batch["tokens"], batch["real"])
        return bins.cross_entropy(logits, bins.one_hot(batch["returns"], self.centres))

    @torch.no_grad()
    def predict(self, images: Tensor, tokens: Tensor, real: Tensor) -> Tensor:
        """The expected return (B,) in [-1, 0]."""
        return bins.expectation(self.logits(images, tokens, real), self.centres)
