"""Stores whose pictures are videos, and episodes longer than a row group: the same episodes, block by block."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import episodes.encoded as encoded
import episodes.frames as frames
from episodes.frames import Frames
from episodes.lerobot_stats import write_stats
from episodes.store import EpisodeStore
from tests.helpers.some_episodes import assert_same, make_episode, make_spec


@pytest.mark.parametrize("size", [(8, 12), (9, 13)])
@pytest.mark.parametrize("encoding", ["png", "mp4 lossless"])
def test_lossless_encodings_give_the_same_episodes(tmp_path: Path, encoding: str, size: tuple[int, int]) -> None:
    spec = make_spec(image_size=size)
    made = [make_episode(i, 4 + i, spec=spec) for i in range(3)]
    with EpisodeStore.create(tmp_path / "s", spec, encoding) as store:
        store.append(made[:2])
        store.append(made[2:])
    store = EpisodeStore(tmp_path / "s")
    assert store.encoding == encoding and len(store) == 3
    for episode, truth in zip(store, made, strict=True):
        assert_same(episode, truth)
    with EpisodeStore.create(tmp_path / "p", spec) as other:
        other.append(made)
    assert store.content_hash == EpisodeStore(tmp_path / "p").content_hash
    stats = write_stats(tmp_path / "s")
    assert stats == write_stats(tmp_path / "p")


def test_a_lossy_store_is_close_and_hashed_as_it_is_read(tmp_path: Path) -> None:
    spec = make_spec(image_size=(32, 48))
    level = np.linspace(0, 200, 6, dtype=np.uint8)[:, None, None, None]
    smooth = {c: np.broadcast_to(level, (6, 32, 48, 3)).copy() for c in spec.cameras}
    episode = make_episode(0, 5, spec=spec, images=smooth)
    with EpisodeStore.create(tmp_path / "s", spec, "mp4") as store:
        store.append([episode])
    read = EpisodeStore(tmp_path / "s")[0]
    assert np.abs(read.images["front"].astype(int) - smooth["front"]).max() < 8
    with EpisodeStore.create(tmp_path / "p", spec) as store:
        store.append([dataclasses.replace(episode, images=read.images)])
    assert EpisodeStore(tmp_path / "s").content_hash == EpisodeStore(tmp_path / "p").content_hash


def test_a_damaged_or_missing_video_is_named(tmp_path: Path) -> None:
    spec = make_spec()
    with EpisodeStore.create(tmp_path / "s", spec, "mp4 lossless") as store:
        store.append([make_episode(0, spec=spec)])
    path = tmp_path / "s/videos/observation.images.wrist/chunk-000/file-000.mp4"
    path.write_bytes(path.read_bytes()[:-9] + bytes(9))
    with pytest.raises(ValueError, match=r"wrist/chunk-000/file-000.mp4: its SHA-256"):
        EpisodeStore(tmp_path / "s")[0]
    path.unlink()
    with pytest.raises(ValueError, match=r"file-000.mp4: missing, but the episode index mentions it"):
        EpisodeStore(tmp_path / "s")


def test_a_long_episode_is_written_and_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are made a block at a time, lie in a file beyond a bound, and fill several row groups."""
    spec = make_spec()
    truth = make_episode(0, 40, spec=spec)
    monkeypatch.setattr(encoded, "SPOOL", 500)
    monkeypatch.setattr(encoded, "GROUP", 3000)
    monkeypatch.setattr(frames, "BLOCK", 5 * 8 * 12 * 3)
    largest = []

    def draw(camera: str) -> Iterator[np.ndarray]:
        for start in range(0, 41, 5):
            block = truth.images[camera][start : start + 5]
            largest.append(len(block))
            yield block

    lazy = {c: Frames(41, (8, 12), lambda c=c: draw(c)) for c in spec.cameras}
    with EpisodeStore.create(tmp_path / "s", spec) as store:
        store.append([dataclasses.replace(truth, images=lazy), make_episode(1, spec=spec)])
    assert max(largest) == 5 and len(largest) == 2 * 9, "each camera is drawn once"
    file = pq.ParquetFile(tmp_path / "s/data/chunk-000/file-000.parquet")
    assert file.num_row_groups > 4
    store = EpisodeStore(tmp_path / "s")
    assert_same(store[0], truth)
    assert_same(store[1], make_episode(1, spec=spec))
    np.testing.assert_array_equal(store.column("rewards")[0], truth.rewards)


def test_an_episode_that_fails_halfway_leaves_the_others(tmp_path: Path) -> None:
    spec = make_spec()

    def breaks() -> Iterator[np.ndarray]:
        yield np.zeros((2, 8, 12, 3), np.uint8)
        raise ValueError("the third picture is broken")

    bad = make_episode(1, spec=spec)
    bad = dataclasses.replace(bad, images=bad.images | {"wrist": Frames(6, (8, 12), breaks)})
    told: list[str] = []
    with EpisodeStore.create(tmp_path / "s", spec) as store:
        with pytest.raises(ValueError, match=r"third picture"):
            store.append([make_episode(0, spec=spec), bad])
        assert len(store) == 0
        store.append(
            [make_episode(0, spec=spec), bad, make_episode(2, spec=spec)], lambda e, error: told.append(str(error))
        )
    assert told == ["the third picture is broken"]
    assert [e.provenance.seed for e in EpisodeStore(tmp_path / "s")] == [0, 2]
