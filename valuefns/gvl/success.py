"""Did the episode succeed? GVL's VOC against a threshold, or a plain question with or without chain of thought."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from episodes.types import Episode
from valuefns.gvl.backend import Backend, Prefixes
from valuefns.gvl.frames import camera_of, evenly, limited
from valuefns.gvl.parsing import parse_choice
from valuefns.gvl.prompts import TRUE_HEAD, success_tail
from valuefns.gvl.questions import Question

THRESHOLDS = (-1.0, 0.0, 0.25, 0.5, 0.75)
"""GVL's sweep (figure 6); -1 keeps everything."""


def by_voc(vocs: Sequence[float], threshold: float = 0.5) -> list[bool]:
    """GVL-SD: success iff VOC >= threshold (GVL section 4.3: 0.5); undefined is no success, but at -1 everything is."""
    return [threshold <= -1 or bool(v >= threshold) for v in vocs]


@dataclass(frozen=True)
class Classified:
    """How well success was told: shares, NaN where undefined; `missing` episodes had no answer and are not counted."""

    accuracy: float
    precision: float
    recall: float
    n: int
    missing: int


def classified(told: Sequence[bool | None], truth: Sequence[bool]) -> Classified:
    """Accuracy, precision and recall of `told` against `truth`; None is a missing answer.

    accuracy = (TP + TN) / n,  precision = TP / (TP + FP),  recall = TP / (TP + FN)
    """
    pairs = [(t, bool(y)) for t, y in zip(told, truth, strict=True) if t is not None]
    tp = sum(t and y for t, y in pairs)
    fp = sum(t and not y for t, y in pairs)
    fn = sum((not t) and y for t, y in pairs)
    right = sum(t == y for t, y in pairs)
    return Classified(
        _share(right, len(pairs)), _share(tp, tp + fp), _share(tp, tp + fn), len(pairs), len(told) - len(pairs)
    )


def threshold_sweep(
    vocs: Sequence[float], truth: Sequence[bool], thresholds: Sequence[float] = THRESHOLDS
) -> list[dict[str, Any]]:
    """What GVL-SD keeps and gets right at each threshold of the paper's sweep."""
    rows = []
    for threshold in thresholds:
        told = by_voc(vocs, threshold)
        rows.append({"threshold": threshold, "kept": sum(told), **vars(classified(told, truth))})
    return rows


@dataclass(frozen=True)
class SuccessQuestion:
    """How the plain question is put."""

    frames: int = 30
    think: bool = False  # chain of thought before the answer
    camera: str = ""
    image_size: int = 0
    attempts: int = 3
    max_tokens: int = 1024


def success_vqa(
    backend: Backend, episodes: Iterable[Episode], config: SuccessQuestion | None = None
) -> list[bool | None]:
    """Ask of each episode whether the task is completed by its end; None where no answer could be read.

    Source: GVL section 4.3 (SuccessVQA, and its chain-of-thought form), in our words.
    """
    config = config or SuccessQuestion()
    questions = []
    for episode in episodes:
        images = episode.images[camera_of(episode, config.camera)]
        video = tuple(limited(images[t], config.image_size) for t in evenly(len(episode), config.frames))
        tail = success_tail(episode.instruction, config.think)
        questions.append(Prefixes(TRUE_HEAD, video, (len(video),), tail).parts(len(video)))
    told: list[bool | None] = [None] * len(questions)
    for attempt in range(config.attempts):
        missing = [i for i, t in enumerate(told) if t is None]
        asked = [Question(questions[i], config.max_tokens, attempt) for i in missing]
        for i, answer in zip(missing, backend.ask(asked), strict=True):
            if answer.finish == "stop":  # a refusal says nothing, one that was cut off has no last line
                told[i] = parse_choice(answer.said, {"Yes": True, "No": False})
    return told


def _share(k: int, n: int) -> float:
    return k / n if n else float("nan")


def null_spread(n: int) -> float:
    """Standard deviation of VOC for values that know nothing, over n frames: 1 / sqrt(n - 1) (Kendall 1948)."""
    return float(1 / np.sqrt(n - 1))
