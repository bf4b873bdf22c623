"""What is asked of a vision-language model and what comes back: Question, Answer, Usage, BackendConfig."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from valuefns.gvl.parsing import without_reasoning
from valuefns.gvl.settings import BackendConfig

Part = str | np.ndarray
"""A piece of a prompt: text, or an image uint8 (H, W, 3)."""


@dataclass(frozen=True, eq=False)
class Question:
    """One prompt: parts in order (text, images), and how to answer it.

    attempt: 0 for the first time; asking again is another question to the cache. first_token: also wanted are the log
    probabilities of the first answered token.
    """

    parts: tuple[Part, ...]
    max_tokens: int = 4096
    attempt: int = 0
    first_token: bool = False

    def facts(self) -> dict[str, Any]:
        """The question as json: images are named by the hash of their pixels."""
        parts = [p if isinstance(p, str) else {"image": image_hash(p)} for p in self.parts]
        facts: dict[str, Any] = {"parts": parts, "max_tokens": self.max_tokens, "attempt": self.attempt}
        return facts | ({"first_token": True} if self.first_token else {})


@dataclass(frozen=True)
class Answer:
    """What the model said. finish: stop, length (cut off by max_tokens) or refusal; tokens -1: not reported."""

    text: str
    finish: str = "stop"
    prompt_tokens: int = -1
    completion_tokens: int = -1
    first_token: dict[str, float] = field(default_factory=dict)  # natural log probabilities of the likeliest tokens

    def __post_init__(self) -> None:
        assert self.finish in ("stop", "length", "refusal"), self.finish

    @property
    def said(self) -> str:
        """The text without the model's chain of thought; empty where that was cut off."""
        return without_reasoning(self.text)


@dataclass
class Usage:
    """What a run has cost so far; `cached` answers were paid for by an earlier run."""

    answers: int = 0
    cached: int = 0
    refusals: int = 0  # of both
    cut: int = 0  # of both: answers that max_tokens cut off
    retries: dict[str, int] = field(default_factory=dict)  # reason -> how often a request was made again
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    cached_completion_tokens: int = 0
    unreported: int = 0  # answers whose endpoint told no tokens

    def add(self, answer: Answer, cached: bool) -> None:
        """Count one answer."""
        self.refusals += answer.finish == "refusal"
        self.cut += answer.finish == "length" and answer.completion_tokens != 1  # one token is all that is asked for
        prompt, completion = max(answer.prompt_tokens, 0), max(answer.completion_tokens, 0)
        if cached:
            self.cached += 1
            self.cached_prompt_tokens += prompt
            self.cached_completion_tokens += completion
        else:
            self.answers += 1
            self.prompt_tokens += prompt
            self.completion_tokens += completion
        self.unreported += answer.prompt_tokens < 0 or answer.completion_tokens < 0

    def report(self, config: BackendConfig) -> dict[str, Any]:
        """The counts, and dollars where the settings know the prices (None where they do not)."""
        facts = dict(vars(self)) | {"retries": dict(self.retries)}
        known = config.price_in > 0 or config.price_out > 0
        for kind in ("", "cached_"):
            cost = facts[f"{kind}prompt_tokens"] * config.price_in
            cost += facts[f"{kind}completion_tokens"] * config.price_out
            facts[f"{kind}dollars"] = cost / 1e6 if known else None
        return facts


def image_hash(image: np.ndarray) -> str:
    """SHA-256 over the shape and pixels of an image uint8 (H, W, 3)."""
    assert image.dtype == np.uint8 and image.ndim == 3, (image.dtype, image.shape)
    return hashlib.sha256(json.dumps(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
