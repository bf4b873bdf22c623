"""Files of labels that lie beside a dataset, in the layouts that other programs read (facts of the formats).

progress   LeRobot's RA-BC: sarm_progress.parquet with index, episode_index, frame_index, progress_sparse
weights    LeRobot's static sample weights: index, weight
rlinf      RLinf's classifier-free guidance: meta/advantages_TAG.parquet with episode_index, frame_index, advantage
           (bool) and, beside it, advantage_continuous
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from episodes.exporting.rows import Column, RowLabels
from episodes.files import write_atomic
from episodes.labels import POSITIVE

FORMATS = ("progress", "weights", "rlinf")


def table_of(rows: RowLabels, form: str, scale: str) -> pa.Table:
    """The table of one format; labels that lack what it needs are a ValueError. scale: of the values, viva or recap."""
    order = np.argsort(rows.index, kind="stable")
    index, episode, frame = (x[order].astype(np.int64) for x in (rows.index, rows.episode, rows.frame))
    columns: dict[str, Column]
    if form == "progress":
        V = _column(rows, "value", form)[order]
        progress = 2 * V - 1 if scale == "viva" else 1 + V
        columns = {"index": index, "episode_index": episode, "frame_index": frame, "progress_sparse": progress}
        return pa.table({k: pa.array(v, from_pandas=False) for k, v in columns.items()})
    if form == "weights":
        return pa.table({"index": index, "weight": _column(rows, "weight", form)[order].astype(np.float32)})
    columns = {"episode_index": episode, "frame_index": frame}
    if "indicator" in rows.columns:
        columns["advantage"] = rows.columns["indicator"][order] == POSITIVE
    else:  # kept by a filter, or weighing more than the mean
        weight = _column(rows, "weight", form)[order]
        columns["advantage"] = weight > weight.mean() if np.ptp(weight) else weight > 0
    if "advantage" in rows.columns:
        columns["advantage_continuous"] = rows.columns["advantage"][order].astype(np.float32)
    return pa.table({k: pa.array(v, from_pandas=False) for k, v in columns.items()})


def write_table(rows: RowLabels, form: str, folder: Path, scale: str, tag: str) -> Path:
    """Write the file of a format below a folder, in one step, and return its path; one that is there is replaced."""
    if not re.fullmatch(r"[\w.-]+", tag):
        raise ValueError(f"tag={tag!r}: use letters, digits, dots, - and _")
    name = {"progress": "sarm_progress.parquet", "weights": "sample_weights.parquet"}.get(form)
    path = folder / (name or f"meta/advantages_{tag}.parquet")
    table = table_of(rows, form, scale)
    write_atomic(path, lambda beside: pq.write_table(table, beside))
    return path


def _column(rows: RowLabels, name: str, form: str) -> Column:
    if name not in rows.columns:
        way = "foresight label" if name == "value" else "foresight advantage STORE method=awr"
        raise ValueError(f"format={form} needs the column {name!r}, these labels have {sorted(rows.columns)}; {way}")
    return rows.columns[name]
