"""From any value to labels, from labels to weights, and on to the programs that train elsewhere."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from agents.extraction import labeller
from episodes.exporting import columns as exporting
from episodes.exporting.rows import row_labels
from episodes.files import sha256_file
from episodes.importing import Known, import_dataset
from episodes.labels import Labels
from episodes.lerobot_layout import INFO_PATH
from episodes.store import EpisodeStore
from experiments.data.label_report import tiny_labeller
from tests import ROOT
from tests.helpers.commands import foresight
from tests.helpers.foreign_datasets import truths, write_json, write_v3
from tests.helpers.made_lift import made_store
from valuefns.make import make_value
from valuefns.settings import ProgressConfig

HEIGHT = """
import numpy as np
from valuefns.protocol import ValueFunction

class HeightValue(ValueFunction):
    name = "height"
    def fit(self, store, folder=None):
        return self
    def score(self, episode, causal=False):
        return ((1 + episode.proprio[:, 0]) / 2).astype(np.float32)
"""


@pytest.fixture()
def dataset(tmp_path: Path) -> tuple[Path, EpisodeStore]:
    """A foreign dataset of four episodes (T rows each), and the store that was imported from it without the second."""
    write_v3(tmp_path / "theirs", truths())
    write_json(tmp_path / "theirs/meta/stats.json", {"action": {"min": [0.0]}})
    store = import_dataset(tmp_path / "theirs", tmp_path / "ours", Known(success=True, skip=frozenset({1})))
    return tmp_path / "theirs", store


def hashes(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def labelled(store: EpisodeStore, method: str = "awr") -> tuple[Path, Labels]:
    foresight("label", store.path, "value=random")
    foresight("advantage", store.path, f"method={method}")
    path = only(store.path / "labels", f"{method}-*.parquet")
    return path, Labels.load(path, store)


def test_a_class_of_ones_own_labels_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = made_store(tmp_path / "store")
    (tmp_path / "height_of_hand.py").write_text(HEIGHT)
    monkeypatch.syspath_prepend(tmp_path)
    foresight("label", store.path, "value=height_of_hand:HeightValue")
    path = only(store.path / "labels", "height-*.parquet")
    labels = Labels.load(path, store)
    np.testing.assert_allclose(labels.column("value", 0), (1 + store[0].proprio[:-1, 0]) / 2, atol=1e-6)
    final = json.loads(path.with_suffix(".json").read_text())["final"]
    assert final["0"] == pytest.approx((1 + store[0].proprio[-1, 0]) / 2)
    (tmp_path / "height_of_hand.py").write_text(HEIGHT + "\n# changed\n")  # another value, other labels
    foresight("label", store.path, "value=height_of_hand:HeightValue")
    assert len(list((store.path / "labels").glob("height-*.parquet"))) == 2
    with pytest.raises(SystemExit, match="valuefn=viva would learn from what it labels"):
        foresight("label", store.path, "value=viva_tiny")
    with pytest.raises(SystemExit, match="values by 2 models; name one"):
        foresight("advantage", store.path, "method=awr")


@pytest.mark.parametrize("method", ["awr", "recap", "filtered_bc", "success_bc"])
def test_advantages_are_those_of_the_loop(tmp_path: Path, method: str) -> None:
    store = made_store(tmp_path / "store", successes=4, failures=2)
    value = make_value(ProgressConfig(), None).fit(store)  # type: ignore[arg-type]
    assert value.score(store[4])[-1] > value.score(store[4])[-2]  # a failure whose final value counts
    foresight("label", store.path, "value=progress")
    foresight("advantage", store.path, f"method={method}")
    labels = Labels.load(only(store.path / "labels", f"{method}-*.parquet"), store)
    expected = labeller(method)(store, [value.score(e) for e in store], tiny_labeller())
    assert set(labels.columns) == set(expected.columns) | ({"value"} if method != "success_bc" else set())
    for name, column in expected.columns.items():  # those of truncated failures need the final observation's value
        np.testing.assert_array_equal(labels.columns[name], column, err_msg=name)
    before = hashes(store.path)
    foresight("advantage", store.path, f"method={method}")
    assert hashes(store.path) == before  # made once
    foresight("train", store.path, f"out={tmp_path / 'p'}", "part=policy", "preset=tiny", "policy.training.steps=1",
              f"labels={only(store.path / 'labels', f'{method}-*.parquet')}", f"cache={tmp_path / 'c'}")  # fmt: skip


def test_labels_go_back_into_the_dataset_they_came_from(dataset: tuple[Path, EpisodeStore], tmp_path: Path) -> None:
    theirs, store = dataset
    path, labels = labelled(store, "recap")
    before = hashes(theirs)
    foresight("export", store.path, f"labels={path}", f"source={theirs}", f"target={tmp_path / 'new'}")
    assert hashes(theirs) == before
    info = json.loads((tmp_path / "new" / INFO_PATH).read_text())
    assert info["features"]["weight"] == {"dtype": "float32", "shape": [1], "names": None}
    assert info["features"]["indicator"]["dtype"] == "int8"
    stats = json.loads((tmp_path / "new/meta/stats.json").read_text())
    assert stats["action"] == {"min": [0.0]} and stats["advantage"]["count"] == [sum((5, 4, 6))]
    source = {0: 0, 2: 1, 3: 2}  # their number -> ours
    for file in sorted((tmp_path / "new/data").rglob("*.parquet")):
        table, old = pq.read_table(file), pq.read_table(theirs / file.relative_to(tmp_path / "new"))
        assert table.select(old.column_names).equals(old)
        for row in table.to_pylist():
            number, t = row["episode_index"], row["frame_index"]
            if number == 1:
                assert row["weight"] == 0 and row["indicator"] == 2 and np.isnan(row["advantage"])
                continue
            mine = {name: labels.column(name, source[number]) for name in labels.columns}
            for name, column in mine.items():
                assert row[name] == column[min(t, len(column) - 1)], (number, t, name)
    unchanged = {k: v for k, v in before.items() if k.startswith(("videos", "meta/tasks", "meta/episodes"))}
    assert unchanged.items() <= hashes(tmp_path / "new").items()
    again = import_dataset(tmp_path / "new", tmp_path / "again", Known(success=True, skip=frozenset({1})))
    assert [row["content_sha256"] for row in again.index] == [row["content_sha256"] for row in store.index]


def test_in_place_the_dataset_is_exchanged_in_one_step(
    dataset: tuple[Path, EpisodeStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, store = dataset
    path, _ = labelled(store)
    first = hashes(theirs)
    real = exporting.exchange
    monkeypatch.setattr(exporting, "exchange", lambda one, other: real(one, other, lambda *_: -1))
    monkeypatch.setattr(exporting.ctypes, "get_errno", lambda: errno.EINVAL)
    with pytest.raises(SystemExit, match="cannot exchange two folders in one step"):
        foresight("export", store.path, f"labels={path}", f"source={theirs}", "in_place=true")
    monkeypatch.undo()
    assert hashes(theirs) == first  # and nothing lies beside it
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ours", "theirs"]
    foresight("export", store.path, f"labels={path}", f"source={theirs}", "in_place=true")
    assert "weight" in json.loads((theirs / INFO_PATH).read_text())["features"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ours", "theirs"]
    with pytest.raises(SystemExit, match="has a column advantage already; write others beside it with prefix=NAME_"):
        foresight("export", store.path, f"labels={path}", f"source={theirs}", "in_place=true")
    foresight("export", store.path, f"labels={path}", f"source={theirs}", "in_place=true", "prefix=awr_")
    assert "awr_weight" in json.loads((theirs / INFO_PATH).read_text())["features"]
    with pytest.raises(SystemExit, match="an episode store's data never changes"):
        foresight("export", store.path, f"labels={path}", "in_place=true")


def test_a_store_itself_is_exported_as_a_dataset_without_its_sidecar(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", successes=2, failures=1)
    path, labels = labelled(store)
    before = hashes(store.path)
    foresight("export", store.path, f"labels={path}", f"target={tmp_path / 'new'}")
    assert hashes(store.path) == before
    assert not (tmp_path / "new/foresight").exists() and not (tmp_path / "new/labels").exists()
    stats = json.loads((tmp_path / "new/meta/stats.json").read_text())
    assert {"observation.images.front", "action", "weight"} <= set(stats)
    tables = [pq.read_table(f) for f in sorted((tmp_path / "new/data").rglob("*.parquet"))]
    weights = np.concatenate([table["weight"].to_numpy() for table in tables])
    np.testing.assert_array_equal(weights, labels.columns["weight"])
    with pytest.raises(SystemExit, match="exists already; choose a new folder"):
        foresight("export", store.path, f"labels={path}", f"target={tmp_path / 'new'}")


def test_files_beside_a_dataset(dataset: tuple[Path, EpisodeStore], tmp_path: Path) -> None:
    theirs, store = dataset
    path, labels = labelled(store, "recap")
    rows = row_labels(labels, store, theirs)
    words = ["export", store.path, f"labels={path}", f"source={theirs}", f"target={tmp_path / 'files'}"]
    for form in ("progress", "weights", "rlinf"):
        foresight(*words, f"format={form}", "tag=mine")
    progress = pq.read_table(tmp_path / "files/sarm_progress.parquet")
    assert progress.column_names == ["index", "episode_index", "frame_index", "progress_sparse"]
    assert progress["index"].to_pylist() == list(range(5 + 7 + 4 + 6)) and rows.unlabelled == (1,)
    value = labels.column("value", 0)
    np.testing.assert_allclose(progress["progress_sparse"].to_numpy()[:4], 2 * value - 1, atol=1e-6)
    assert np.isnan(progress["progress_sparse"].to_numpy()[5:12]).all()
    weights = pq.read_table(tmp_path / "files/sample_weights.parquet")
    assert weights.column_names == ["index", "weight"] and not weights["weight"].to_numpy()[5:12].any()
    rlinf = pq.read_table(tmp_path / "files/meta/advantages_mine.parquet")
    assert rlinf.column_names == ["episode_index", "frame_index", "advantage", "advantage_continuous"]
    np.testing.assert_array_equal(rlinf["advantage"].to_numpy()[:4], labels.column("indicator", 0) == 1)
    before = hashes(theirs)
    foresight(*words[:-1], "in_place=true", "format=rlinf")
    added = {k: v for k, v in hashes(theirs).items() if k not in before}
    assert list(added) == ["meta/advantages_foresight.parquet"] and before.items() <= hashes(theirs).items()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["labels=L"], "labels need target=FOLDER"),
        (["labels=L", "target=T", "in_place=true"], "labels need target=FOLDER"),
        (["target=T"], "nothing to write; name the labels"),
        (["labels=L", "target=T", "format=csv"], "format='csv'; choose columns"),
        (["labels=L", "target=T", "tag=../x", "format=rlinf"], "tag='../x': use letters"),
        (["labels=L", "target=T", "source=none"], "none/meta/info.json"),
        (["labels=L", "target=T", "source=OTHER"], "episode 0 has 5 rows, the store's episode 0 has"),
        (["labels=L", "target=T", "source=OLD"], "is 'v2.1', expected v3.0"),
        (["labels=V", "target=T", "format=weights"], "needs the column 'weight'"),
        (["labels=none", "target=T"], "none"),
    ],
)
def test_what_cannot_be_exported_is_one_line(tmp_path: Path, words: list[str], said: str) -> None:
    write_v3(tmp_path / "theirs", truths((9, 9, 9, 9)))
    store = import_dataset(tmp_path / "theirs", tmp_path / "ours", Known(success=True))
    path, _ = labelled(store)
    write_v3(tmp_path / "other", truths())
    write_json(tmp_path / "old/meta/info.json", {"codebase_version": "v2.1", "features": {}})
    values = only(store.path / "labels", "random-*.parquet")
    places = {"L": path, "V": values, "T": tmp_path / "t", "OTHER": tmp_path / "other", "OLD": tmp_path / "old"}
    given = [f"{k}={places.get(v, v)}" for k, v in (word.split("=") for word in words)]
    if not any(word.startswith("source=") for word in given) and "labels=L" in words:
        given.append(f"source={tmp_path / 'theirs'}")
    with pytest.raises(SystemExit) as ended:
        foresight("export", store.path, *given)
    assert said in str(ended.value) and "\n" not in str(ended.value), ended.value
    assert not (tmp_path / "t").exists()


SLOW = """
import time
import numpy as np
from valuefns.protocol import ValueFunction

