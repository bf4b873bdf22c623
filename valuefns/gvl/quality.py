"""How good is a dataset: the mean VOC of its episodes, and which of them a threshold keeps (GVL section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from episodes.intervals import bootstrap_mean
from episodes.store import Episodes
from episodes.types import Episode
from valuefns.bench.metrics import voc
from valuefns.gvl.method import GVL
from valuefns.gvl.success import by_voc, null_spread
from valuefns.protocol import ValueFunction


@dataclass(frozen=True)
class Quality:
    """VOC of every episode of a dataset (NaN where undefined) and what the model did not say."""

    vocs: tuple[float, ...]
    frames: tuple[int, ...]  # values behind each VOC
    missing: tuple[int, ...]  # frames without a value
    refused: int  # answers without a single value

    def row(self) -> dict[str, Any]:
        """The dataset's line in a ranking: mean over defined, its interval, defined share, undefined as 0 or -1.

        The mean with undefined as -1 is what GVL's own tables seem to do (two datasets stand at exactly -1 there).
        """
        x = np.array(self.vocs)
        defined = x[~np.isnan(x)]
        mean, low, high = bootstrap_mean(defined) if len(defined) else (float("nan"),) * 3
        spread = [null_spread(n) for n, v in zip(self.frames, x) if not np.isnan(v)]
        return {
            "episodes": len(x), "voc": mean, "voc_low": low, "voc_high": high,
            "defined": float((~np.isnan(x)).mean()) if len(x) else float("nan"),
            "voc_undefined_0": float(np.nan_to_num(x, nan=0.0).mean()) if len(x) else float("nan"),
            "voc_undefined_minus_1": float(np.nan_to_num(x, nan=-1.0).mean()) if len(x) else float("nan"),
            "null_spread": float(np.sqrt(np.square(spread).sum()) / len(spread)) if spread else float("nan"),
            "missing_values": int(sum(self.missing)), "refused_answers": self.refused,
        }  # fmt: skip


def dataset_quality(value: ValueFunction, episodes: Sequence[Episode] | Episodes) -> Quality:
    """VOC of each episode by `value`: over the frames GVL was asked about, over every frame 0..T-1 for other values."""
    if isinstance(value, GVL):
        predictions = list(value.predict(episodes))
        return Quality(
            tuple(p.voc for p in predictions),
            tuple(len(p.frames) - 1 - int(np.isnan(p.progress[1:]).sum()) for p in predictions),
            tuple(p.missing for p in predictions),
            sum(p.refused for p in predictions),
        )
    scores = [values[:-1] for values in value.score_all(episodes)]
    vocs = tuple(float("nan") if np.isnan(v).any() else voc(v) for v in scores)
    return Quality(vocs, tuple(len(v) for v in scores), tuple(int(np.isnan(v).sum()) for v in scores), 0)


def keep(vocs: Sequence[float], threshold: float) -> list[int]:
    """Positions of the episodes a filter at `threshold` keeps (undefined: dropped, unless the threshold is -1)."""
    return [i for i, kept in enumerate(by_voc(vocs, threshold)) if kept]


def instruction_matrix(value: GVL, videos: Sequence[Episode], instructions: Sequence[str]) -> np.ndarray:
    """VOC of every video under every instruction, float64 (videos, instructions): its own should stand out (GVL)."""
    asked = [replace(video, instruction=words) for video in videos for words in instructions]
    vocs = [p.voc for p in value.predict(asked)]
    return np.array(vocs).reshape(len(videos), len(instructions))
