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


def episode_facts(store: Episodes) -> list[dict[str, Any]]:
    """Per episode: the oracle return (T + 1,), the simulator's progress (T + 1,), segments (T,), variant, success."""
    loaded = [(episode, episode.segments) for episode in store]
    paces = [_pace(episode) for episode, _ in loaded if episode.success]
    rate = float(np.median(paces)) if paces else np.nan  # a store of failures has no oracle return
    return [
        {
            "oracle": _oracle(e, rate),
            "progress": e.progress,
            "segments": segments,
            "variant": e.provenance.variant,
            "success": e.success,
        }
        for e, segments in loaded
    ]


def _oracle(episode: Episode, rate: float) -> np.ndarray:
    """The oracle return; NaN for a success by accident, in the middle of a mistake, whose labels net no advance."""
    try:
        return oracle_return(episode.segments, episode.success, None if episode.success else rate)
    except ValueError:
        return np.full(len(episode) + 1, np.nan)


def _pace(episode: Episode) -> float:
    """Progress per advancing step of a success; failures are drawn with the median of these."""
    net = (episode.segments == SEGMENTS.index("advance")).sum() - (episode.segments == SEGMENTS.index("retry")).sum()
    return 1.0 / max(1, int(net))


def write_frames(
    path: Path, facts: Sequence[dict[str, Any]], values: Sequence[np.ndarray], labels: Sequence[Labels]
) -> None:
    """Write frames.parquet: one row per step with value (progress units), episode_facts and the labels' columns."""
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

    Rows: name, what, mean, low, high, n (episodes where it is defined), undefined (where it is not), scores of each.
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
    rows = [_row(name, what, np.array(scores.get(name, []))) for name, what in DESCRIPTIONS.items()]
    success = np.array([f["success"] for f in facts])
    last = np.array([2 * v[len(f["segments"]) - 1] - 1 for f, v in zip(facts, values, strict=True)])
    gap = last[success].mean() - last[~success].mean() if success.any() and not success.all() else np.nan
    pooled = metrics.spearman(np.concatenate(pooled_p), np.concatenate(pooled_t))
    for name, what, mean in (
        ("success_gap", "mean last value of successes minus that of failures (progress units)", float(gap)),
        ("spearman_pooled", "Spearman with the simulator's progress, the frames of all episodes together", pooled),
    ):
        row = {"name": name, "what": what, "mean": mean, "low": None, "high": None}
        rows.append(row | {"n": len(facts), "undefined": 0, "scores": []})
    return rows


def _row(name: str, what: str, scores: np.ndarray) -> dict[str, Any]:
    defined = scores[~np.isnan(scores)]
    mean, low, high = bootstrap_mean(defined)
    counts = {"n": len(defined), "undefined": len(scores) - len(defined), "scores": defined.tolist()}
    return {"name": name, "what": what, "mean": mean, "low": low, "high": high} | counts


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
