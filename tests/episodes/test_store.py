"""The store gives back exactly what was appended, whatever crashes, and says what is wrong with a damaged folder."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import episodes.store as store_module
from episodes import Provenance
from episodes.images import decode_png, encode_png
from episodes.store import EpisodeStore
from tests.helpers.some_episodes import assert_same, make_episode, make_spec

SPEC = make_spec()


def _make(path: Path, *groups: list[int]) -> EpisodeStore:
    store = EpisodeStore.create(path, SPEC)
    for seeds in groups:
        store.append(make_episode(seed, T=2 + seed) for seed in seeds)
    store.close()
    return EpisodeStore(path)


def _files(path: Path, pattern: str) -> list[Path]:
    return sorted(p for p in path.rglob(pattern) if p.is_file())


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=3), max_size=4), st.integers(0, 2**40))
def test_reopened_store_returns_exactly_what_was_appended(groups: list[list[tuple[int, bool]]], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "store")
        EpisodeStore.create(path, SPEC).close()
        written = []
        for group in groups:
            made = [make_episode(seed + len(written) + k, T, success) for k, (T, success) in enumerate(group)]
            with EpisodeStore.open(path, "a") as store:
                assert store.append(made) == range(len(written), len(written) + len(made))
            written += made
        store = EpisodeStore(path)
        assert len(store) == len(written) and store.spec == SPEC
        for a, b in zip(written, store, strict=True):
            assert_same(a, b)
        if written:
            assert_same(store[-1], written[-1])
        info = json.loads((path / "meta/info.json").read_text())
        assert info["total_frames"] == sum(map(len, written)) and info["total_episodes"] == len(written)


def test_content_hash_is_of_the_episodes_not_of_the_files(tmp_path: Path) -> None:
    one, two = _make(tmp_path / "a", [0, 1, 2]), _make(tmp_path / "b", [0], [1, 2])
    assert one.content_hash == two.content_hash != _make(tmp_path / "c", [0, 2, 1]).content_hash
    assert one.select([0, 1]).content_hash == one.select(lambda row: row["seed"] < 2).content_hash != one.content_hash
    base = make_episode(3)
    changed = [
        dataclasses.replace(base, instruction="other"),
        dataclasses.replace(base, provenance=dataclasses.replace(base.provenance, iteration=7)),
        dataclasses.replace(base, images={c: v ^ 1 for c, v in base.images.items()}),
        dataclasses.replace(base, progress=base.progress * 2),
    ]
    hashes = set()
    for k, episode in enumerate([base, *changed]):
        with EpisodeStore.create(tmp_path / f"d{k}", SPEC) as store:
            store.append([episode])
            hashes.add(store.content_hash)
    assert len(hashes) == 5


def test_select_is_a_view_with_the_same_reads(tmp_path: Path) -> None:
    store = _make(tmp_path / "s", [0, 1, 2], [3])
    view = store.select([3, 1])
    assert [row["episode_index"] for row in view.index] == [3, 1] and len(view) == 2
    assert_same(view[0], store[3])
    assert_same(next(iter(view.select(lambda row: row["seed"] == 1))), store[1])
    with pytest.raises(ValueError, match=r"select 4 of 4"):
        store.select([4])
    with pytest.raises(IndexError):
        store[4]
    view.index[0]["seed"] = -1  # a copy: nobody edits the store through it
    assert view.index[0]["seed"] == 3


def test_column_reads_steps_without_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = _make(tmp_path / "s", [0, 1], [2]).select([2, 0])
    expected = {name: [getattr(e, name) for e in view] for name in ("segments", "intervention", "rewards")}
    monkeypatch.setattr(store_module.layout, "read_episode", None)
    for name, arrays in expected.items():
        for a, b in zip(view.column(name), arrays, strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="no column 'images'"):
        view.column("images")


def test_layout_is_lerobot_v3(tmp_path: Path) -> None:
    """Fields and columns as LeRobotDataset v3.0 reads them (src/lerobot/datasets of the lerobot repository)."""
    store = _make(tmp_path / "s", [0, 1], [2])
    info = json.loads((store.path / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["fps"] == 20 and info["splits"] == {"train": "0:3"}
    assert info["features"]["observation.images.wrist"] == {
        "dtype": "image",
        "shape": [8, 12, 3],
        "names": ["height", "width", "channels"],
    }
    files = _files(store.path / "data", "*.parquet")
    assert [str(f.relative_to(store.path)) for f in files] == [
        info["data_path"].format(chunk_index=0, file_index=i) for i in range(2)
    ]
    tables = [pq.read_table(f) for f in files]
    rows = [row for table in tables for row in table.to_pylist()]
    assert list(info["features"]) == tables[0].column_names
    assert [row["index"] for row in rows] == list(range(2 + 3 + 4))
    tasks = pq.read_table(store.path / "meta/tasks.parquet")
    pandas = json.loads(tasks.schema.metadata[b"pandas"])
    assert pandas["index_columns"] == ["task"] and tasks["task_index"].to_pylist() == [0, 1, 2]
    for row in store.index:
        mine = rows[row["dataset_from_index"] : row["dataset_to_index"]]
        assert [r["episode_index"] for r in mine] == [row["episode_index"]] * row["length"]
        assert [r["frame_index"] for r in mine] == list(range(row["length"]))
        assert np.allclose([r["timestamp"] for r in mine], np.arange(row["length"]) / 20)
        assert {tasks["task"].to_pylist()[r["task_index"]] for r in mine} == set(row["tasks"])
        assert [r["next.success"] for r in mine] == [False] * (row["length"] - 1) + [True]
        png = mine[1]["observation.images.wrist"]["bytes"]
        episode = store[row["episode_index"]]
        np.testing.assert_array_equal(decode_png(png, (8, 12)), episode.images["wrist"][1])
        np.testing.assert_array_equal(mine[1]["observation.state"], episode.proprio[1])


def test_png_is_rgb_with_either_library(monkeypatch: pytest.MonkeyPatch) -> None:
    import episodes.images as images

    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 200
    first = encode_png(red)
    monkeypatch.setattr(images, "_cv2", lambda: None)  # Pillow
    for data in (first, encode_png(red)):
        np.testing.assert_array_equal(decode_png(data, (4, 5)), red)
    for bad in (b"", b"no image", first[:40]):
        with pytest.raises(ValueError, match="not a readable PNG"):
            decode_png(bad, (4, 5))
    monkeypatch.undo()
    for bad in (b"", b"no image"):
        with pytest.raises(ValueError, match="not a readable PNG"):
            decode_png(bad, (4, 5))
    with pytest.raises(ValueError, match="expected"):
        decode_png(first, (5, 4))


@pytest.mark.parametrize("step", ["tasks.parquet", "file-001.parquet"])
def test_crash_before_the_commit_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store = _make(tmp_path / "s", [0, 1])
    before = store.content_hash
    writer = EpisodeStore.open(store.path, "a")
    real = store_module.write_atomic

    def crash(path: Path, content: object) -> None:
        if Path(path).name == step:
            raise KeyboardInterrupt
        real(path, content)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "write_atomic", crash)
        with pytest.raises(KeyboardInterrupt):
            writer.append([make_episode(9)])
    orphan = store.path / "data/chunk-000/file-001.parquet"
    assert orphan.exists()
    assert EpisodeStore(store.path).content_hash == before
    assert orphan.exists(), "a reader removes nothing"
    writer.append([make_episode(8)])  # the same process goes on over its own leftovers
    assert_same(writer[2], make_episode(8))
    writer.close()

    shutil.copy(orphan, orphan.with_name("file-007.parquet"))
    (store.path / "foresight/final/chunk-000/.writing-1-file-007.parquet").write_bytes(b"half")
    (store.path / "meta/.writing-1-info.json").write_text("{")
    (store.path / "meta/info.json").write_text("{}")
    (store.path / "meta/tasks.parquet").unlink()
    with EpisodeStore.open(store.path, "a") as again:
        assert len(again) == 3
    assert not _files(store.path, "*007*") and not _files(store.path, ".writing-*")
    assert json.loads((store.path / "meta/info.json").read_text())["total_episodes"] == 3
    assert len(pq.read_table(store.path / "meta/tasks.parquet")) == 3


def test_a_failing_source_of_episodes_adds_nothing(tmp_path: Path) -> None:
    def source():  # type: ignore[no-untyped-def]
        yield make_episode(1)
        raise RuntimeError("simulator")

    with EpisodeStore.create(tmp_path / "s", SPEC) as store:
        with pytest.raises(RuntimeError, match="simulator"):
            store.append(source())
        assert len(store) == 0 and not _files(store.path / "data", "*") and store.append([]) == range(0, 0)
        store.append([make_episode(2)])
        assert_same(store[0], make_episode(2))


def _killed_while_appending(path: str) -> None:
    def endless():  # type: ignore[no-untyped-def]
        yield make_episode(5)
        os.kill(os.getpid(), 9)

    EpisodeStore.open(path, "a").append(endless())


def test_a_killed_writer_frees_the_lock_and_loses_only_its_append(tmp_path: Path) -> None:
    store = _make(tmp_path / "s", [0])
    process = multiprocessing.get_context("spawn").Process(target=_killed_while_appending, args=(str(store.path),))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    assert _files(store.path, ".writing-*"), "the kill came while it wrote"
    with EpisodeStore.open(store.path, "a") as again:
        assert len(again) == 1 and not _files(store.path, ".writing-*")
        again.append([make_episode(1)])
    assert len(EpisodeStore(store.path)) == 2


def test_one_writer_and_any_number_of_readers(tmp_path: Path) -> None:
    with EpisodeStore.create(tmp_path / "s", SPEC) as writer:
        reader = EpisodeStore(tmp_path / "s")
        with pytest.raises(ValueError, match=r"another writer holds the lock .*writer\.lock.*wait"):
            EpisodeStore.open(tmp_path / "s", "a")
        writer.append([make_episode(1)])
        assert len(reader) == 0 and len(EpisodeStore(tmp_path / "s")) == 1
        with pytest.raises(ValueError, match="not open for writing"):
            reader.append([make_episode(1)])
    with pytest.raises(ValueError, match="not open for writing"):
        writer.append([make_episode(1)])
    EpisodeStore.open(tmp_path / "s", "a").close()


def test_create_refuses_a_used_folder(tmp_path: Path) -> None:
    EpisodeStore.create(tmp_path / "s", SPEC).close()
    with pytest.raises(ValueError, match="already an episode store"):
        EpisodeStore.create(tmp_path / "s", SPEC)
    (tmp_path / "t").mkdir()
    (tmp_path / "t/thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"not empty \(thesis\.txt\)"):
        EpisodeStore.create(tmp_path / "t", SPEC)
    with pytest.raises(ValueError, match="not an episode store"):
        EpisodeStore(tmp_path / "t")
    with pytest.raises(ValueError, match="mode is 'w'"):
        EpisodeStore(tmp_path / "s", "w")


E = make_episode(3, T=4)
BAD = {
    "cameras are": {"images": {"front": E.images["front"]}},
    r"images of front are \(9, 12, 3\)": {"images": {c: np.zeros((5, 9, 12, 3), np.uint8) for c in E.images}},
    "proprio have shape": {"proprio": E.proprio[:, :2].copy()},
    "actions have shape": {"actions": np.zeros((4, 3), np.float32)},
    "actions of frame 2 are not finite": {
        "actions": np.where(np.arange(4)[:, None] == 2, np.float32(np.nan), E.actions)
    },
    "proprio of frame 4 are not finite": {
        "proprio": np.where(np.arange(5)[:, None] == 4, np.float32(np.inf), E.proprio)
    },
    "actions are float64": {"actions": E.actions.astype(np.float64)},
    "segments lie outside": {"segments": np.full(4, 5, np.int8)},
    "10.0 Hz": {"hz": 10.0},
}


@pytest.mark.parametrize("message", BAD)
def test_an_episode_that_does_not_fit_is_refused_by_name(tmp_path: Path, message: str) -> None:
    with EpisodeStore.create(tmp_path / "s", SPEC) as store:
        with pytest.raises(ValueError, match=rf"episode 1 \(seed 3\).*{message}"):
            store.append([make_episode(1), dataclasses.replace(E, **BAD[message])])
        assert len(store) == 0


@pytest.mark.parametrize("part", ["data/chunk-000/file-001.parquet", "foresight/final/chunk-000/file-001.parquet"])
def test_a_damaged_file_is_named_when_it_is_read(tmp_path: Path, part: str) -> None:
    store = _make(tmp_path / "s", [0], [1], [2])
    file = store.path / part
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    damaged = EpisodeStore(store.path)
    assert_same(damaged[0], make_episode(0, T=2))
    with pytest.raises(ValueError, match=r"file-001\.parquet: .*SHA-256.*restore") as caught:
        damaged[1]
    assert "\n" not in str(caught.value)
    file.unlink()
    with pytest.raises(ValueError, match=r"file-001\.parquet: missing"):
        EpisodeStore(store.path)


def test_a_file_is_verified_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = _make(tmp_path / "s", [0, 1, 2])
    read: list[Path] = []
    real = store_module.sha256_file
    monkeypatch.setattr(store_module, "sha256_file", lambda path: read.append(path) or real(path))
    list(store)
    list(store)
    assert len(read) == 2  # data and final observations


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("foresight/header.json", b"{", "header.json"),
        ("foresight/header.json", b'{"format": "other"}', "format is not"),
        ("foresight/header.json", b'{"format": "foresight-episodes", "version": 3}', "version 3.*update"),
        ("foresight/header.json", b'{"format": "foresight-episodes", "version": 1, "spec": {}}', "missing or unknown"),
        ("meta/episodes/chunk-000/file-000.parquet", b"PAR1", "file-000.parquet"),
        ("meta/episodes/chunk-000/file-000.parquet", None, "follows -1: a file is missing"),
    ],
)
def test_a_malformed_folder_is_one_line_that_names_the_file(
    tmp_path: Path, file: str, content: bytes | None, message: str
) -> None:
    store = _make(tmp_path / "s", [0], [1])
    if content is None:
        (store.path / file).unlink()
    else:
        (store.path / file).write_bytes(content)
    for mode in ("r", "a"):
        with pytest.raises(ValueError, match=message) as caught:
            EpisodeStore(store.path, mode)
        assert "\n" not in str(caught.value)


def test_swapped_rows_are_noticed(tmp_path: Path) -> None:
    """Checksums aside, an episode's rows must say that they are its own."""
    store = _make(tmp_path / "s", [0, 0])
    for row in store._rows:
        row["group"] = 1 - row["group"]
    with pytest.raises(ValueError, match="belong to another episode"):
        store[0]


def test_provenance_of_any_kind_round_trips(tmp_path: Path) -> None:
    kinds = [Provenance("a", 0, "human"), Provenance("b/c", 2_999_999, "oracle", "hésite \n", "", 3)]
    with EpisodeStore.create(tmp_path / "s", SPEC) as store:
        store.append(make_episode(provenance=p, success=False) for p in kinds)
    rows = EpisodeStore(tmp_path / "s").index
    assert [e.provenance for e in EpisodeStore(tmp_path / "s")] == kinds
    assert [(r["seed"], r["source"], r["variant"], r["success"]) for r in rows] == [
        (p.seed, p.source, p.variant, False) for p in kinds
    ]
