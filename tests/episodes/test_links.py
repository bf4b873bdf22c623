"""Links and planted files: nothing is written, deleted or read outside the folder that was named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import episodes.files as files
from episodes.files import TEMPORARY, atomic, atomic_folder, cache_entry, make_once, write_atomic, writer_lock
from episodes.importing import import_dataset
from episodes.store import EpisodeStore
from tests.helpers import foreign_datasets as foreign
from tests.helpers.made_lift import made_episode, made_store


@pytest.fixture(autouse=True)
def tidied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_tidied", set())


@pytest.mark.parametrize("part", ["data", "data/chunk-000", "foresight/final", "meta/episodes"])
def test_a_store_with_linked_folders_is_not_written_to(part: str, tmp_path: Path) -> None:
    """Opened for writing, it would take the other store's files for orphans of its own and delete them."""
    store, other = made_store(tmp_path / "store", 2, 1).path, made_store(tmp_path / "other", 2, 1).path
    with EpisodeStore.open(other, "a") as more:
        more.append([made_episode(7)])
    before = {p: p.stat().st_mtime_ns for p in other.rglob("*")}
    shutil.rmtree(store / part)
    (store / part).symlink_to(other / part)
    with pytest.raises(ValueError, match=f"{part}: a link to .*put a copy in its place"):
        EpisodeStore.open(store, "a")
    assert {p: p.stat().st_mtime_ns for p in other.rglob("*")} == before


def test_a_new_store_is_not_made_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store/foresight").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="a link to"):
        EpisodeStore.create(tmp_path / "store", made_store(tmp_path / "any", 1, 1).spec)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_lock_that_is_a_link_is_refused_and_its_target_kept(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "lock").symlink_to(precious)
    (tmp_path / "entry.lock").symlink_to(precious)
    with pytest.raises(ValueError, match="lock: a link to"):
        writer_lock(tmp_path / "lock", "a store")
    with pytest.raises(ValueError, match="lock: a link to"), cache_entry(tmp_path / "entry"):
        raise AssertionError
    assert precious.read_text() == "precious"


def test_labels_are_not_written_through_a_linked_folder(tmp_path: Path) -> None:
    from tests.helpers.commands import foresight

    store = made_store(tmp_path / "store", 2, 1).path
    (tmp_path / "outside").mkdir()
    (store / "labels").symlink_to(tmp_path / "outside")
    with pytest.raises(SystemExit, match="labels: a link to"):
        foresight("label", store, "value=clock")
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_planted_temporary_file_is_never_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for token in ("aa" * 8, str(os.getpid())):
        (tmp_path / f"{TEMPORARY}{token}-file").symlink_to(precious)
    tokens = iter(["aa" * 8, "bb" * 8])  # as if the first name had been foreseen
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: next(tokens))
    monkeypatch.setattr(files, "_tidy", lambda _: None)
    with pytest.raises(ValueError, match="file: cannot be written"):
        write_atomic(tmp_path / "file", "new")
    write_atomic(tmp_path / "file", "new")
    assert precious.read_text() == "precious" and (tmp_path / "file").read_text() == "new"


