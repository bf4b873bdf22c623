"""Training windows: every frame decoded once, batches drawn by fancy indexing, step k the same after a restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from episodes.files import atomic_folder, make_once, write_atomic
from episodes.labels import NULL, Labels
from episodes.mapped import new_array
from episodes.store import Episodes
from episodes.store_index import named
from episodes.types import WEIGHTINGS, EnvSpec

Batch = dict[str, npt.NDArray[Any]]


class DecodedCache:
    """All episodes of a store or view as contiguous arrays, one episode after the other.

    images uint8 (N, V, H, W, 3) in the camera order of the EnvSpec, proprio float32 (N, P), progress float32 (N,): the
    N = sum (T_i + 1) frames, final observations included; actions float32 (M, A): the M = sum T_i steps. Per episode i:
    lengths (T_i), frame_offsets and step_offsets (first row), episodes (episode_index in the store), success,
    instructions. The arrays are read only.

    `folder`: keep the arrays in `folder/<content hash of the episodes>` and memory-map them, so that runs share them
    and images need not fit in memory; without it everything is held in memory.
    Errors: a malformed cached array is a ValueError naming it; no episodes is a ValueError.
    """

    def __init__(self, store: Episodes, folder: str | Path | None = None) -> None:
        rows = store.index
        if not rows:
            raise ValueError(f"{store.path}: no episodes to draw windows from; record some first")
        self.spec: EnvSpec = store.spec
        self.content_hash = store.content_hash
        self.lengths = np.array([row["length"] for row in rows], np.int64)
        self.episodes = np.array([row["episode_index"] for row in rows], np.int64)
        self.success = np.array([row["success"] for row in rows], np.bool_)
        self.instructions: list[str] = [row["tasks"][0] for row in rows]
        self.step_offsets = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        self.frame_offsets = self.step_offsets + np.arange(len(rows))
        M, N = int(self.lengths.sum()), int(self.lengths.sum()) + len(rows)
        shapes: dict[str, tuple[tuple[int, ...], Any]] = {
            "images": ((N, len(self.spec.cameras), *self.spec.image_size, 3), np.uint8),
            "proprio": ((N, self.spec.proprio_dim), np.float32),
            "progress": ((N,), np.float32),
            "actions": ((M, self.spec.action_dim), np.float32),
        }
        if folder is None:
            arrays: dict[str, npt.NDArray[Any]] = {name: np.empty(*shape) for name, shape in shapes.items()}
            self._fill(store, arrays)
        else:
            place = Path(folder) / self.content_hash
            make_once(place, place.exists, lambda: self._write(store, shapes, place))
            arrays = {name: _load(place / f"{name}.npy", shape) for name, shape in shapes.items()}
        for array in arrays.values():
            array.flags.writeable = False
        self.images: npt.NDArray[np.uint8] = arrays["images"]
        self.proprio: npt.NDArray[np.float32] = arrays["proprio"]
        self.progress: npt.NDArray[np.float32] = arrays["progress"]
        self.actions: npt.NDArray[np.float32] = arrays["actions"]

    def __len__(self) -> int:
        """The number of episodes."""
        return len(self.lengths)

    def frame_index(self, i: int | npt.NDArray[Any], t: int | npt.NDArray[Any]) -> Any:
        """Row of `images` of frame t (0..T, T is the final observation) of the i-th episode; arrays give arrays."""
        assert np.all((np.asarray(t) >= 0) & (np.asarray(t) <= self.lengths[i])), "frame outside its episode"
        return self.frame_offsets[i] + t

    def _fill(self, store: Episodes, arrays: dict[str, npt.NDArray[Any]]) -> None:
        for i, episode in enumerate(store):
            frame, step, T = self.frame_offsets[i], self.step_offsets[i], len(episode)
            for v, camera in enumerate(self.spec.cameras):
                arrays["images"][frame : frame + T + 1, v] = episode.images[camera]
            arrays["proprio"][frame : frame + T + 1] = episode.proprio
            arrays["progress"][frame : frame + T + 1] = episode.progress
            arrays["actions"][step : step + T] = episode.actions

    def _write(self, store: Episodes, shapes: dict[str, tuple[tuple[int, ...], Any]], place: Path) -> None:
        """Decode into a folder beside `place` and rename it there, so that a cache is whole or absent."""
        with atomic_folder(place) as beside:
            arrays = {name: new_array(beside / f"{name}.npy", kind, size) for name, (size, kind) in shapes.items()}
            self._fill(store, arrays)
            for array in arrays.values():
                array.flush()
            meta = {"cameras": self.spec.cameras, "made_from": str(store.path)}
            write_atomic(beside / "meta.json", json.dumps(meta) + "\n")


class ActionWindows:
    """Batches of (observation, next `chunk` actions) for the objective sum_i w_i l_i / sum_i w_i over all steps i.

    `labels` (optional) must cover every episode of the cache. `weighting`: "loss" draws every step equally often and
    leaves its weight to the loss; "sample" draws steps in proportion to their weight, which the loss then leaves out:
    the same gradient in expectation, and no sample is spent on steps that hardly count. A step of weight 0 is never
    drawn. Errors: no step left to draw, or labels that lack an episode, is a ValueError.
    """

    def __init__(
        self, cache: DecodedCache, labels: Labels | None = None, chunk: int = 8, weighting: str = "loss"
    ) -> None:
        if chunk < 1:
            raise ValueError(f"ActionWindows: chunk is {chunk}; use at least 1 action")
        if weighting not in WEIGHTINGS:
            raise ValueError(f"ActionWindows: weighting={weighting!r}; choose {' or '.join(WEIGHTINGS)}")
        self.cache, self.chunk = cache, chunk
        M = len(cache.actions)
        self.episode_of_step = np.repeat(np.arange(len(cache)), cache.lengths)  # position in the cache
        self.frame_of_step = np.arange(M) - cache.step_offsets[self.episode_of_step]
        self.weight = self._column(labels, "weight", np.ones(M, np.float32))
        self.indicator = self._column(labels, "indicator", np.full(M, NULL, np.int8))
        self.steps = np.flatnonzero(self.weight > 0)
        if len(self.steps) == 0:
            raise ValueError("ActionWindows: every weight is 0, nothing to learn from; check the labels")
        self._cumulated = np.cumsum(self.weight[self.steps], dtype=np.float64) if weighting == "sample" else None

    def __len__(self) -> int:
        """The number of steps that can be drawn."""
        return len(self.steps)

    def sample(self, rng: np.random.Generator, batch: int) -> Batch:
        """Draw B windows with replacement; the same generator state gives the same batch.

        images uint8 (B, V, H, W, 3); proprio float32 (B, P); actions float32 (B, K, A), the last action repeated past
        the episode's end; valid bool (B, K), true for real steps; weight float32 (B,), 1 without labels; indicator int8
        (B,), 2 (null) without labels; episode (B,), the episode_index in the store; frame (B,).
        """
        return self.gather(self.draw(rng, batch))

    def draw(self, rng: np.random.Generator, batch: int) -> npt.NDArray[np.int64]:
        """The rows (B,) of the cache's actions at which a batch's windows begin, drawn with replacement."""
        if self._cumulated is None:
            place = rng.integers(len(self.steps), size=batch)
        else:
            place = np.searchsorted(self._cumulated, rng.random(batch) * self._cumulated[-1], "right")
        drawn: npt.NDArray[np.int64] = self.steps[np.minimum(place, len(self.steps) - 1)]  # rounding may reach the end
        return drawn

    def gather(self, steps: npt.NDArray[np.int64]) -> Batch:
        """The windows that begin at the given rows (B,) of the cache's actions."""
        cache = self.cache
        i, t = self.episode_of_step[steps], self.frame_of_step[steps]
        ahead = t[:, None] + np.arange(self.chunk)  # (B, K)
        T = cache.lengths[i][:, None]
        frames = cache.frame_offsets[i] + t
        return {
            "images": np.asarray(cache.images[frames]),
            "proprio": np.asarray(cache.proprio[frames]),
            "actions": np.asarray(cache.actions[cache.step_offsets[i][:, None] + np.minimum(ahead, T - 1)]),
            "valid": ahead < T,
            "weight": self.weight[steps] if self._cumulated is None else np.ones(len(steps), np.float32),
            "indicator": self.indicator[steps],
            "episode": cache.episodes[i],
            "frame": t,
        }

    def batches(self, seed: int, batch_size: int, start_step: int = 0) -> Iterator[Batch]:
        """Endless batches; step k depends on (seed, k) alone, so a run resumed at k draws what it would have drawn."""
        step = start_step
        while True:
            yield self.sample(np.random.default_rng([seed, step]), batch_size)
            step += 1

    def _column(self, labels: Labels | None, name: str, default: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if labels is None or name not in labels:
            return default
        columns = [labels.column(name, int(e)) for e in self.cache.episodes]
        for column, episode, T in zip(columns, self.cache.episodes, self.cache.lengths, strict=True):
            if len(column) != T:
                raise ValueError(f"labels {labels.made_by}: episode {episode} has {len(column)} steps, the cache {T}")
        return np.concatenate(columns)


def _load(path: Path, shape: tuple[tuple[int, ...], Any]) -> npt.NDArray[Any]:
    with named(path, "delete its folder, it is decoded again"):
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.shape != shape[0] or array.dtype != np.dtype(shape[1]):
        found = f"{array.shape} {array.dtype}, expected {shape[0]} {np.dtype(shape[1])}"
        raise ValueError(f"{path}: {found}; delete its folder, it is decoded again")
    return array
