"""What is asked of a vision-language model and what comes back: Question, Answer, Usage, BackendConfig."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np

from episodes.settings import require, require_one_of
from valuefns.gvl.parsing import without_reasoning

Part = str | np.ndarray
"""A piece of a prompt: text, or an image uint8 (H, W, 3)."""


@dataclass
class BackendConfig:
    """Settings of the model that answers: an OpenAI-compatible endpoint, or a transformers model on this machine."""

    kind: str = "openai"  # openai: POST {url}/chat/completions; local: transformers
    model: str = ""  # the endpoint's name of it, or a hub id or folder; a vision-language model
    temperature: float | None = 0.0  # null: the endpoint's own (some models refuse any other)
    cache: str = "cache/vlm"  # folder of answers, shared by runs; empty: keep none
    # openai
    url: str = "https://api.openai.com/v1"  # base URL
    key_env: str = "OPENAI_API_KEY"  # NAME of the environment variable with the key; empty: the endpoint wants none
    image_format: str = "jpeg"  # of the data URLs: jpeg or png
    token_limit: str = "max_tokens"  # what the endpoint calls it: max_tokens or max_completion_tokens
    concurrency: int = 8  # requests at once
    per_minute: float = 0.0  # requests per minute; 0: no limit but the endpoint's
    timeout: float = 180.0  # seconds without a byte from the endpoint
    tries: int = 6  # of one request: busy, broken or unreadable answers are asked for again
    backoff: float = 1.0  # seconds before the second try, doubled after each, at most a minute
    price_in: float = 0.0  # dollars per million prompt tokens; 0: unknown
    price_out: float = 0.0  # dollars per million answered tokens
    # local
    revision: str = "main"  # of a hub id
    dtype: str = "bfloat16"  # bfloat16, float16 or float32
    batch: int = 1  # questions answered together

    def __post_init__(self) -> None:
        require_one_of(self, kind=("openai", "local"), image_format=("jpeg", "png"))
        require_one_of(self, token_limit=("max_tokens", "max_completion_tokens"))
        require_one_of(self, dtype=("bfloat16", "float16", "float32"))
        require(self, concurrency=(1, 256), per_minute=(0, inf), timeout=(0.01, inf), tries=(1, 100), backoff=(0, 60))
        require(self, price_in=(0, inf), price_out=(0, inf), batch=(1, inf))
        if self.temperature is not None:
            require(self, temperature=(0, 2))
        # neither message repeats what was given: it may be the key itself
        if not re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)?", self.key_env):
            raise ValueError(
                "BackendConfig: key_env is not a variable's name; export the key as a variable and give its NAME"
            )
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", self.url):
            raise ValueError(
                "BackendConfig: url is not http(s)://host[:port][/path]; put no key, user or query into it, "
                "the key goes into the variable that key_env names"
            )


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