KILLED = """
import os, sys
from pathlib import Path
from episodes.files import atomic, atomic_folder
with atomic(Path(sys.argv[1]) / "a.txt") as file, atomic_folder(Path(sys.argv[1]) / "b") as folder:
    file.write_text("half"); (folder / "half").write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_writer_left_is_removed_and_a_living_ones_is_kept(tmp_path: Path) -> None:
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert len(list(tmp_path.glob(f"{TEMPORARY}*"))) >= 2
    (tmp_path / f"{TEMPORARY}other").mkdir()  # somebody's who has a lock of another kind
    with atomic(tmp_path / "mine") as mine, atomic_folder(tmp_path / "folder") as folder:
        files._tidied.clear()
        write_atomic(tmp_path / "third", "x")
        assert mine.exists() and folder.exists()
        assert len(list(tmp_path.glob(f"{TEMPORARY}*"))) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{TEMPORARY}other", "folder", "mine", "third"]


@pytest.mark.parametrize("name", ["n" * 251 + ".npz", "\u00e9" * 125 + ".npz", "x"])
def test_names_as_long_as_a_disk_takes_can_be_written(name: str, tmp_path: Path) -> None:
    with atomic(tmp_path / name) as beside:
        assert beside.suffix == Path(name).suffix and len(os.fsencode(beside.name)) <= 255
        beside.write_text("x")
    assert (tmp_path / name).read_text() == "x"


def test_a_name_too_long_for_the_disk_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"File name too long.*choose shorter names"):
        write_atomic(tmp_path / ("n" * 256), "x")


def test_waiting_for_a_cache_entry_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, time; from pathlib import Path; from episodes.files import cache_entry\n"
    code += "with cache_entry(Path(sys.argv[1])): print('held', flush=True); time.sleep(1.5)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "entry")], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    monkeypatch.setattr(files, "_PATIENCE", 0.2)
    said: list[str] = []
    monkeypatch.setattr(
        files.sys, "stderr", type("E", (), {"write": lambda _, t: said.append(t), "flush": lambda _: 0})()
    )
    with cache_entry(tmp_path / "entry"):
        assert "entry: waiting for the process that makes it (it holds entry.lock" in "".join(said)
    holder.wait()


@pytest.mark.parametrize(
    ("looks", "made"),
    [([True], 0), ([False, True], 0), ([False, False], 1)],
    ids=["there", "made by another process while this one waited", "not there"],
)
def test_a_cache_entry_is_made_once(looks: list[bool], made: int, tmp_path: Path) -> None:
    times, answers = [], iter(looks)
    make_once(tmp_path / "entry", lambda: next(answers), lambda: times.append(1))
    assert len(times) == made and not list(answers)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    foreign.write_v3(tmp_path / "set", foreign.truths())
    foreign.write_v3(tmp_path / "other", foreign.truths())
    return tmp_path / "set"


PARTS = ("meta/info.json", "meta/tasks.parquet", "meta/episodes", "data", "videos")


def first(folder: Path, part: str) -> Path:
    place = folder / part
    return place if place.is_file() else min(p for p in place.rglob("*") if p.suffix in (".parquet", ".mp4"))


@pytest.mark.parametrize("part", PARTS)
def test_imports_follow_no_link_out_of_the_folder(part: str, dataset: Path, tmp_path: Path) -> None:
    file, other = first(dataset, part), first(tmp_path / "other", part)
    file.unlink()
    file.symlink_to(other)
    with pytest.raises(ValueError, match="is a link that leaves the dataset's folder; put a copy"):
        import_dataset(dataset, tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("what", ["pipe", "zeros"])
def test_imports_read_regular_files_only(part: str, what: str, dataset: Path, tmp_path: Path) -> None:
    """A pipe would be waited for without end, /dev/zero read without end."""
    file = first(dataset, part)
    file.unlink()
    if what == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"not a regular file|a link that leaves"):
        import_dataset(dataset, tmp_path / "store")


def test_imports_follow_links_inside_and_those_of_the_hub_cache(dataset: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "hub/datasets--a--b/snapshots/abc", tmp_path / "hub/datasets--a--b/blobs"
    blobs.mkdir(parents=True)
    shutil.copytree(dataset, snapshot)
    for number, file in enumerate(sorted(p for p in snapshot.rglob("*") if p.is_file())):
        file.rename(blobs / str(number))
        file.symlink_to(os.path.relpath(blobs / str(number), file.parent))
    data = first(dataset, "data")
    data.rename(dataset / "kept")
    data.symlink_to(dataset / "kept")
    hashes = [import_dataset(source, tmp_path / f"{i}").content_hash for i, source in enumerate((dataset, snapshot))]
    assert hashes[0] == hashes[1]
