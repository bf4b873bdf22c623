"""Labels: what a value function or a labeller says about every step, in a file beside the data it speaks of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from episodes.files import write_atomic
from episodes.store import Episodes
from episodes.store_index import named

Column = npt.NDArray[Any]
COLUMNS: dict[str, Any] = {"value": np.float32, "advantage": np.float32, "weight": np.float32, "indicator": np.int8}
"""The columns there are and their types; all are optional."""
NEGATIVE, POSITIVE, NULL = 0, 1, 2
"""The values of `indicator`: the advantage is below, above the threshold, or not said (unconditional)."""
_FORMAT, _VERSION = "foresight-labels", 1


@dataclass(frozen=True, eq=False, repr=False)
class Labels:
    """Columns keyed (episode, frame) for the steps t = 0..T-1 of the episodes of a store or view.

    value, advantage, weight float32 and indicator int8 (0 negative, 1 positive, 2 null), each optional. `made_by` and
    `made_by_hash` name what made them (a labeller, a checkpoint), `store_hash` is the content hash of the episodes.
    """

    made_by: str
    made_by_hash: str
    store_hash: str
    episodes: tuple[int, ...]  # episode_index in the store
    lengths: tuple[int, ...]
    columns: dict[str, Column]  # name -> all steps, one episode after the other
    _span: dict[int, tuple[int, int]] = field(init=False)  # first and last + 1 row of each episode

    @classmethod
    def from_arrays(
        cls,
        store: Episodes,
        made_by: str,
        *,
        made_by_hash: str = "",
        value: Sequence[npt.ArrayLike] | None = None,
        advantage: Sequence[npt.ArrayLike] | None = None,
        weight: Sequence[npt.ArrayLike] | None = None,
        indicator: Sequence[npt.ArrayLike] | None = None,
    ) -> Labels:
        """Labels from one array (T,) per episode and column, in the order of `store`.

        Errors (ValueError, naming column and episode): a missing episode, a length that is not T, a number that is not
        finite, a weight below 0, an indicator outside {0, 1, 2}.
        """
        rows = store.index
        columns = {}
        given = {"value": value, "advantage": advantage, "weight": weight, "indicator": indicator}
        for name, arrays in given.items():
            if arrays is None:
                continue
            if len(arrays) != len(rows):
                raise ValueError(f"labels {made_by}: {name} has {len(arrays)} episodes, the store {len(rows)}")
            checked = [_checked(array, name, row, made_by) for array, row in zip(arrays, rows, strict=True)]
            columns[name] = np.concatenate([*checked, np.empty(0, COLUMNS[name])], dtype=COLUMNS[name])
        episodes, lengths = [row["episode_index"] for row in rows], [row["length"] for row in rows]
        return cls(made_by, made_by_hash, store.content_hash, tuple(episodes), tuple(lengths), columns)

    def __post_init__(self) -> None:
        ends = np.cumsum(self.lengths, dtype=np.int64)
        span = {e: (int(end) - n, int(end)) for e, n, end in zip(self.episodes, self.lengths, ends, strict=True)}
        object.__setattr__(self, "_span", span)

    def __repr__(self) -> str:
        names = ", ".join(self.columns) or "no columns"
        return f"Labels({names} of {len(self.episodes)} episodes, {sum(self.lengths)} steps, by {self.made_by})"

    def __contains__(self, name: str) -> bool:
        """Whether there is a column of this name."""
        return name in self.columns

    def column(self, name: str, episode: int) -> Column:
        """One column of one episode, shape (T,), by its episode_index; an absent column or episode is a ValueError."""
        if name not in self.columns:
            raise ValueError(f"labels {self.made_by}: no column {name!r}, there is {sorted(self.columns)}; make it")
        if episode not in self._span:
            raise ValueError(f"labels {self.made_by}: no episode {episode}; label the store that contains it")
        start, end = self._span[episode]
        return self.columns[name][start:end]

    def require_for(self, store: Episodes) -> None:
        """Raise a ValueError unless these labels were made for exactly the episodes of `store`."""
        if self.store_hash != store.content_hash:
            raise ValueError(
                f"labels {self.made_by}: made for episodes {self.store_hash[:12]}, not for {store.path} "
                f"({store.content_hash[:12]}); label this store"
            )

    @property
    def content_hash(self) -> str:
        """SHA-256 over the episodes, what made the labels, and every column."""
        digest = hashlib.sha256(json.dumps([self.made_by, self.made_by_hash, self.store_hash]).encode())
        digest.update(json.dumps([self.episodes, self.lengths]).encode())
        for name in sorted(self.columns):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(self.columns[name]).data)
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write a Parquet file with columns episode, frame and those present, in one step."""
        columns: dict[str, Any] = {
            "episode": np.repeat(np.array(self.episodes, np.int64), self.lengths),
            "frame": np.concatenate([*map(np.arange, self.lengths), np.empty(0, np.int64)], dtype=np.int64),
        }
        head = {"format": _FORMAT, "version": _VERSION, "made_by": self.made_by, "made_by_hash": self.made_by_hash}
        head |= {"store_hash": self.store_hash, "episodes": self.episodes, "lengths": self.lengths}
        head |= {"content_hash": self.content_hash}
        table = pa.table(columns | self.columns).replace_schema_metadata({"foresight": json.dumps(head)})
        write_atomic(path, lambda file: pq.write_table(table, file, write_page_checksum=True))

    @classmethod
    def load(cls, path: str | Path, store: Episodes | None = None) -> Labels:
        """Read what `save` wrote; with `store`, also require that they were made for it.

        Errors: a missing or malformed file, or labels of other episodes, is a ValueError.
        """
        with named(Path(path), "make the labels again"):
            table = pq.read_table(path, page_checksum_verification=True)
            head = json.loads((table.schema.metadata or {}).get(b"foresight", b"null"))
            if not isinstance(head, dict) or (head.get("format"), head.get("version")) != (_FORMAT, _VERSION):
                raise ValueError(f"not a {_FORMAT} file of version {_VERSION}")
            names = [name for name in table.column_names if name not in ("episode", "frame")]
            for name in sorted(set(names) - set(COLUMNS)):
                raise ValueError(f"unknown column {name!r}")
            columns = {name: table[name].to_numpy().astype(COLUMNS[name], casting="safe") for name in names}
            episodes, lengths = _whole(head, "episodes"), _whole(head, "lengths")
            if len(episodes) != len(lengths) or len(table) != sum(lengths):
                raise ValueError("its columns do not have one entry per step")
            keys = np.repeat(np.array(episodes, np.int64), lengths)
            frames = np.concatenate([*map(np.arange, lengths), np.empty(0, np.int64)], dtype=np.int64)
            if not (np.array_equal(table["episode"], keys) and np.array_equal(table["frame"], frames)):
                raise ValueError("its episode and frame columns do not fit its head")
            for name, column in columns.items():
                _check_numbers(column, name, f"its {name}")
            made = (head["made_by"], head["made_by_hash"], head["store_hash"])
            if not all(isinstance(text, str) for text in made):
                raise ValueError("made_by, made_by_hash and store_hash are not text")
            labels = cls(*made, episodes, lengths, columns)
            if head.get("content_hash", labels.content_hash) != labels.content_hash:
                raise ValueError("its content is not what was written: the file was changed or damaged")
        if store is not None:
            labels.require_for(store)
        return labels


