"""Labels stay with the steps they were made for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from episodes.labels import Labels
from episodes.store import EpisodeStore
from tests.helpers.some_episodes import make_episode, make_spec


@pytest.fixture()
def store(tmp_path: Path) -> EpisodeStore:
    store = EpisodeStore.create(tmp_path / "s", make_spec())
    store.append(make_episode(seed, T=2 + seed) for seed in range(4))
    return store


def _weights(store: object) -> list[np.ndarray]:
    return [np.arange(row["length"]) + 10.0 * row["episode_index"] for row in store.index]  # type: ignore[attr-defined]


def test_round_trip_through_the_file(store: EpisodeStore, tmp_path: Path) -> None:
    view = store.select([2, 0])
    indicator = [np.arange(row["length"]) % 3 for row in view.index]
    labels = Labels.from_arrays(view, "recap", made_by_hash="ab", weight=_weights(view), indicator=indicator)
    labels.save(tmp_path / "labels.parquet")
    again = Labels.load(tmp_path / "labels.parquet", view)
    assert (again.made_by, again.made_by_hash) == ("recap", "ab") and again.content_hash == labels.content_hash
    np.testing.assert_array_equal(again.column("weight", 2), [20, 21, 22, 23])
    np.testing.assert_array_equal(again.column("weight", 0), [0, 1])
    np.testing.assert_array_equal(again.column("indicator", 2), [0, 1, 2, 0])
    assert again.column("weight", 0).dtype == np.float32 and again.column("indicator", 0).dtype == np.int8
    assert "weight" in again and "value" not in again
    table = pq.read_table(tmp_path / "labels.parquet")
    assert table["episode"].to_pylist() == [2] * 4 + [0] * 2 and table["frame"].to_pylist() == [0, 1, 2, 3, 0, 1]


def test_what_is_absent_is_named(store: EpisodeStore) -> None:
    labels = Labels.from_arrays(store.select([1]), "bc", weight=_weights(store.select([1])))
    with pytest.raises(ValueError, match=r"labels bc: no column 'advantage'"):
        labels.column("advantage", 1)
    with pytest.raises(ValueError, match=r"labels bc: no episode 0"):
        labels.column("weight", 0)


def test_labels_of_other_episodes_are_refused(store: EpisodeStore, tmp_path: Path) -> None:
    labels = Labels.from_arrays(store, "bc", weight=_weights(store))
    labels.save(tmp_path / "l.parquet")
    labels.require_for(store)
    with pytest.raises(ValueError, match="label this store"):
        Labels.load(tmp_path / "l.parquet", store.select([0, 1]))
    store.append([make_episode(9)])
    with pytest.raises(ValueError, match="label this store"):
        labels.require_for(store)
    labels.require_for(store.select(range(4)))


def test_arrays_that_do_not_fit_are_named(store: EpisodeStore) -> None:
    good = _weights(store)

    def make(name: str, episode: int, array: np.ndarray) -> None:
        arrays = [*good[:episode], array, *good[episode + 1 :]]
        Labels.from_arrays(store, "x", **{name: arrays})  # type: ignore[arg-type]

    with pytest.raises(ValueError, match=r"weight has 3 episodes, the store 4"):
        Labels.from_arrays(store, "x", weight=good[:3])
    with pytest.raises(ValueError, match=r"weight of episode 1 has shape \(4,\), expected \(3,\).*final"):
        make("weight", 1, np.zeros(4))
    with pytest.raises(ValueError, match="weight of episode 2 is negative at frame 3"):
        make("weight", 2, np.array([0, 1, 2, -1.0]))
    with pytest.raises(ValueError, match="value of episode 0 is not finite at frame 1"):
        make("value", 0, np.array([0, np.nan]))
    with pytest.raises(ValueError, match="indicator of episode 0 has values outside"):
        make("indicator", 0, np.array([0, 3]))


def test_a_malformed_file_is_named(store: EpisodeStore, tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    with pytest.raises(ValueError, match=r"l\.parquet.*make the labels again"):
        Labels.load(path)
    path.write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"l\.parquet"):
        Labels.load(path)
    labels = Labels.from_arrays(store, "x", weight=_weights(store))
    labels.save(path)
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(ValueError, match="one entry per step"):
        Labels.load(path)
    pq.write_table(table.replace_schema_metadata(None), path)
    with pytest.raises(ValueError, match="not a foresight-labels file"):
        Labels.load(path)