class Slow(ValueFunction):
    name = "slow"
    def fit(self, store, folder=None):
        return self
    def score(self, episode, causal=False):
        time.sleep(0.05)
        return np.linspace(.5, .9, len(episode) + 1).astype(np.float32)
"""


def test_a_killed_command_leaves_nothing_torn_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "slow_value.py").write_text(SLOW)
    store = made_store(tmp_path / "store", successes=30, failures=10)
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    program = [sys.executable, "-c", "import sys; from experiments.cli import main; main(sys.argv[1:])"]
    label = [*program, "label", str(store.path), "value=slow_value:Slow"]
    folder = store.path / "labels"
    while not list(folder.glob("slow-*.parquet")):  # killed whenever another block is there
        before = len(list(folder.glob("*.part-*.json")))
        running = subprocess.Popen(label, env=variables, cwd=tmp_path, stdout=subprocess.DEVNULL)
        while running.poll() is None and len(list(folder.glob("*.part-*.json"))) == before:
            time.sleep(0.01)
        if before < 2:
            running.send_signal(signal.SIGKILL)
        assert running.wait(60) in (0, -signal.SIGKILL)
        EpisodeStore.open(store.path)
    whole = Labels.load(only(folder, "slow-*.parquet"), store)
    assert len(whole.episodes) == 40 and not list(folder.glob("*.part-*"))
    foresight("advantage", store.path, "method=awr")
    path, before_all = only(folder, "awr-*.parquet"), hashes(store.path)
    export = [*program, "export", str(store.path), f"labels={path}", f"target={tmp_path / 'new'}"]
    for delay in (0.0, 0.02, 0.05):
        running = subprocess.Popen(export, env=variables, cwd=tmp_path, stdout=subprocess.DEVNULL)
        while running.poll() is None and not list(tmp_path.glob(".foresight*")) and not list(tmp_path.glob(".*new")):
            time.sleep(0.005)
        time.sleep(delay)
        running.send_signal(signal.SIGKILL)
        running.wait(60)
        assert hashes(store.path) == before_all
        if (tmp_path / "new").exists():
            break
    if not (tmp_path / "new").exists():
        subprocess.run(export, env=variables, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    tables = [pq.read_table(f) for f in sorted((tmp_path / "new/data").rglob("*.parquet"))]
    assert sum(len(t) for t in tables) == sum(row["length"] for row in store.index)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
