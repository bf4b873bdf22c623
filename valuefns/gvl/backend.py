"""The common part of every backend: each question is asked once, kept, and counted."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from episodes.files import write_atomic
from valuefns.gvl.cache import AnswerCache
from valuefns.gvl.questions import Answer, Part, Question, Usage
from valuefns.gvl.settings import BackendConfig

Keep = Callable[[int, Answer], None]
"""Told each answer and the position of its question, from any thread."""


@dataclass(frozen=True, eq=False)
class Prefixes:
    """A video and the question asked after some of its prefixes: head, frames[:k], tail for each k in ends."""

    head: str
    frames: tuple[np.ndarray, ...]
    ends: tuple[int, ...]  # 1 <= k <= len(frames), rising
    tail: str

    def parts(self, k: int) -> tuple[Part, ...]:
        """The prompt that shows the first k frames."""
        return (self.head, *self.frames[:k], self.tail)


class Backend(ABC):
    """Answers questions; equal questions are asked once, and once answered never again (`AnswerCache`).

    Usage: backend.ask(questions) -> one Answer per question, in order. `usage` counts what it cost.
    """

    hides_thoughts = True  # whether tokens may be paid for that are not shown, as an endpoint's reasoning

    def __init__(self, config: BackendConfig) -> None:
        self.config = config
        self.usage = Usage()
        self._cache = AnswerCache(config.cache)
        self._lock = threading.Lock()  # of usage

    @classmethod
    def make(cls, config: BackendConfig, device: str = "cpu") -> Self:
        """Build it from its settings; `device` is for a model on this machine."""
        return cls(config)

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What answers, as json: a part of every cache key."""

    @abstractmethod
    def _answers(self, questions: Sequence[Question], keep: Keep) -> None:
        """Answer each question once, in any order, calling keep(position, answer) as soon as an answer is there."""

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer every question, from the cache where it is known.

        Errors: what cannot be answered by asking again (no key, no such model, no images, too long) is a ValueError
        that says what to do; the answers that came before it are kept.
        """
        asked = [self.identity | question.facts() for question in questions]
        keys = [AnswerCache.key(facts) for facts in asked]
        answers: dict[str, Answer] = {}
        missing: dict[str, int] = {}
        for i, key in enumerate(keys):
            if key in answers or key in missing:
                continue
            known = self._cache.get(key)
            if known is None:
                missing[key] = i
            else:
                answers[key] = known
                self._count(known, cached=True)
                self._require_said(questions[i], known)
        order = list(missing.values())

        def keep(i: int, answer: Answer) -> None:
            key = keys[order[i]]
            self._cache.put(key, asked[order[i]], answer)
            self._count(answer, cached=False)
            answers[key] = answer
            self._require_said(questions[order[i]], answer)

        if order:
            self._answers([questions[i] for i in order], keep)
        return [answers[key] for key in keys]

    @property
    def together(self) -> int:
        """How many episodes are worth asking about at once."""
        return 1

    def log_probabilities(self, videos: Sequence[Prefixes], word: str) -> list[np.ndarray]:
        """Per video the log probability that the answer to each prefix begins with `word`; NaN where it is not told.

        Here: the sum over the first tokens that are `word` but for blanks around it, among those the model lists.
        """
        asked = [Question(v.parts(k), 1, first_token=True) for v in videos for k in v.ends]
        told = []
        for answer in self.ask(asked):
            found = [p for token, p in answer.first_token.items() if token.strip() == word]
            told.append(float(np.logaddexp.reduce(found)) if found else float("nan"))
        return np.split(np.array(told), np.cumsum([len(v.ends) for v in videos])[:-1])

    def report(self) -> dict[str, Any]:
        """What the answers cost so far, and who gave them."""
        return {"backend": self.identity, **self.usage.report(self.config)}

    def write_report(self, folder: Path | None) -> None:
        """Write the report to usage.json in a folder, if there is one."""
        if folder is not None:
            write_atomic(folder / "usage.json", json.dumps(self.report(), indent=1) + "\n")

    def _require_said(self, question: Question, answer: Answer) -> None:
        """Stop where max_tokens ended before the answer began: the next question would be paid for in vain, too."""
        if question.first_token or answer.finish != "length" or answer.said.strip():
            return
        if not (
            self.hides_thoughts or answer.text.strip()
        ):  # nothing but blanks and special tokens: no thought, either
            return
        raise ValueError(
            f"vision-language model {self.config.model!r}: max_tokens={question.max_tokens} was used up by its "
            "reasoning, no answer was left; raise max_tokens, or choose a model (or its setting) that reasons less - "
            "nothing more was asked"
        )

    def _count(self, answer: Answer, cached: bool) -> None:
        with self._lock:
            self.usage.add(answer, cached)

    def _retried(self, reason: str) -> None:
        with self._lock:
            self.usage.retries[reason] = self.usage.retries.get(reason, 0) + 1
