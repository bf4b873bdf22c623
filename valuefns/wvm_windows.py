"""Windows of frames at the model's rate: which frames they show, what they are trained on, how they are rewound.

A window that ends at frame t shows the h frames t - (h-1) s, ..., t, s control steps apart.
Frames before the first and after the last repeat the edge.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from episodes.returns import oracle_return
from episodes.store import Episodes
from episodes.types import SEGMENTS
from episodes.windows import DecodedCache
from networks.clips import STRIDE, ClipBank
from networks.text import TextEmbedder
from valuefns.settings import WVMConfig


def spacing(hz: float, fps: float) -> float:
    """Control steps from one frame to the next; reading faster than the control rate is a ValueError."""
    if fps > hz:
        raise ValueError(f"wvm: fps={fps:g} is above the control rate of {hz:g} Hz; use valuefn.fps={hz:g} or less")
    return hz / fps


def read_times(T: int, step: float) -> np.ndarray:
    """Control steps 0..T at which frames are read, round(k step)."""
    times = np.round(np.arange(int(T / step) + 2) * step).astype(np.int64)
    return times[times <= T]


def require_history(T: int, step: float, chunk: int, name: str) -> None:
    """Refuse an episode of T steps that is shorter than one window, with a ValueError that names it."""
    if round((chunk - 1) * step) > T:
        raise ValueError(
            f"wvm: {name} has {T + 1} frames, shorter than the history of {chunk} frames {step:g} steps apart; "
            "leave it out or use a higher fps"
        )


def experts(store: Episodes, fastest: float) -> tuple[list[int], list[int]]:
    """Positions of the successes that count as experts, the fastest share of each instruction, and of the others.

    Source: WVM trains on successes, and takes the shortest of them for experts (appendix C).
    """
    chosen: list[int] = []
    others: list[int] = []
    rows = store.index
    for text in sorted({row["tasks"][0] for row in rows}):
        won = [i for i, row in enumerate(rows) if row["success"] and row["tasks"][0] == text]
        won.sort(key=lambda i: (rows[i]["length"], i))
        share = max(1, round(fastest * len(won)))
        chosen, others = chosen + won[:share], others + won[share:]
    if not chosen:
        raise ValueError(f"{store.path}: no episode succeeds, and wvm learns progress from successes; record some")
    return sorted(chosen), sorted(others)


class Windows:
    """Draws uniform windows of the successes, a share of them rewound; step k depends on (seed, k) alone.

    keep: the window as it is. plateau: its last frame, held. reverse: the frames and their values backwards (WVM
    section 3.3 after ReWiND). Prefix, h current and h future frames are encoded as one clip (WVM eq. 4).

    video_weight (B,): of a window's video loss. A rewound window has no future (its last frame is held) and weight 0,
    the n others B / n, so that the mean over the batch is the mean over the windows that have one, however it is split.

        expert, T steps:  v_t = t / T
        other success:    v_t = max(0, 1 - (T - t) / R),  R the median T of the instruction's experts

    Differs from the paper: the h + 1 frames of a window, its prefix frame with them, are reversed or held together; the
    paper does not say whether rewound windows imagine anything, here they do not; the second line is ours. A success
    with mistakes does not progress as t / T, but after its last mistake it does what an expert does, and before that it
    is more than an expert's time from the end. Where both kinds are seen the many expert windows decide; where only
    mistakes lead, the value is low.
    target="annotated" takes the oracle return of every success instead: somebody has marked the mistakes (in simulation
    the demonstrator itself, which is privileged). A success by accident, which nets no advance, is left out.
    """

    def __init__(
        self, store: Episodes, data: DecodedCache, bank: ClipBank, text: TextEmbedder, config: WVMConfig, seed: int
    ) -> None:
        self.bank, self.config, self.seed = bank, config, seed
        step, h = spacing(store.spec.hz, config.fps), config.chunk
        prompts = sorted(set(data.instructions))
        self.text = text.embed(prompts)
        self.offsets = np.round(np.arange(-h, h + 1) * step).astype(np.int64)  # prefix frame, current, future
        expert, other = experts(store, config.fastest)
        self.experts = 0  # rows of theirs; they come first
        self.progress = np.zeros(len(data.images), np.float32)  # of the frames that are trained on
        columns: list[npt.NDArray[np.int64]] = []
        for i in [*expert, *(other if config.slower > 0 else [])]:
            T = int(data.lengths[i])
            require_history(T, step, h, f"episode {data.episodes[i]} of {store.path}")
            same = [int(data.lengths[j]) for j in expert if data.instructions[j] == data.instructions[i]]
            start, prompt = data.frame_index(i, 0), prompts.index(data.instructions[i])
            frames = start + np.arange(T + 1)
            if config.target == "annotated":
                segments = store[i].segments
                advance, retry = ((segments == SEGMENTS.index(name)).sum() for name in ("advance", "retry"))
                if advance <= retry and advance > 0:
                    continue
                self.progress[frames] = oracle_return(segments, True)
            else:
                span = T if i in expert else float(np.median(same))
                self.progress[frames] = np.maximum(1 - (T - np.arange(T + 1)) / span, 0)
            columns.append(np.stack(np.broadcast_arrays(frames, start, start + T, prompt)))
            self.experts += (T + 1) * (i in expert)
        self.time, self.first, self.last, self.prompt = np.concatenate(columns, 1)

    def __call__(self, step: int) -> dict[str, Any]:
        config, h = self.config, self.config.chunk
        rng = np.random.default_rng([self.seed, step])
        B, total = config.training.batch_size, len(self.time)
        pick = rng.integers(self.experts, size=B)
        if total > self.experts:
            pick = np.where(rng.random(B) < config.slower, rng.integers(self.experts, total, size=B), pick)
        first, last = self.first[pick, None], self.last[pick, None]
        rows = np.clip(self.time[pick, None] + self.offsets, first, last)
        now, ahead = rows[:, : h + 1], rows[:, h + 1 :]
        rewound = rng.random(B) < config.rewind
        plateau = rewound & (rng.random(B) < config.rewind_plateau)
        now = np.where(rewound[:, None], now[:, ::-1], now)
        now = np.where(plateau[:, None], rows[:, h : h + 1], now)
        copy = rng.integers(self.bank.copies, size=B)
        batch: dict[str, Any] = {
            "values": self.progress[now[:, 1:]],
            "text": self.text[self.prompt[pick]] if len(self.text) > 1 else self.text,  # one prompt is read once
        }
        if config.lambda_video == 0 or config.frozen:
            return batch | {"current": self.bank(now, copy)}
        ahead = np.where(rewound[:, None], now[:, -1:], ahead)
        z = self.bank(np.concatenate([now, ahead], 1), copy)
        batch |= {"current": z[:, :, : h // STRIDE], "future": z[:, :, h // STRIDE :]}
        return batch | {"video_weight": np.where(rewound, 0, B / max(1, B - rewound.sum())).astype(np.float32)}
