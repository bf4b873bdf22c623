"""What the pi0.5 policy reads: task, state and advantage indicator as one prompt, tokenised outside the model.

Shapes: B batch, L tokens, P proprioception.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from episodes.labels import NEGATIVE, NULL, POSITIVE
from networks.prompts import PromptTokenizer

BINS = 256
"""Bins of the state text (openpi's tokenizer)."""
INDICATORS = (NEGATIVE, POSITIVE, NULL)
"""The prompts of one observation, in the order of the label's own numbers, so that an indicator is an index."""
_ADVANTAGE = {NEGATIVE: "Advantage: negative;\n", POSITIVE: "Advantage: positive;\n", NULL: ""}


def state_bins(q: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the bin 0..255 of every entry of q (..., P): floor(256 (q - low) / (high - low)), clipped.

    Differs from openpi: an entry below `low` is bin 0, not the text "-1".
    """
    share = (q - low) / (high - low)
    return np.clip(np.floor(BINS * share), 0, BINS - 1).astype(np.int64)


def bin_centres(bins: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Inverse of `state_bins` up to half a bin: low + (bin + 1/2) (high - low) / 256."""
    return low + (bins + 0.5) / BINS * (high - low)


def prompt(task: str, bins: np.ndarray, indicator: int) -> str:
    """Return the prompt of one observation; NULL gives the published pi0.5 prompt, without any indicator.

        Task: {task}, State: {bins};\\n[Advantage: positive|negative;\\n]Action:

    The task is cleaned as openpi does (underscores and line breaks become spaces). The indicator comes after the task
    and the state (pi*0.6: late in the prompt, before the actions).
    """
    cleaned = task.strip().replace("_", " ").replace("\n", " ")
    return f"Task: {cleaned}, State: {' '.join(map(str, bins))};\n{_ADVANTAGE[indicator]}Action: "


def prompt_tokens(
    tokenizer: PromptTokenizer, tasks: Sequence[str], bins: np.ndarray, indicators: Sequence[int] = INDICATORS
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int64 (B, I, L) and mask bool (B, I, L) of each observation's prompts, one per entry of `indicators`."""
    texts = [prompt(task, row, i) for task, row in zip(tasks, bins, strict=True) for i in indicators]
    tokens, mask = tokenizer(texts)
    shape = (len(bins), len(indicators), tokens.shape[1])
    return tokens.reshape(shape), mask.reshape(shape)
