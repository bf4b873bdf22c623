"""Windows of frames at the model's rate: which frames they show, what they are trained on, how they are rewound.

A window that ends at frame t shows the h frames t - (h-1) s, ..., t with s the control steps from one frame to the next.
Frames before the first and after the last repeat the edge.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from episodes.store import Episodes
from episodes.windows import DecodedCache
from networks.clips import ClipBank
from networks.text import TextEmbedder
from valuefns.wvm_model import WVMConfig


def spacing(hz: float, fps: float) -> float:
    """Control steps from one frame to the next; reading faster than the control rate is a ValueError."""
    if fps > hz:
        raise ValueError(f"wvm: fps={fps:g} is above the control rate of {hz:g} Hz; use valuefn.fps={hz:g} or less")
    return hz / fps


def sampled(T: int, step: float) -> np.ndarray:
    """Control steps 0..T at which frames are read, round(k step)."""
    times = np.round(np.arange(int(T / step) + 2) * step).astype(np.int64)
    return times[times <= T]


def require_history(T: int, step: float, chunk: int, name: str) -> None:
    """Refuse an episode of T steps that is shorter than one window, with a ValueError that names it."""
    if T < round((chunk - 1) * step):
        raise ValueError(
            f"wvm: {name} has {T + 1} frames, shorter than the history of {chunk} frames {step:g} steps apart; "
            "leave it out or use a higher fps"
        )


def trained_on(store: Episodes, fastest: float) -> list[int]:
    """Positions of the episodes that values are learned from: the successes, or the fastest share per instruction.

    Source: WVM trains on successes and takes the shortest of them for experts (appendix C).
    """
    chosen: list[int] = []
    rows = store.index
    for text in sorted({row["tasks"][0] for row in rows}):
        won = [i for i, row in enumerate(rows) if row["success"] and row["tasks"][0] == text]
        won.sort(key=lambda i: (rows[i]["length"], i))
        chosen += won[: max(1, round(fastest * len(won)))] if won else []
    if not chosen:
        raise ValueError(f"{store.path}: no episode succeeds, and wvm learns progress from successes; record some")
    return sorted(chosen)


class Windows:
    """Draws uniform windows of the successes, a share of them rewound; step k depends on (seed, k) alone.

    keep: the window as it is. plateau: its last frame, held. reverse: the frames and their values backwards. Augmented
    windows have no future to imagine (`rewound`). Source: WVM section 3.3 after ReWiND.
    """

    def __init__(
        self, store: Episodes, data: DecodedCache, bank: ClipBank, text: TextEmbedder, config: WVMConfig, seed: int
    ) -> None:
        self.bank, self.config, self.seed = bank, config, seed
        step, h = spacing(store.spec.hz, config.fps), config.chunk
        prompts = sorted(set(data.instructions))
        self.text = text.embed(prompts)
        self.offsets = np.round(np.arange(-h, h + 1) * step).astype(np.int64)  # prefix frame, current, future
        first, last, time, prompt = [], [], [], []
        for i in trained_on(store, config.fastest):
            T = int(data.lengths[i])
            require_history(T, step, h, f"episode {data.episodes[i]} of {store.path}")
            start = data.frame_index(i, 0)
            first.append(np.full(T + 1, start))
            last.append(np.full(T + 1, start + T))
            time.append(start + np.arange(T + 1))
            prompt.append(np.full(T + 1, prompts.index(data.instructions[i])))
        self.first, self.last = np.concatenate(first), np.concatenate(last)
        self.time, self.prompt = np.concatenate(time), np.concatenate(prompt)

    def __call__(self, step: int) -> dict[str, Any]:
        config, h = self.config, self.config.chunk
        rng = np.random.default_rng([self.seed, step])
        pick = rng.integers(len(self.time), size=config.training.batch_size)
        first, last = self.first[pick, None], self.last[pick, None]
        rows = np.clip(self.time[pick, None] + self.offsets, first, last)
        now = rows[:, : h + 1]
        rewound = rng.random(len(pick)) < config.rewind
        plateau = rewound & (rng.random(len(pick)) < config.rewind_plateau)
        now = np.where(rewound[:, None], now[:, ::-1], now)
        now = np.where(plateau[:, None], rows[:, h : h + 1], now)
        copy = rng.integers(self.bank.copies, size=len(pick))
        batch: dict[str, Any] = {
            "current": self.bank(now, copy),
            "values": ((now[:, 1:] - first) / (last - first)).astype(np.float32),
            "rewound": rewound,
            "text": self.text[self.prompt[pick]],
        }
        if config.lambda_video > 0 and not config.frozen:
            batch["future"] = self.bank(rows[:, h:], copy)
        return batch
