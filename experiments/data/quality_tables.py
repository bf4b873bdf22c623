"""Tables of data sets by quality: a row per store, a row per episode, and which episodes each threshold keeps."""

from __future__ import annotations

import csv
import io
from typing import Any

from episodes.store import Episodes
from valuefns.gvl.quality import Quality, keep
from valuefns.gvl.success import THRESHOLDS, threshold_sweep


def table(ranking: list[dict[str, Any]]) -> str:
    """The ranking as a table of text."""
    lines = ["| store | VOC | 95 % | defined | episodes | chance spread | missing values | GVL-SD acc / prec / rec |"]
    lines.append("|" + "---|" * 8)
    for row in ranking:
        told = " / ".join(f"{row[k]:.2f}" for k in ("accuracy", "precision", "recall"))
        lines.append(
            f"| {row['store']} | {row['voc']:.2f} | {row['voc_low']:.2f} to {row['voc_high']:.2f} "
            f"| {row['defined']:.2f} | {row['episodes']} | {row['null_spread']:.3f} "
            f"| {row['missing_values']} | {told} |"
        )
    return "\n".join(lines) + "\n"


def success_figures(store: Episodes, quality: Quality, threshold: float) -> dict[str, float]:
    """GVL-SD: how well a VOC above the threshold tells which episodes succeed."""
    sweep = threshold_sweep(quality.vocs, [row["success"] for row in store.index], (threshold,))
    return {k: sweep[0][k] for k in ("kept", "accuracy", "precision", "recall")}


def kept_episodes(store: Episodes, quality: Quality) -> dict[str, Any]:
    """Which episodes each threshold keeps, and the figures of every threshold."""
    numbers = [row["episode_index"] for row in store.index]
    return {
        "kept": {f"{t:g}": [numbers[i] for i in keep(quality.vocs, t)] for t in THRESHOLDS},
        "sweep": threshold_sweep(quality.vocs, [row["success"] for row in store.index]),
    }


def episode_rows(store: Episodes, quality: Quality) -> list[dict[str, Any]]:
    """A row per episode of a store."""
    return [
        {"store": str(store.path), "episode": row["episode_index"], "voc": voc, "values": n, "missing": missing,
         "success": row["success"], "variant": row["variant"]}
        for row, voc, n, missing in zip(store.index, quality.vocs, quality.frames, quality.missing, strict=True)
    ]  # fmt: skip


def csv_text(rows: list[dict[str, Any]]) -> str:
    """Rows of the same columns as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
