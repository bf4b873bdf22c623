"""Labels of a store by any value function, block by block, and the mean VOC that they come to."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from episodes.files import make_once, refuse_link, remove, sha256_file
from episodes.intervals import bootstrap_mean
from episodes.labels import Labels
from episodes.progress import progress
from episodes.store import EpisodeStore
from experiments.loop.run_folder import read_json, write_json
from networks.settings import LatentsConfig
from valuefns.bench.metrics import sampled, voc
from valuefns.bench.probes import PROBES
from valuefns.make import load_value, make_value
from valuefns.protocol import ValueFunction
from valuefns.registry import VALUES

BLOCK = 16  # episodes scored between two writes


def named_value(name: str, device: str) -> tuple[ValueFunction, str]:
    """The value function of a folder or of a probe's name, and the hash of what it is made of."""
    if name == "oracle" or name in PROBES:
        return make_value(VALUES.settings(name)(name), LatentsConfig()), name
    folder = Path(name)
    weights = folder / "model.safetensors"
    if not weights.exists():
        raise ValueError(f"value={name}: no folder of a trained value, and none of oracle, {', '.join(PROBES)}")
    files = [p for p in sorted(folder.rglob("*")) if p.name in ("model.safetensors", "config.json")]
    parts = [sha256_file(path) for path in files]
    return load_value(folder, device), hashlib.sha256("".join(parts).encode()).hexdigest()


def label(store: EpisodeStore, value: ValueFunction, value_hash: str) -> tuple[Labels, Path, dict[int, str]]:
    """Labels with the column `value` for the episodes that could be scored; the others with the reason.

    Values are in the value's own scale. They are kept in blocks until all are there, so that a stopped run continues.
    """
    path = store.path / "labels" / f"{value.name}-{value_hash[:12]}-{store.content_hash[:12]}.parquet"
    head = path.with_suffix(".json")
    refuse_link(path.parent, "a store's labels folder")
    make_once(path, lambda: path.exists() and head.exists(), lambda: _make(store, value, value_hash, path, head))
    failed = {int(k): v for k, v in read_json(head, dict, "delete it and label again")["failed"].items()}
    return Labels.load(path, _kept(store, failed)), path, failed


def _make(store: EpisodeStore, value: ValueFunction, value_hash: str, path: Path, head: Path) -> None:
    values: list[np.ndarray] = []
    failed: dict[int, str] = {}
    with progress(store.path.name, len(store)) as bar:
        for start in range(0, len(store), BLOCK):
            part = path.with_suffix(f".part-{start // BLOCK:05d}.json")
            rest = range(start, min(start + BLOCK, len(store)))
            if not part.exists():
                write_json(part, [_scored(store, i, value) for i in rest])
            for i, made in enumerate(read_json(part, list, "delete it and label again"), start):
                if isinstance(made, str):
                    failed[store.index[i]["episode_index"]] = made
                else:
                    values.append(np.array(made, np.float32))
            bar.advance(len(rest))
    Labels.from_arrays(_kept(store, failed), value.name, made_by_hash=value_hash, value=values).save(path)
    write_json(head, {"failed": failed, "value": value.name, "scale": value.scale})
    for part in path.parent.glob(f"{path.stem}.part-*.json"):
        remove(part)


def _kept(store: EpisodeStore, failed: dict[int, str]):  # type: ignore[no-untyped-def]
    return store.select(lambda row: row["episode_index"] not in failed)


def _scored(store: EpisodeStore, i: int, value: ValueFunction) -> list[float] | str:
    """The values (T,) of the i-th episode, or why there are none: one bad episode never stops the others."""
    try:
        episode = store[i]
        values = np.asarray(value.score(episode), np.float32)[: len(episode)]
        if values.shape != (len(episode),) or not np.isfinite(values).all():
            raise ValueError(f"{values.shape} values for {len(episode)} steps, or one that is not finite")
        return [float(v) for v in values]
    except (ValueError, FloatingPointError) as error:
        return str(error)


def mean_voc(store: EpisodeStore, labels: Labels, fps: float | None) -> dict[str, float | int | str]:
    """Mean VOC of a store's successful episodes, or of all where none is one: mean, low, high, n, undefined."""
    rows = [row for row in store.index if row["episode_index"] in labels.episodes]
    rows = [row for row in rows if row["success"]] or rows
    scores = [voc(labels.column("value", r["episode_index"])[sampled(r["length"], r["hz"], fps)]) for r in rows]
    defined = [s for s in scores if not np.isnan(s)]
    mean, low, high = bootstrap_mean(defined)
    return {"store": str(store.path), "voc": mean, "low": low, "high": high, "n": len(defined),
            "undefined": len(scores) - len(defined)}  # fmt: skip
