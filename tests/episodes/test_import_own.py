"""A store exported for LeRobot has right statistics or none, and comes back losslessly."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from episodes.importing import Known, import_dataset
from episodes.lerobot_stats import write_stats
from episodes.store import EpisodeStore
from tests.helpers.commands import foresight
from tests.helpers.some_episodes import assert_same, make_episode, make_spec

SPEC = make_spec(action_low=(-9.0, -9.0), action_high=(9.0, 9.0))


def make(path: Path, *groups: list[int]) -> EpisodeStore:
    with EpisodeStore.create(path, SPEC) as store:
        for seeds in groups:
            store.append(make_episode(seed, T=2 + seed, success=seed != 1) for seed in seeds)
    return EpisodeStore(path)


def test_export_then_import_is_lossless(tmp_path: Path) -> None:
    store = make(tmp_path / "s", [0, 1, 2], [3])
    assert foresight("export", store.path) == 0
    assert foresight("import", store.path, f"target={tmp_path / 't'}") == 0
    back = EpisodeStore(tmp_path / "t")
    assert back.content_hash == EpisodeStore(store.path).content_hash == store.content_hash
    for a, b in zip(store, back, strict=True):
        assert_same(a, b)
    part = import_dataset(store.path, tmp_path / "u", Known(skip=frozenset({0, 2})))
    assert_same(part[1], store[3])
    with pytest.raises(ValueError, match="only skip and image_size can be given"):
        import_dataset(store.path, tmp_path / "v", Known(success=True))


def test_without_our_own_folder_only_the_final_observation_is_lost(tmp_path: Path) -> None:
    """What LeRobot's own tools leave of a store: its columns say segments, progress, rewards and how it ended."""
    store = make(tmp_path / "s", [0, 1, 2], [3])
    before = list(store)
    shutil.rmtree(store.path / "foresight")
    known = Known(spec=dataclasses.asdict(SPEC))
    for episode, mine in zip(import_dataset(store.path, tmp_path / "t", known), before, strict=True):
        T = len(mine) - 1
        assert len(episode) == T and episode.extra["unknown"] == ["seed"] and episode.success == mine.success
        for camera in SPEC.cameras:
            np.testing.assert_array_equal(episode.images[camera], mine.images[camera][:-1])
        for name in ("actions", "rewards", "segments", "intervention"):
            np.testing.assert_array_equal(getattr(episode, name), getattr(mine, name)[:T])
        for name in ("proprio", "progress"):
            np.testing.assert_array_equal(getattr(episode, name), getattr(mine, name)[:-1])
        assert episode.terminated[-1] == mine.success != episode.truncated[-1]


def test_statistics_are_those_of_all_steps(tmp_path: Path) -> None:
    store = make(tmp_path / "s", [0, 1, 2], [3])
    stats = write_stats(store.path)
    assert stats == json.loads((store.path / "meta/stats.json").read_text())
    episodes = list(store)
    actions = np.concatenate([e.actions for e in episodes]).astype(np.float64)
    progress = np.concatenate([e.progress[:-1] for e in episodes]).astype(np.float64)
    progress = progress[~np.isnan(progress)]
    front = np.concatenate([e.images["front"][:-1] for e in episodes]).reshape(-1, 3) / 255
    for name, values, count in (
        ("action", actions, len(actions)),
        ("progress", progress[:, None], len(progress)),
        ("observation.images.front", front, len(actions)),
    ):
        found = {k: np.array(v) for k, v in stats[name].items()}
        assert found["count"] == [count]
        shape = (3, 1, 1) if "images" in name else (values.shape[1],)
        assert {k: v.shape for k, v in found.items() if k != "count"} == dict.fromkeys(set(found) - {"count"}, shape)
        for key, expected in (("min", values.min(0)), ("max", values.max(0)), ("mean", values.mean(0))):
            np.testing.assert_allclose(found[key].ravel(), expected, atol=1e-12)
        np.testing.assert_allclose(found["std"].ravel(), values.std(0), atol=1e-12)
        for key, q in (("q01", 0.01), ("q10", 0.1), ("q50", 0.5), ("q90", 0.9), ("q99", 0.99)):
            method = "inverted_cdf" if "images" in name else "linear"
            np.testing.assert_allclose(found[key].ravel(), np.quantile(values, q, axis=0, method=method), atol=1e-12)


def test_images_are_sampled_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("episodes.lerobot_stats.IMAGES", 3)
    store = make(tmp_path / "s", [0, 1, 2], [3])  # 2 + 3 + 4 + 5 steps: frames 0, 6 or 7, and 13 are looked at
    stats = write_stats(store.path)["observation.images.wrist"]
    seen = [store[0].images["wrist"][0], store[2].images["wrist"][1], store[3].images["wrist"][4]]
    np.testing.assert_allclose(np.ravel(stats["mean"]), np.stack(seen).reshape(-1, 3).mean(0) / 255)
    assert stats["count"] == [3]


def test_an_append_removes_statistics_and_a_damaged_file_hurts_nobody(tmp_path: Path) -> None:
    store = make(tmp_path / "s", [0])
    write_stats(store.path)
    file = store.path / "meta/stats.json"
    file.write_text("{")
    assert len(EpisodeStore(store.path)) == 1
    with EpisodeStore.open(store.path, "a") as again:
        with pytest.raises(ValueError):
            again.append([dataclasses.replace(make_episode(1), hz=1.0)])
        assert file.exists(), "nothing was added"
        again.append([make_episode(1)])
    assert not file.exists()
    write_stats(store.path)
    assert file.exists()


def test_unknown_everywhere_has_no_statistics(tmp_path: Path) -> None:
    nowhere = make_episode(0, progress=np.full(6, np.nan, np.float32))
    with EpisodeStore.create(tmp_path / "s", SPEC) as store:
        store.append([nowhere])
    assert "progress" not in write_stats(tmp_path / "s")


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="not an episode store"):
        foresight("export", tmp_path / "none")
    EpisodeStore.create(tmp_path / "empty", SPEC).close()
    with pytest.raises(SystemExit, match="no episodes"):
        foresight("export", tmp_path / "empty")
    one = make_spec(action_names=("dx",), action_low=(-1.0,), action_high=(1.0,), action_units=("m",))
    with EpisodeStore.create(tmp_path / "one", one) as store:
        store.append([make_episode(0, spec=one)])
        with pytest.raises(ValueError, match="another writer"):
            write_stats(tmp_path / "one")
    with pytest.raises(ValueError, match="action has one entry"):
        write_stats(tmp_path / "one")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["skip=[1,x]"], "skip='x' is not an episode number"),
        (["spec=nowhere.json"], "nowhere.json: .*give a JSON object"),
        (["format=robomimic"], "is a folder, not an HDF5 file"),
    ],
)
def test_the_command_line_says_what_is_wrong(tmp_path: Path, arguments: list[str], message: str) -> None:
    store = make(tmp_path / "s", [0])
    with pytest.raises(SystemExit) as caught:
        foresight("import", store.path, f"target={tmp_path / 't'}", *arguments)
    said = str(caught.value)
    assert re.search(message, said) and "\n" not in said and not (tmp_path / "t").exists()
