"""meta/stats.json of a store: what LeRobot's policies normalise with; a store is complete for LeRobot with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from episodes import lerobot_layout as layout
from episodes.files import write_atomic
from episodes.images import decode_png
from episodes.store import EpisodeStore
from episodes.video import all_frames

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
IMAGES = 1000  # frames of each camera that are looked at, spread evenly over the store
Stats = dict[str, dict[str, Any]]


def write_stats(path: str | Path) -> Stats:
    """Compute the statistics of all steps, write them to meta/stats.json and return them.

    Per feature: min, max, mean, std, quantiles (numbers per entry; images per channel, shape (3, 1, 1), in [0, 1], from
    IMAGES frames) and count. NaN (an unknown progress) is left out; a feature that is unknown everywhere has no entry.
    An append removes the file, so that there are the right statistics or none.
    Errors (ValueError): not a store, another writer, no episodes, a vector of one entry (LeRobot reads it as a number).
    Differs from LeRobot: quantiles are of all steps, not averaged over episodes.
    """
    with EpisodeStore(path, "a") as store:
        if not len(store):
            raise ValueError(f"{path}: no episodes to make statistics of; record some first")
        for name, width in (("observation.state", store.spec.proprio_dim), ("action", store.spec.action_dim)):
            if width == 1:
                raise ValueError(f"{path}: {name} has one entry, which LeRobot stores as a number; it cannot open this")
        stats = {**_images(store), **_numbers(store)}
        write_atomic(store.path / layout.STATS_PATH, json.dumps(stats, indent=4, allow_nan=False) + "\n")
        return stats


def _files(store: EpisodeStore) -> list[Path]:
    places = {(row["data/chunk_index"], row["data/file_index"]) for row in store.index}
    return [layout.file_path(store.path, layout.DATA_PATH, c * layout.CHUNK + f) for c, f in sorted(places)]


def _numbers(store: EpisodeStore) -> Stats:
    names = layout.data_schema(store.spec, "mp4").names
    table = pa.concat_tables([pq.read_table(file, columns=names, partitioning=None) for file in _files(store)])
    stats = {}
    for name in names:
        column = table[name].combine_chunks()
        if pa.types.is_fixed_size_list(column.type):
            values = pc.list_flatten(column).to_numpy().reshape(len(table), -1)
        else:
            values = column.to_numpy(zero_copy_only=False).reshape(-1, 1)
        if found := number_stats(values):
            stats[name] = found
    return stats


def number_stats(values: npt.NDArray[Any]) -> dict[str, Any]:
    """The statistics of a column of numbers (N, D), rows with a NaN left out; empty where nothing is known."""
    known = values[~np.isnan(values).any(axis=1)].astype(np.float64)
    if not len(known):
        return {}
    return {
        "min": known.min(0).tolist(),
        "max": known.max(0).tolist(),
        "mean": known.mean(0).tolist(),
        "std": known.std(0).tolist(),
        "count": [len(known)],
        **{q: np.quantile(known, at, axis=0).tolist() for q, at in QUANTILES.items()},
    }


def _images(store: EpisodeStore) -> Stats:
    frames = sum(row["length"] for row in store.index)
    wanted = np.unique(np.linspace(0, frames - 1, min(frames, IMAGES)).round().astype(int))
    histogram = {camera: np.zeros((3, 256), np.int64) for camera in store.spec.cameras}
    if store.encoding != "png":
        _count_videos(store, wanted, histogram)
        return _of_histograms(histogram, len(wanted))
    first = 0  # dataset-wide index of a row group's first frame
    for path in _files(store):
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            at = wanted[(wanted >= first) & (wanted < first + rows)] - first
            first += rows
            if not len(at):
                continue
            table = file.read_row_group(group, [layout.image_key(camera) for camera in histogram])
            for camera, counts in histogram.items():
                column = table[layout.image_key(camera)].combine_chunks().take(pa.array(at))
                for png in pc.struct_field(column, "bytes"):
                    image = decode_png(png.as_buffer(), store.spec.image_size)
                    for channel in range(3):
                        counts[channel] += np.bincount(image[..., channel].reshape(-1), minlength=256)
    return _of_histograms(histogram, len(wanted))


def _count_videos(store: EpisodeStore, wanted: npt.NDArray[Any], histogram: dict[str, npt.NDArray[np.int64]]) -> None:
    for row in store.index:
        first = row["dataset_from_index"]
        for camera, counts in histogram.items():
            at = first
            for block in all_frames(layout.video_path(store.path, camera, row["episode_index"]), store.spec.image_size):
                for t in wanted[(wanted >= at) & (wanted < min(at + len(block), first + row["length"]))] - at:
                    for channel in range(3):
                        counts[channel] += np.bincount(block[t, ..., channel].reshape(-1), minlength=256)
                at += len(block)


def _of_histograms(histogram: dict[str, npt.NDArray[np.int64]], n: int) -> Stats:
    return {layout.image_key(c): _of_histogram(counts) | {"count": [n]} for c, counts in histogram.items()}


def _of_histogram(counts: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Statistics per channel, each of shape (3, 1, 1), of pixels / 255 from their counts (3, 256)."""
    level = np.arange(256) / 255
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ level
    variance = (share * (level - mean[:, None]) ** 2).sum(1)
    below = np.cumsum(share, axis=1)
    seen = counts > 0
    stats = {
        "min": level[seen.argmax(1)],
        "max": level[255 - seen[:, ::-1].argmax(1)],
        "mean": mean,
        "std": np.sqrt(variance),
        **{q: level[(below >= at - 1e-12).argmax(1)] for q, at in QUANTILES.items()},
    }
    return {name: values.reshape(3, 1, 1).tolist() for name, values in stats.items()}
