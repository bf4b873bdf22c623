"""Prompts as tokens for language models that are trained here: a published tokenizer, or bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class PromptTokenizer:
    """Tokens of prompts: a published tokenizer (hub id or folder), or bytes (ByT5, no files) where `source` is empty.

    Usage: tokens, mask = PromptTokenizer(source, 200)(["Task: ..."]); int64 (B, L) and bool (B, L), padded on `side` to
    the longest. A prompt of more than `max_tokens` is a ValueError: cut, it would lose its end. `owner`: whose errors.
    """

    def __init__(
        self, source: str, max_tokens: int, revision: str = "main", side: str = "right", owner: str = "prompts"
    ) -> None:
        self.source, self.max_tokens, self.revision, self.side, self.owner = source, max_tokens, revision, side, owner
        self._tokenizer: Any = None

    def __call__(self, prompts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        if self._tokenizer is None:
            self._tokenizer = self._load()
        found = self._tokenizer(list(prompts), padding="longest", padding_side=self.side, return_tensors="np")
        tokens, mask = found["input_ids"].astype(np.int64), found["attention_mask"].astype(np.bool_)
        if tokens.shape[1] > self.max_tokens:
            longest = prompts[int(mask.sum(1).argmax())]
            raise ValueError(
                f"{self.owner}: the prompt {longest[:40]!r}... has {tokens.shape[1]} tokens; "
                f"raise max_tokens={self.max_tokens}"
            )
        return tokens, mask

    def _load(self) -> Any:
        from transformers import AutoTokenizer, ByT5Tokenizer

        if not self.source:
            return ByT5Tokenizer()
        try:
            return AutoTokenizer.from_pretrained(self.source, revision=self.revision, trust_remote_code=False)
        except (OSError, ValueError) as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"{self.owner} tokenizer {self.source!r}: {line}; name a folder, or accept its licence"
            ) from None