def _checked(array: npt.ArrayLike, name: str, row: dict[str, Any], made_by: str) -> Column:
    what = f"labels {made_by}: {name} of episode {row['episode_index']}"
    values = np.asarray(array)
    if values.shape != (row["length"],):
        raise ValueError(
            f"{what} has shape {values.shape}, expected ({row['length']},); one entry per step, without the final "
            "observation's"
        )
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{what} is {values.dtype}; give numbers")
    _check_numbers(values, name, what)
    return values.astype(COLUMNS[name])


def _check_numbers(values: Column, name: str, what: str) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"{what} is not finite at frame {int((~np.isfinite(values)).argmax())}; leave the episode out")
    if name == "weight" and (values < 0).any():
        raise ValueError(f"{what} is negative at frame {int((values < 0).argmax())}; a weight is at least 0")
    if name == "indicator" and not np.isin(values, (NEGATIVE, POSITIVE, NULL)).all():
        raise ValueError(f"{what} has values outside 0 (negative), 1 (positive), 2 (null)")


def _whole(head: dict[str, Any], name: str) -> tuple[int, ...]:
    values = head[name]
    if not isinstance(values, list) or not all(type(v) is int and v >= 0 for v in values):
        raise ValueError(f"its {name} are not a list of whole numbers")
    return tuple(values)
