"""What the values of a store look like against the truth: one row per frame, and the metrics of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from episodes.files import write_atomic
from episodes.intervals import bootstrap_mean
from episodes.labels import Labels
from episodes.returns import oracle_return
from episodes.store import Episodes
from episodes.types import SEGMENTS, Episode
from valuefns.bench import metrics


def truths(store: Episodes) -> list[dict[str, Any]]:
    """Per episode: the oracle return (T + 1,), the simulator's progress (T + 1,), segments (T,), variant, success."""
    loaded = [(episode, episode.segments) for episode in store]
    rate = float(np.median([_pace(episode) for episode, _ in loaded if episode.success]))
    return [
        {
            "oracle": oracle_return(segments, e.success, None if e.success else rate),
            "progress": e.progress,
            "segments": segments,
            "variant": e.provenance.variant,
            "success": e.success,
        }
        for e, segments in loaded
    ]


def _pace(episode: Episode) -> float:
    """Progress per advancing step of a success; failures are drawn with the median of these."""
    net = (episode.segments == SEGMENTS.index("advance")).sum() - (episode.segments == SEGMENTS.index("retry")).sum()
    return 1.0 / max(1, int(net))


def write_frames(
    path: Path, facts: Sequence[dict[str, Any]], values: Sequence[np.ndarray], labels: Sequence[Labels]
) -> None:
    """Write frames.parquet: one row per step with value (progress units), truths and the labels' columns."""
    columns: dict[str, list[Any]] = {
        k: [] for k in ("episode", "frame", "variant", "success", "segment", "value", "progress", "oracle")
    }
    for i, (fact, v) in enumerate(zip(facts, values, strict=True)):
        T = len(fact["segments"])
        columns["episode"] += [i] * T
        columns["frame"] += range(T)
        columns["variant"] += [fact["variant"]] * T
        columns["success"] += [fact["success"]] * T
        columns["segment"] += [SEGMENTS[s] for s in fact["segments"]]
        columns["value"] += (2 * v[:T] - 1).tolist()
        columns["progress"] += fact["progress"][:T].tolist()
        columns["oracle"] += fact["oracle"][:T].tolist()
    extra = {name: column for made in labels for name, column in made.columns.items()}
    table = pa.table(columns | extra)
    write_atomic(path, lambda beside: pq.write_table(table, beside))


def value_metrics(facts: Sequence[dict[str, Any]], values: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Metrics of held-out values in progress units p = 2V - 1, each a mean over episodes with a bootstrap interval.

    Rows: name, what, mean, low, high, n (episodes where it is defined), undefined (where it is not).
    """
    hesitation = SEGMENTS.index("hesitation")
    scores: dict[str, list[float]] = {}
    pooled_p, pooled_t = [], []
    for fact, v in zip(facts, values, strict=True):
        T = len(fact["segments"])
        p, oracle, progress = 2 * v[:T] - 1, fact["oracle"][:T], fact["progress"][:T]
        waiting = fact["segments"] == hesitation
        scores.setdefault("spearman_all", []).append(metrics.spearman(p, oracle))
        scores.setdefault("spearman_simulator", []).append(metrics.spearman(p, progress))
        if fact["variant"] == "expert":
            scores.setdefault("spearman_expert", []).append(metrics.spearman(p, oracle))
        if fact["success"]:
            scores.setdefault("spearman_success", []).append(metrics.spearman(p, oracle))
        if (fact["segments"] == SEGMENTS.index("retry")).any():
            scores.setdefault("retry_voc", []).append(metrics.retry_voc(p, oracle))
            scores.setdefault("retry_voc_simulator", []).append(metrics.retry_voc(p, progress))
        if waiting.any():
            clock = np.arange(T) / (T - 1)
            scores.setdefault("hesitation_drift", []).append(metrics.hesitation_drift(p, waiting))
            scores.setdefault("hesitation_drift_clock", []).append(metrics.hesitation_drift(clock, waiting))
        pooled_p.append(p)
        pooled_t.append(progress)
    success = np.array([f["success"] for f in facts])
    last = np.array([2 * v[len(f["segments"]) - 1] - 1 for f, v in zip(facts, values, strict=True)])
    rows = []
    for name, what in DESCRIPTIONS.items():
        defined = np.array([s for s in scores.get(name, []) if not np.isnan(s)])
        mean, low, high = bootstrap_mean(defined) if len(defined) else (np.nan,) * 3
        undefined = len(scores.get(name, [])) - len(defined)
        rows.append(
            {
                "name": name,
                "what": what,
                "mean": mean,
                "low": low,
                "high": high,
                "n": len(defined),
                "undefined": undefined,
            }
        )
    if success.any() and not success.all():
        rows.append(
            {
                "name": "success_gap", "what": "mean last value of successes minus failures (progress units)",
                "mean": float(last[success].mean() - last[~success].mean()), "low": None, "high": None, "n": len(last),
                "undefined": 0,
            }
        )  # fmt: skip
    pooled = metrics.spearman(np.concatenate(pooled_p), np.concatenate(pooled_t))
    rows.append(
        {"name": "spearman_pooled", "what": "Spearman with the simulator's progress, all frames of all episodes together",
         "mean": pooled, "low": None, "high": None, "n": len(facts), "undefined": 0}
    )  # fmt: skip
    return rows


DESCRIPTIONS = {
    "spearman_expert": "Spearman with the oracle return, expert episodes",
    "spearman_success": "Spearman with the oracle return, successful episodes",
    "spearman_all": "Spearman with the oracle return, all episodes",
    "spearman_simulator": "Spearman with the simulator's progress, all episodes",
    "retry_voc": "Retry-VOC: Spearman with the oracle return where it falls",
    "retry_voc_simulator": "Retry-VOC against the simulator's progress where that falls",
    "hesitation_drift": "change of the value over a hesitation (progress units)",
    "hesitation_drift_clock": "the same of a clock t / (T - 1)",
}
