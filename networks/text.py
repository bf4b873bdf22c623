"""Prompt embeddings of the backbone's own text encoder, computed once per distinct prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from networks.prompts import load_tokenizer
from networks.published import load_pretrained


@dataclass
class TextConfig:
    """Wan's UMT5 encoder; the shape fields are read only when `checkpoint` is empty (random, bytes as tokens)."""

    checkpoint: str = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"  # hub id or local folder; empty: build from the fields below
    revision: str = "main"
    max_length: int = 512  # tokens, Wan's own
    d_model: int = 4096
    num_layers: int = 24


class TextEmbedder:
    """Embeds prompts with a frozen UMT5 encoder; `embed` returns float32 (n, L, D), zeros past each prompt's end."""

    def __init__(self, config: TextConfig) -> None:
        self.config = config
        self._known: dict[str, Tensor] = {}

    def embed(self, prompts: Sequence[str]) -> Tensor:
        missing = sorted(set(prompts) - set(self._known))
        if missing:
            for prompt, embedding in zip(missing, self._encode(missing), strict=True):
                self._known[prompt] = embedding
        return torch.stack([self._known[p] for p in prompts])

    @torch.no_grad()
    def _encode(self, prompts: list[str]) -> Tensor:
        # The encoder lives only as long as this call: a run has a handful of distinct instructions.
        from transformers import ByT5Tokenizer, UMT5Config, UMT5EncoderModel

        config = self.config
        if config.checkpoint:
            tokenizer = load_tokenizer(config.checkpoint, "tokenizer", config.revision, "text")
            model = load_pretrained(UMT5EncoderModel, config.checkpoint, "text_encoder", config.revision, what="text")
        else:
            tokenizer = ByT5Tokenizer()
            with torch.random.fork_rng():
                torch.manual_seed(0)  # every process must build the same random encoder
                model = UMT5EncoderModel(
                    UMT5Config(
                        vocab_size=len(tokenizer), d_model=config.d_model, d_kv=16, d_ff=2 * config.d_model,
                        num_layers=config.num_layers, num_heads=max(1, config.d_model // 16),
                    )
                )  # fmt: skip
        tokens = tokenizer(
            prompts, max_length=config.max_length, padding="max_length", truncation=True, return_tensors="pt"
        )
        hidden = model.eval()(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state.float()
        return hidden * tokens.attention_mask[..., None]
