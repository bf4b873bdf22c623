"""LeRobotDataset v2.1 and v3.0 folders, written by hand, come into a store exactly; what is unknown is said."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from episodes import SEGMENTS
from episodes.importing import Known, import_dataset
from episodes.importing.lerobot_meta import MOST_ROWS
from episodes.store import EpisodeStore
from episodes.types import Episode
from episodes.video import frames_near
from tests.helpers.commands import foresight
from tests.helpers.foreign_datasets import (
    FPS,
    LENGTHS,
    A,
    H,
    Truth,
    W,
    features,
    rows,
    truths,
    write_json,
    write_parquet,
    write_v3,
    write_v21,
    write_video,
)


def assert_holds(episode: Episode, truth: Truth, i: int) -> None:
    """T rows became T - 1 steps and a final observation, all else is what was written or an honest unknown."""
    T = len(truth.action) - 1
    assert len(episode) == T
    for camera, frames in truth.images.items():
        np.testing.assert_array_equal(episode.images[camera], frames)
    np.testing.assert_array_equal(episode.proprio, truth.state)
    np.testing.assert_array_equal(episode.actions, truth.action[:T])
    np.testing.assert_array_equal(episode.rewards, truth.reward[:T])
    assert episode.instruction == truth.task and episode.success == truth.success
    assert episode.terminated.tolist() == [False] * (T - 1) + [truth.success]
    assert episode.truncated.tolist() == [False] * (T - 1) + [not truth.success]
    assert set(episode.segments.tolist()) == {SEGMENTS.index("unlabelled")}
    assert np.isnan(episode.progress).all() and not episode.intervention.any()
    assert episode.provenance.source == "human" and episode.provenance.seed == -1
    assert episode.extra["source_episode"] == i
    assert episode.extra["unknown"] == ["seed", "segments", "progress", "intervention"]
    np.testing.assert_array_equal(np.float32(episode.extra["last_row"]["action"]), truth.action[-1])
    assert np.float32(episode.extra["last_row"]["reward"]) == truth.reward[-1]


@pytest.mark.parametrize("row_group", [1000, 3])
def test_v3_with_videos_images_tasks_and_chunks(tmp_path: Path, row_group: int) -> None:
    made = truths()
    write_v3(tmp_path / "d", made, row_group)
    store = import_dataset(tmp_path / "d", tmp_path / "s")
    assert len(store) == len(made)
    for i, (episode, truth) in enumerate(zip(store, made, strict=True)):
        assert_holds(episode, truth, i)
    spec = store.spec
    assert spec.env_id == "lerobot/so100" and spec.hz == FPS and spec.max_steps == max(LENGTHS) - 1
    assert spec.cameras == ("front", "wrist") and spec.image_size == (H, W)
    assert spec.proprio_names == ("x", "y", "z") and spec.action_names == ("action_0", "action_1")
    assert spec.action_low == (-math.inf,) * A and spec.rotation == "unknown" and spec.gripper_close == 0.0


@pytest.mark.parametrize("name", ["tasks.parquet", "episodes/chunk-000/file-000.parquet"])
def test_a_table_of_a_million_equal_rows_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    write_v3(tmp_path / "foreign", truths())
    path = tmp_path / "foreign" / "meta" / name
    one = pq.read_table(path).slice(0, 1)
    pq.write_table(one.take(pa.array(np.zeros(MOST_ROWS + 1, np.int64))), path)
    assert path.stat().st_size < 200_000
    with pytest.raises(ValueError, match=f"{path.name}: has {MOST_ROWS + 1} rows; at most"):
        import_dataset(tmp_path / "foreign", tmp_path / "target")


def test_v21_with_videos_images_tasks_and_chunks(tmp_path: Path) -> None:
    made = truths()
    write_v21(tmp_path / "d", made)
    assert foresight("import", tmp_path / "d", f"target={tmp_path / 's'}", "format=lerobot") == 0
    store = EpisodeStore(tmp_path / "s")
    for i, (episode, truth) in enumerate(zip(store, made, strict=True)):
        assert_holds(episode, truth, i)
    assert store.spec.env_id == "lerobot/unknown" and store[1].extra["imported_from"] == "LeRobotDataset v2.1"


def test_what_the_user_knows_wins(tmp_path: Path) -> None:
    write_v3(tmp_path / "d", truths())
    known = Known(
        spec={"env_id": "mine/A-v0", "gripper_close": -1, "action_low": [-5, -5], "max_steps": 50},
        success={0: False, 2: False, 3: False},
        instruction="do it",
        source="policy:x",
        cameras=("wrist",),
        skip=frozenset({1}),
    )
    store = import_dataset(tmp_path / "d", tmp_path / "s", known)
    assert store.spec.env_id == "mine/A-v0" and store.spec.cameras == ("wrist",) and store.spec.max_steps == 50
    assert store.spec.gripper_close == -1.0 and store.spec.action_low == (-5, -5)
    assert [e.extra["source_episode"] for e in store] == [0, 2, 3]
    assert not any(row["success"] for row in store.index) and {e.instruction for e in store} == {"do it"}
    assert store[0].provenance.source == "policy:x"


def test_odd_but_legal_shapes(tmp_path: Path) -> None:
    """One camera without names, a state and an action of one number each, no reward, done or success."""
    root = tmp_path / "d"
    truth = truths((4,), ("image",))[0]
    table = rows(truth, 0, 0, {}).select(["timestamp", "frame_index", "episode_index", "index", "task_index"])
    table = table.append_column("observation.state", pa.array(truth.state[:, 0].astype(np.float64)))
    table = table.append_column("action", pa.array([[x] for x in truth.action[:, 0].tolist()], pa.list_(pa.float32())))
    write_parquet(root / "data/chunk-000/episode_000000.parquet", table)
    write_video(root / "v/observation.image/0.mp4", truth.images["image"])
    kept = {k: v for k, v in features({}).items() if not k.startswith("next.")}
    kept["observation.image"] = {"dtype": "video", "shape": [H, W, 3]}
    kept["observation.state"]["shape"] = kept["action"]["shape"] = [1]
    info = {
        "codebase_version": "v2.0",
        "chunks_size": 1000,
        "fps": FPS,
        "features": kept,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "v/{video_key}/{episode_index}.mp4",
    }
    write_json(root / "meta/info.json", info)
    (root / "meta/episodes.jsonl").write_text('{"episode_index": 0, "tasks": ["a"], "length": 4}\n')
    (root / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "a"}\n{"task_index": 1, "task": "b"}\n')
    with pytest.raises(ValueError, match=r"does not say whether it succeeded.*success="):
        import_dataset(root, tmp_path / "s")
    episode = import_dataset(root, tmp_path / "s", Known(success=True))[0]
    np.testing.assert_array_equal(episode.proprio[:, 0], truth.state[:, 0])
    np.testing.assert_array_equal(episode.actions[:, 0], truth.action[:3, 0])
    np.testing.assert_array_equal(episode.images["image"], truth.images["image"])
    assert {"rewards", "terminated"} <= set(episode.extra["unknown"])
    assert not episode.terminated.any() and episode.truncated.tolist() == [False, False, True]


@pytest.mark.parametrize("options", [{"g": "250", "bf": "3"}, {"g": "2"}])
def test_frames_at_are_the_wanted_ones_in_a_lossy_video_with_reordered_frames(
    tmp_path: Path, options: dict[str, str]
) -> None:
    levels = np.random.default_rng(0).permutation(60) * 4
    frames = np.broadcast_to(levels[:, None, None, None], (60, 32, 32, 3)).astype(np.uint8)
    write_video(tmp_path / "v.mp4", frames, codec="libx264", **options)
    for first, last in ((0, 60), (17, 31), (59, 60)):
        got = np.concatenate([*frames_near(tmp_path / "v.mp4", np.arange(first, last) / FPS, (32, 32), 1 / FPS)])
        assert np.abs(got.astype(int) - frames[first:last]).max() <= 3, (first, last)


def test_an_import_holds_a_few_episodes_not_the_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import episodes.importing.lerobot as module

    alive: list[str] = []
    real = module.Episode

    def watched(**fields: object) -> Episode:
        import weakref

        episode = real(**fields)  # type: ignore[arg-type]
        alive.append("+")
        weakref.finalize(episode, alive.append, "-")
        return episode

    monkeypatch.setattr(module, "Episode", watched)
    write_v3(tmp_path / "d", truths(LENGTHS * 3))
    import_dataset(tmp_path / "d", tmp_path / "s")
    counts = np.cumsum([1 if event == "+" else -1 for event in alive])
    # the first of a data file (the store looks at it before it opens one), the one being written, the next one
    assert alive.count("+") == 12 and counts.max() <= 3


def _edit(path: Path, **changes: object) -> None:
    import json

    info = json.loads(path.read_text())
    write_json(path, info | changes)


def _edit_table(path: Path, **columns: object) -> None:
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(table, path)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 3])


V3 = "data/chunk-000/file-000.parquet"
MP4 = "videos/observation.images.front/chunk-000/file-000.mp4"
INDEX = "meta/episodes/chunk-000/file-000.parquet"
EVIL = "data/../../../chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
WIDE = "data/{chunk_index:0999999999d}.parquet"
CODE = "data/{chunk_index.__class__}.parquet"
ONE = LENGTHS[0] + LENGTHS[1]
MALFORMED = {
    r"not a LeRobotDataset \(meta/info.json is missing\)": lambda d: (d / "meta/info.json").unlink(),
    "info.json: .*copy it": lambda d: (d / "meta/info.json").write_text('{"a'),
    "holds a JSON list": lambda d: (d / "meta/info.json").write_text("[]"),
    "codebase_version 'v1.6' is not one of": lambda d: _edit(d / "meta/info.json", codebase_version="v1.6"),
    "codebase_version 'v4.0' is not one of": lambda d: _edit(d / "meta/info.json", codebase_version="v4.0"),
    "nan Hz": lambda d: _edit(d / "meta/info.json", fps=float("nan")),
    "fps is '30', not a number": lambda d: _edit(d / "meta/info.json", fps="30"),
    "features are not a table": lambda d: _edit(d / "meta/info.json", features=[1]),
    "lacks 'features'": lambda d: (d / "meta/info.json").write_text('{"codebase_version": "v3.0"}'),
    "has no feature 'action'": lambda d: _edit(
        d / "meta/info.json", features={k: v for k, v in features({"wrist": "image"}).items() if k != "action"}
    ),
    "no camera images": lambda d: _edit(d / "meta/info.json", features=features({})),
    "total_episodes is 5, the episode index has 4": lambda d: _edit(d / "meta/info.json", total_episodes=5),
    "'.*chunk-000/file-000.parquet' leaves the dataset's folder": lambda d: _edit(d / "meta/info.json", data_path=EVIL),
    "'/etc/passwd' leaves the dataset's folder": lambda d: _edit(d / "meta/info.json", video_path="/etc/passwd"),
    r"__class__.* has a field other than": lambda d: _edit(d / "meta/info.json", data_path=CODE),
    r"0999999999d.* has a field other than": lambda d: _edit(d / "meta/info.json", data_path=WIDE),
    "path template None is not a text": lambda d: _edit(d / "meta/info.json", video_path=None),
    "file-000.parquet: missing; copy it": lambda d: (d / V3).unlink(),
    "file-000.parquet: .*Parquet.*copy it from the original": lambda d: _truncate(d / V3),
    "file-000.mp4: episode 0: missing": lambda d: (d / MP4).unlink(),
    "file-000.mp4: episode 0: not a readable video": lambda d: _truncate(d / MP4),
    "file-000.mp4: episode 1: no frame within .* of 0.2333 s": lambda d: write_video(
        d / MP4, np.zeros((7, H, W, 3), np.uint8)
    ),
    "frames are 32x32, the metadata says 16x24": lambda d: write_video(
        d / MP4, np.zeros((30, 32, 32, 3), np.uint8)
    ),
    "tasks.parquet: missing": lambda d: (d / "meta/tasks.parquet").unlink(),
    "episode 0: task_index 9 is not in meta/tasks": lambda d: _edit_table(d / V3, task_index=[9] * ONE),
    "episode 0: has 2 tasks": lambda d: _edit_table(d / V3, task_index=[0, 1] + [1] * (ONE - 2)),
    "episode 0: frame_index is not 0..4": lambda d: _edit_table(d / V3, frame_index=[0, 1, 3, 2, 4] + [*range(7)]),
    "episode 0: timestamps lie 3.91 frames from frame_index": lambda d: _edit_table(
        d / V3, timestamp=[0.0, 0.001, 0.002, 0.003, 0.0031, *[0.0] * 7]
    ),
    "has 4 rows of episode 0, the episode index says 5": lambda d: _edit_table(
        d / V3, episode_index=[0] * 4 + [1] * 8
    ),
    "actions of frame 2 are not finite": lambda d: _edit_table(
        d / V3, action=[[0.0, math.nan if t == 2 else 0.0] for t in range(ONE)]
    ),
    "action has rows that are not 2 long": lambda d: _edit_table(d / V3, action=[[0.0, 0.0, 0.0]] * ONE),
    "action holds string": lambda d: _edit_table(d / V3, action=["left"] * ONE),
    "a picture is neither PNG nor JPEG": lambda d: _edit_table(
        d / V3, **{"observation.images.wrist": [{"bytes": b"x", "path": None}] * ONE}
    ),
    "leaves the dataset": lambda d: _edit_table(d / V3, **{"observation.images.wrist": ["../../secret.png"] * ONE}),
    "lacks 'action'": lambda d: pq.write_table(pq.read_table(d / V3).drop_columns(["action"]), d / V3),
    "episode 0 follows 1: the index is not in order": lambda d: _edit_table(d / INDEX, episode_index=[1, 0]),
    "chunk_index is -1, outside": lambda d: _edit_table(d / INDEX, **{"data/chunk_index": [-1, 0]}),
    "lacks 'videos/observation.images.front/chunk_index'": lambda d: pq.write_table(
        pq.read_table(d / INDEX).drop_columns(["videos/observation.images.front/chunk_index"]), d / INDEX
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", MALFORMED)
def test_a_malformed_dataset_is_one_line_and_leaves_no_target(
    tmp_path: Path, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_v3(tmp_path / "d", truths())
    MALFORMED[message](tmp_path / "d")
    target = tmp_path / "out" / "s"
    with pytest.raises(ValueError, match=message) as caught:
        import_dataset(tmp_path / "d", target, format="lerobot")
    assert "\n" not in str(caught.value) and ".writing-" not in str(caught.value)
    assert not target.parent.exists() or not list(target.parent.iterdir()), "nothing is left behind"
    with pytest.raises(SystemExit) as ended:
        foresight("import", tmp_path / "d", f"target={target}")
    said = capsys.readouterr().err + str(ended.value)
    assert all(line.startswith("import: ") for line in said.splitlines())


@pytest.mark.parametrize("file", ["meta/episodes.jsonl", "meta/tasks.jsonl", "data/chunk-001/episode_000002.parquet"])
def test_a_malformed_v21_dataset_names_the_file(tmp_path: Path, file: str) -> None:
    write_v21(tmp_path / "d", truths())
    _truncate(tmp_path / "d" / file)
    with pytest.raises(ValueError, match=Path(file).name):
        import_dataset(tmp_path / "d", tmp_path / "s")
    (tmp_path / "d" / file).unlink()
    with pytest.raises(ValueError, match=f"{Path(file).name}: missing"):
        import_dataset(tmp_path / "d", tmp_path / "s")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d"]


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (Known(cameras=("side",)), "no camera 'side'; it has front, wrist"),
        (Known(state=("observation.x",)), "no feature 'observation.x'"),
        (Known(skip=frozenset({9})), "skip names episode 9"),
        (Known(skip=frozenset(range(4))), "every episode is skipped"),
        (Known(spec={"hertz": 1}), "no field 'hertz'"),
        (Known(spec={"hz": 10}), "hz is 10, the dataset has 30.0"),
        (Known(spec={"action_low": [0]}), "action_low is .*, the dataset has 2 entries"),
        (Known(spec={"max_steps": [0]}), "max_steps is .*, the dataset has one value"),
    ],
)
def test_what_the_user_says_must_fit(tmp_path: Path, known: Known, message: str) -> None:
    write_v3(tmp_path / "d", truths())
    with pytest.raises(ValueError, match=message):
        import_dataset(tmp_path / "d", tmp_path / "s", known)
    assert not (tmp_path / "s").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_v3(tmp_path / "d", truths())
    for target in (tmp_path / "d", tmp_path / "d/meta/s"):
        with pytest.raises(ValueError, match="lies inside the source"):
            import_dataset(tmp_path / "d", target)
    (tmp_path / "s").mkdir()
    (tmp_path / "s/thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists already; choose a new folder"):
        import_dataset(tmp_path / "d", tmp_path / "s")
    assert (tmp_path / "s/thesis.txt").read_text() == "mine"
    with pytest.raises(ValueError, match="does not exist"):
        import_dataset(tmp_path / "e", tmp_path / "t")
