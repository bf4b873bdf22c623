"""Prompt embeddings of the backbone's own text encoder, computed once per distinct prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from networks.prompts import load_tokenizer
from networks.published import load_pretrained
from networks.settings import TextConfig


class TextEmbedder:
    """Embeds prompts with a frozen UMT5 encoder; `embed` returns float32 (n, L, D), zeros past each prompt's end."""

    def __init__(self, config: TextConfig) -> None:
        self.config = config
        self._known: dict[str, Tensor] = {}

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """The embeddings (B, L, D) of prompts; each different one is encoded once."""
        missing = sorted(set(prompts) - set(self._known))
        if missing:
            for prompt, embedding in zip(missing, self._encode(missing), strict=True):
                self._known[prompt] = embedding
        return torch.stack([self._known[p] for p in prompts])

    @torch.no_grad()
    def _encode(self, prompts: list[str]) -> Tensor:
        # The encoder lives only as long as this call: a run has a handful of distinct instructions.
        from transformers import UMT5Config, UMT5EncoderModel

        tokenizer, model = _tokenizer_and_encoder(self.config, UMT5Config, UMT5EncoderModel)
        tokens = tokenizer(
            prompts, max_length=self.config.max_length, padding="max_length", truncation=True, return_tensors="pt"
        )
        hidden = model.eval()(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state.float()
        return hidden * tokens.attention_mask[..., None]


class T5Embedder(TextEmbedder):
    """Embeds prompts with a frozen T5 encoder as CogVideoX does: padding is neither masked nor zeroed.

    `embed` returns float32 (n, L, D). A prompt of more than `max_length` tokens is a ValueError: it would lose its end.
    """

    @torch.no_grad()
    def _encode(self, prompts: list[str]) -> Tensor:
        from transformers import T5Config, T5EncoderModel

        length = self.config.max_length
        tokenizer, model = _tokenizer_and_encoder(self.config, T5Config, T5EncoderModel)
        for prompt in prompts:
            if (found := len(tokenizer(prompt).input_ids)) > length:
                raise ValueError(f"text: the prompt {prompt[:40]!r}... has {found} tokens; raise max_length={length}")
        tokens = tokenizer(prompts, max_length=length, padding="max_length", return_tensors="pt")
        return model.eval()(tokens.input_ids).last_hidden_state.float()


def _tokenizer_and_encoder(config: TextConfig, settings: Any, encoder: Any) -> tuple[Any, Any]:
    """The published tokenizer and encoder, or bytes and a random encoder of `config`'s shape."""
    from transformers import ByT5Tokenizer

    if config.checkpoint:
        tokenizer = load_tokenizer(config.checkpoint, "tokenizer", config.revision, "text")
        return tokenizer, load_pretrained(encoder, config.checkpoint, "text_encoder", config.revision, what="text")
    tokenizer = ByT5Tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)  # every process must build the same random encoder
        model = encoder(
            settings(
                vocab_size=len(tokenizer), d_model=config.d_model, d_kv=16, d_ff=2 * config.d_model,
                num_layers=config.num_layers, num_heads=max(1, config.d_model // 16),
            )
        )  # fmt: skip
    return tokenizer, model
