"""Labels of a store by any value function, block by block, and the mean VOC that they come to."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np

from episodes.files import make_once, refuse_link, remove, sha256_file
from episodes.intervals import bootstrap_mean
from episodes.labels import Labels
from episodes.progress import progress
from episodes.store import Episodes, EpisodeStore
from episodes.store_index import named
from episodes.types import Episode
from experiments.loop.addresses import digest
from experiments.loop.run_folder import read_json, write_json
from networks.hub import SAVED
from networks.settings import LatentsConfig
from valuefns.bench.metrics import sampled, voc
from valuefns.bench.probes import PROBES
from valuefns.learned import LearnedValue
from valuefns.make import make_value, value_class
from valuefns.protocol import ValueFunction
from valuefns.saved import SavedValue
from valuefns.trained_on import seen_episodes

BLOCK = 16  # episodes scored between two writes
AGAIN = "delete it and label again"


def require_applied(config: Any, does: str) -> None:
    """A ValueError for a value that would have to be trained first, on what it is to speak about."""
    if issubclass(value_class(config.name), LearnedValue):
        raise ValueError(
            f"valuefn={config.name} would learn from what it {does}: train it (foresight train), then valuefn=FOLDER; "
            "or use valuefn=gvl"
        )


def chosen_value(config: Any, seed: int, device: str) -> tuple[ValueFunction, str]:
    """The value function of some settings, and the hash of all that it is made of."""
    value = make_value(config, LatentsConfig(), seed, device)
    if isinstance(value, SavedValue):
        files = [p for p in sorted(value.folder.rglob("*")) if p.name in SAVED]
        return value, hashlib.sha256("".join(map(sha256_file, files)).encode()).hexdigest()
    if config.name == "oracle" or config.name in PROBES:
        return value, str(config.name)
    code = inspect.getsourcefile(type(value)) if ":" in config.name else None  # of others the format tells
    return value, digest(config, seed, sha256_file(code) if code else "")


def label(store: EpisodeStore, value: ValueFunction, value_hash: str) -> tuple[Labels, Path, dict[int, str]]:
    """Labels with the column `value` for the episodes that could be scored; the others with the reason.

    Values are in the value's own scale. They are kept in blocks until all are there, so that a stopped run continues.
    """
    path = store.path / "labels" / f"{value.name}-{value_hash[:12]}-{store.content_hash[:12]}.parquet"
    head = path.with_suffix(".json")
    refuse_link(path.parent, "a store's labels folder")
    make_once(path, lambda: path.exists() and head.exists(), lambda: _make(store, value, value_hash, path, head))
    facts = read_json(head, dict, AGAIN)
    with named(head, AGAIN):
        failed = {int(k): str(v) for k, v in facts["failed"].items()}
    with named(path, AGAIN):
        return Labels.load(path, _kept(store, failed)), path, failed


def _finite(made: object, T: int) -> np.ndarray:
    """The values (T + 1,) of an episode as a part's file gives them, or (T,) in one of an older version."""
    with np.errstate(over="ignore"):  # refused below
        values = np.array(made, np.float32)
    if values.shape not in ((T + 1,), (T,)) or not np.isfinite(values).all():
        raise ValueError(f"holds values of shape {values.shape}, expected {T + 1} finite ones")
    return values


def _make(store: EpisodeStore, value: ValueFunction, value_hash: str, path: Path, head: Path) -> None:
    values: list[np.ndarray] = []
    failed: dict[int, str] = {}
    final: dict[int, float] = {}
    rows = store.index
    with progress(store.path.name, len(store)) as bar:
        for start in range(0, len(store), BLOCK):
            part = path.with_suffix(f".part-{start // BLOCK:05d}.json")
            rest = range(start, min(start + BLOCK, len(store)))
            if not part.exists():
                write_json(part, _scored(store, rest, value))
            found = read_json(part, list, AGAIN)
            with named(part, AGAIN):
                for row, made in zip(rows[start : start + BLOCK], found, strict=True):
                    episode, T = row["episode_index"], row["length"]
                    if isinstance(made, str):
                        failed[episode] = made
                    else:
                        scores = _finite(made, T)
                        values.append(scores[:T])
                        final[episode] = float(scores[-1])  # a block of an older version lacks that of the last frame
            bar.advance(len(rest))
    Labels.from_arrays(_kept(store, failed), value.name, made_by_hash=value_hash, value=values).save(path)
    write_json(head, {"failed": failed, "value": value.name, "scale": value.scale, "final": final})
    for part in path.parent.glob(f"{path.stem}.part-*.json"):
        remove(part)


def require_unseen(value: ValueFunction, store: Episodes) -> None:
    """A ValueError where a value was trained on some of the episodes that it is to rank."""
    if seen := seen_episodes(getattr(value, "trained_on", None), store):
        raise ValueError(
            f"{store.path}: the value {value.name!r} was trained on {len(seen)} of its {len(store)} episodes (the "
            f"first is episode {seen[0]}), which it ranks too well; rank others, or by another value"
        )


def _kept(store: EpisodeStore, failed: dict[int, str]):  # type: ignore[no-untyped-def]
    return store.select(lambda row: row["episode_index"] not in failed)


def _scored(store: EpisodeStore, block: range, value: ValueFunction) -> list[list[float] | str]:
    """The values (T + 1,) of each episode of a block, or why there are none: one bad episode never stops the others.

    A value that gains by it is asked about all of them at once; where that fails, about each by itself.
    """
    if hasattr(value, "backend"):
        try:
            episodes = [store[i] for i in block]
            return [_numbers(v, e) for v, e in zip(value.score_all(episodes), episodes, strict=True)]
        except (ValueError, FloatingPointError):
            pass  # each is told its own reason below
    return [_one(store, i, value) for i in block]


def _one(store: EpisodeStore, i: int, value: ValueFunction) -> list[float] | str:
    try:
        episode = store[i]
        return _numbers(value.score(episode), episode)
    except (ValueError, FloatingPointError) as error:
        return str(error)


def _numbers(values: np.ndarray, episode: Episode) -> list[float] | str:
    values, T = np.asarray(values, np.float32), len(episode)
    if values.shape != (T + 1,):
        return f"{values.shape} values for {T + 1} frames"
    if not np.isfinite(values).all():
        return f"the value of frame {int((~np.isfinite(values)).argmax())} is not finite, or the model gave none"
    return [float(v) for v in values]


def mean_voc(store: EpisodeStore, labels: Labels, fps: float | None) -> dict[str, float | int | str]:
    """Mean VOC of a store's successful episodes, or of all where none is one: mean, low, high, n, undefined."""
    rows = [row for row in store.index if row["episode_index"] in labels.episodes]
    rows = [row for row in rows if row["success"]] or rows
    scores = [voc(labels.column("value", r["episode_index"])[sampled(r["length"], r["hz"], fps)]) for r in rows]
    defined = [s for s in scores if not np.isnan(s)]
    mean, low, high = bootstrap_mean(defined)
    return {"store": str(store.path), "voc": mean, "low": low, "high": high, "n": len(defined),
            "undefined": len(scores) - len(defined)}  # fmt: skip
