"""The labels of a store by the rows of the LeRobotDataset it came from, whose files and numbers may be others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from episodes.labels import COLUMNS, NULL, Labels
from episodes.lerobot_layout import INFO_PATH
from episodes.store import Episodes
from episodes.store_index import named

Column = npt.NDArray[Any]
UNLABELLED: Mapping[str, Any] = {"value": np.nan, "advantage": np.nan, "weight": 0.0, "indicator": NULL}
"""What a row of an episode without labels has: it is not trained on."""


@dataclass(frozen=True)
class RowLabels:
    """Columns of labels for every row of a dataset, in the order of its `index`."""

    index: Column  # int64 (N,), dataset-wide
    episode: Column  # int64 (N,), the dataset's numbers
    frame: Column  # int64 (N,)
    columns: dict[str, Column]  # name -> (N,)
    unlabelled: tuple[int, ...]  # episodes of the dataset that have no labels


def dataset_info(root: Path) -> dict[str, Any]:
    """meta/info.json of a LeRobotDataset v3.0; anything else is a ValueError that names it."""
    with named(root / INFO_PATH, "name the folder of a LeRobotDataset v3.0"):
        info = json.loads((root / INFO_PATH).read_bytes())
        if not isinstance(info, dict) or not isinstance(info.get("features"), dict):
            raise ValueError("has no features")
        if info.get("codebase_version") != "v3.0":
            raise ValueError(f"is {info.get('codebase_version')!r}, expected v3.0; convert it with LeRobot first")
    return info


def data_files(root: Path) -> list[Path]:
    """The data files of a dataset in their order; none is a ValueError."""
    files = sorted((root / "data").rglob("*.parquet"))
    if not files:
        raise ValueError(f"{root / 'data'}: no data files; name the folder of a LeRobotDataset v3.0")
    return files


def row_labels(labels: Labels, store: Episodes, root: Path) -> RowLabels:
    """The labels of the steps of `store` for the rows of the dataset in `root`: its own folder, or its source.

    The last row of an imported episode is the store's final observation, whose action nothing follows: it has the
    labels of the row before it. Rows of episodes without labels are UNLABELLED.
    Errors (ValueError): labels of other episodes, a dataset that the store does not come from.
    """
    known = set(labels.episodes)
    view = store.select(lambda row: row["episode_index"] in known)
    labels.require_for(view)
    own = root.resolve() == store.path.resolve()
    mine: dict[int, dict[str, Any]] = {}
    for row in view.index:
        number = row["episode_index"] if own else json.loads(row["extra"]).get("source_episode")
        if number is None:
            raise ValueError(
                f"{store.path}: episode {row['episode_index']} was not imported from a dataset; leave source= out"
            )
        mine[int(number)] = row
    parts = []
    for path in data_files(root):
        with named(path, "name the dataset that the store was imported from"):
            parts.append(pq.read_table(path, columns=["index", "episode_index", "frame_index"], partitioning=None))
    index, episode, frame = (
        np.concatenate([part[name].to_numpy() for part in parts]) for name in ("index", "episode_index", "frame_index")
    )
    columns = {name: np.full(len(index), UNLABELLED[name], COLUMNS[name]) for name in labels.columns}
    for number, row in mine.items():
        at = np.flatnonzero(episode == number)
        T = row["length"] + (0 if own else 1)
        if not np.array_equal(np.sort(frame[at]), np.arange(T)):
            raise ValueError(
                f"{root}: episode {number} has {len(at)} rows, the store's episode {row['episode_index']} has {T}; "
                "name the dataset that it was imported from"
            )
        steps = np.minimum(frame[at], row["length"] - 1)
        for name, column in columns.items():
            column[at] = labels.column(name, row["episode_index"])[steps]
    missing = tuple(sorted(set(episode.tolist()) - set(mine)))
    return RowLabels(index, episode, frame, columns, missing)
