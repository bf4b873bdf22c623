"""Prompts as tokens for language models that are trained here: a published tokenizer, or bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from episodes.files import one_line
from networks.hub import locate


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
        if self.source:
            return load_tokenizer(self.source, "", self.revision, self.owner)
        from transformers import ByT5Tokenizer

        return ByT5Tokenizer()


def load_tokenizer(source: str, subfolder: str, revision: str, owner: str) -> Any:
    """Return a published tokenizer: the files of `subfolder` of a hub id or folder; it runs no code of theirs."""
    from transformers import AutoTokenizer

    prefix = f"{subfolder}/" if subfolder else ""
    patterns = [f"{prefix}{name}" for name in ("*.json", "*.txt", "*.model")]
    folder = locate(source, revision, patterns, f"{owner} tokenizer").folder / subfolder
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # its files decide what their parsers raise
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            one_line(f"{owner} tokenizer {source!r}: {line}; name a folder, or accept its licence")
        ) from None
