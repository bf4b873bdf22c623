"""What people's datasets are like: other keys, outcomes that differ, drifting videos, odd texts, other HDF5 layouts."""

from __future__ import annotations

import io
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from episodes.importing import Known, import_dataset
from episodes.importing.target import BadEpisodes, Progress
from episodes.store import EpisodeStore
from episodes.video import frames_near
from tests.helpers.commands import foresight
from tests.helpers.foreign_datasets import FPS, TASKS, H, W, truths, write_robomimic, write_v3, write_v21

h5py = pytest.importorskip("h5py", reason="pip install -e .[robomimic]")
DATA = "data/chunk-000/file-000.parquet"
INDEX = "meta/episodes/chunk-000/file-000.parquet"


def _edit(path: Path, **columns: Any) -> None:
    table = pq.read_table(path)
    for name, values in columns.items():
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, pa.array(values))
        else:
            table = table.append_column(name, pa.array(values))
    pq.write_table(table, path)


def _rename(root: Path, names: dict[str, str]) -> None:
    info = json.loads((root / "meta/info.json").read_text())
    info["features"] = {names.get(k, k): v for k, v in info["features"].items()}
    (root / "meta/info.json").write_text(json.dumps(info))
    for path in [*root.glob("data/*/*.parquet")]:
        table = pq.read_table(path)
        pq.write_table(table.rename_columns([names.get(n, n) for n in table.column_names]), path)


@pytest.mark.parametrize("drift", [0.0002, 0.014])
def test_videos_that_drift_give_the_nearest_frame(tmp_path: Path, drift: float) -> None:
    made = truths()
    write_v3(tmp_path / "d", made)
    key = "videos/observation.images.front/from_timestamp"
    start = np.array(pq.read_table(tmp_path / "d" / INDEX)[key].to_pylist())
    _edit(tmp_path / "d" / INDEX, **{key: start + drift})
    store = import_dataset(tmp_path / "d", tmp_path / "s")
    for episode, truth in zip(store, made, strict=True):
        np.testing.assert_array_equal(episode.images["front"], truth.images["front"])
    _edit(tmp_path / "d" / INDEX, **{key: start - 0.6 / FPS})
    with pytest.raises(ValueError, match=r"no frame within .*tolerance="):
        import_dataset(tmp_path / "d", tmp_path / "t")
    import_dataset(tmp_path / "d", tmp_path / "t", Known(tolerance=0.7))  # the way out


def test_a_video_whose_first_frame_is_late_counts_from_it(tmp_path: Path) -> None:
    """Reordered frames without an edit list: presentation begins two frames late."""
    frames = np.arange(12, dtype=np.uint8)[:, None, None, None].repeat(16, 1).repeat(24, 2).repeat(3, 3) * 20
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("libx264rgb", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = 16, 24, "rgb24"
        stream.options = {"crf": "0"}
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i + 2, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    got = np.concatenate([*frames_near(tmp_path / "v.mp4", np.arange(12) / FPS, (16, 24), 1 / FPS)])
    np.testing.assert_array_equal(got, frames)


def test_openpis_keys_are_understood_and_others_can_be_named(tmp_path: Path) -> None:
    made = truths()
    write_v3(tmp_path / "d", made)
    _rename(tmp_path / "d", {"observation.state": "state", "action": "actions", "observation.images.wrist": "image"})
    store = import_dataset(tmp_path / "d", tmp_path / "s", Known(cameras=("image",)))
    np.testing.assert_array_equal(store[0].actions, made[0].action[:-1])
    np.testing.assert_array_equal(store[0].proprio, made[0].state)
    _rename(tmp_path / "d", {"state": "joints", "actions": "commands"})
    with pytest.raises(ValueError, match=r"its vectors are joints, commands; .*state="):
        import_dataset(tmp_path / "d", tmp_path / "t", Known(cameras=("image",)))
    named = Known(cameras=("image",), state=("joints",), action="commands")
    np.testing.assert_array_equal(import_dataset(tmp_path / "d", tmp_path / "t", named)[0].actions, store[0].actions)


def _without_success(root: Path) -> None:
    write_v3(root, truths())
    for path in root.glob("data/*/*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["next.success"]), path)


def test_each_episode_keeps_its_own_outcome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A column of the source decides; one word for all never rewrites it; a rule and a csv file can."""
    root, csv = tmp_path / "d", tmp_path / "outcomes.csv"
    _without_success(root)
    with pytest.raises(ValueError, match=r"does not say whether it succeeded.*success="):
        import_dataset(root, tmp_path / "s")
    for path in root.glob("data/*/*.parquet"):
        episode = np.array(pq.read_table(path)["episode_index"])
        _edit(path, is_success=(episode != 1).tolist())
    truth = [True, False, True, True]

    def won(*more: str) -> list[bool]:
        target = tmp_path / f"t{len(list(tmp_path.iterdir()))}"
        assert foresight("import", root, f"target={target}", *more) == 0
        return [row["success"] for row in EpisodeStore(target).index]

    assert won() == truth and won("success=@is_success") == truth
    assert won("success=yes") == truth and "was not used for 1 episodes" in capsys.readouterr().out
    assert won("success=@episode_index>=2") == [False, False, True, True]
    csv.write_bytes(b"\xef\xbb\xbfepisode,success\r\n0,no\r\n1,yes\r\n2,0\r\n3,true\r\n")
    assert won(f"success={csv}") == [False, True, False, True]
    csv.write_text("episode,success\n0,perhaps\n")
    with pytest.raises(SystemExit, match="'perhaps' is neither yes nor no; correct the csv file"):
        foresight("import", root, f"target={tmp_path / 'x'}", f"success={csv}")


def test_instructions_by_file_and_column(tmp_path: Path) -> None:
    write_v3(tmp_path / "d", truths())
    (tmp_path / "i.csv").write_text('episode,instruction\n0,a\n1,"b, then c"\n2,c\n3,d\n')
    store = import_dataset(tmp_path / "d", tmp_path / "s", Known(instruction=str(tmp_path / "i.csv")))
    assert [e.instruction for e in store] == ["a", "b, then c", "c", "d"]
    assert store[0].extra["source_instruction"] == TASKS[0]
    for path in (tmp_path / "d").glob("data/*/*.parquet"):
        _edit(path, words=[f"word {e}" for e in pq.read_table(path)["episode_index"].to_pylist()])
    store = import_dataset(tmp_path / "d", tmp_path / "t", Known(instruction="@words"))
    assert [e.instruction for e in store] == [f"word {i}" for i in range(4)]


@pytest.mark.parametrize("text", ["up\u2028the cube", "l\u0085eau", "a\u2029b", "a\x0bb\x0cc", "é 立方体"])
def test_texts_with_any_separator_and_a_byte_order_mark(tmp_path: Path, text: str) -> None:
    write_v21(tmp_path / "d", truths())
    lines = [json.dumps({"task_index": i, "task": text}, ensure_ascii=False) for i in range(2)]
    (tmp_path / "d/meta/tasks.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    info = (tmp_path / "d/meta/info.json").read_bytes()
    (tmp_path / "d/meta/info.json").write_bytes(b"\xef\xbb\xbf" + info)
    assert {e.instruction for e in import_dataset(tmp_path / "d", tmp_path / "s")} == {text}


def _encoded(image: np.ndarray, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **({"quality": 95} if form == "JPEG" else {}))
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("way", ["bytes", "path", "bare"])
def test_pictures_as_jpeg_and_png_in_rows_and_by_path(tmp_path: Path, form: str, way: str) -> None:
    made = truths()
    level = np.linspace(0, 200, W, dtype=np.uint8)[None, None, :, None]
    for truth in made:  # smooth, so that JPEG keeps it
        truth.images["wrist"] = np.broadcast_to(level, truth.images["wrist"].shape).copy()
    write_v3(tmp_path / "d", made)
    for path in (tmp_path / "d").glob("data/*/*.parquet"):
        entries: list[Any] = []
        for k in range(pq.read_table(path).num_rows):
            data = _encoded(made[0].images["wrist"][0], form)
            name = f"images/{path.parent.name}-{k}.{form.lower()}"
            (tmp_path / "d" / name).parent.mkdir(exist_ok=True)
            (tmp_path / "d" / name).write_bytes(data)
            one = {"bytes": data, "path": "x.png"} if way == "bytes" else {"bytes": None, "path": name}
            entries.append(name if way == "bare" else one)
        _edit(path, **{"observation.images.wrist": entries})
    for episode, truth in zip(import_dataset(tmp_path / "d", tmp_path / "s"), made, strict=True):
        assert np.abs(episode.images["wrist"].astype(int) - truth.images["wrist"]).max() <= (6 if form == "JPEG" else 0)


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_depth_is_not_taken_for_colour(tmp_path: Path, mode: str) -> None:
    write_v3(tmp_path / "d", truths())
    buffer = io.BytesIO()
    Image.fromarray(np.full((H, W), 7, np.uint8 if mode == "L" else np.uint16)).save(buffer, "PNG")
    for path in (tmp_path / "d").glob("data/*/*.parquet"):
        n = pq.read_table(path).num_rows
        _edit(path, **{"observation.images.wrist": [{"bytes": buffer.getvalue(), "path": None}] * n})
    with pytest.raises(ValueError, match=r"a picture is (8|16)-bit grey.*leave that camera out"):
        import_dataset(tmp_path / "d", tmp_path / "s")
    assert len(import_dataset(tmp_path / "d", tmp_path / "s", Known(cameras=("front",)))) == 4  # the way out


def test_every_bad_episode_is_named_at_once_by_the_sources_number_and_can_be_left_out(tmp_path: Path) -> None:
    write_v3(tmp_path / "d", truths())
    path = tmp_path / "d/data/chunk-001/file-000.parquet"
    n = pq.read_table(path).num_rows
    _edit(path, action=[[0.0, math.nan if t in (1, n - 3) else 0.0] for t in range(n)])  # episodes 2 and 3
    (tmp_path / "d/videos/observation.images.front/chunk-001/file-000.mp4").write_bytes(b"broken")  # episode 3
    with pytest.raises(BadEpisodes) as caught:
        import_dataset(tmp_path / "d", tmp_path / "s", Known(skip=frozenset({0})))
    assert [number for number, _ in caught.value.bad] == [2, 3] and not (tmp_path / "s").exists()
    assert str(caught.value).startswith("2 of 3 episodes") and "skip=[2,3], or skip=[bad]" in str(caught.value)
    assert f"{path}: episode 2: actions of frame 1 are not finite" in str(caught.value)
    heard: list[Progress] = []
    known = Known(skip_bad=True)
    store = import_dataset(tmp_path / "d", tmp_path / "s", known, tell=heard.append)
    assert [e.extra["source_episode"] for e in store] == [0, 1]
    assert heard[-1].bad == 2 and heard[-1].of == 4 and any(now.pictures for now in heard)


def _libero(path: Path, T: int = 6) -> np.ndarray:
    frames = np.random.default_rng(0).integers(0, 256, (T, H, W, 3), np.uint8)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["problem_info"] = json.dumps({"language_instruction": "open the drawer"})
        kwargs = {"control_freq": 20, "reward_shaping": True, "controller_configs": {"type": "OSC_POSE"}}
        data.attrs["env_args"] = json.dumps({"type": 1, "env_name": "Libero", "env_kwargs": kwargs})
        for k in range(2):
            demo = data.create_group(f"demo_{k}")
            demo["actions"], demo["rewards"] = np.full((T, 7), 0.1 * k), np.arange(T) == T - 1 - 9 * k
            for name in ("agentview_rgb", "eye_in_hand_rgb"):
                demo[f"obs/{name}"] = frames
            demo["obs/ee_states"], demo["obs/gripper_states"] = np.zeros((T, 6)), np.zeros((T, 2))
    return frames


def test_liberos_files(tmp_path: Path) -> None:
    frames = _libero(tmp_path / "l.hdf5")
    for camera in ("agentview", "agentview_rgb"):
        target = tmp_path / camera
        known = Known(cameras=(camera,), success="@rewards>0")
        store = import_dataset(tmp_path / "l.hdf5", target, known)
        assert store.spec.cameras == ("agentview",) and store.spec.proprio_dim == 8 and store.spec.hz == 20
        assert [e.success for e in store] == [True, False] and store[0].instruction == "open the drawer"
        np.testing.assert_array_equal(store[0].images["agentview"], frames)


def test_isaac_labs_files(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "i.hdf5", "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Isaac-Stack-v0", "type": 2})
        for k in range(2):
            demo = data.create_group(f"demo_{k}")
            demo.attrs["success"], demo.attrs["num_samples"] = k == 0, 5
            demo["actions"] = np.zeros((5, 7), np.float32)
            demo["obs/table_cam"] = np.full((5, H, W, 3), 9, np.uint8)
            demo["obs/table_cam_depth"] = np.zeros((5, H, W, 1), np.float32)
            for name, width in (("eef_pos", 3), ("eef_quat", 4), ("gripper_pos", 2)):
                demo[f"obs/{name}"] = np.zeros((5, width), np.float32)
            demo["states/articulation/robot/joint_position"] = np.zeros((5, 9))
    with pytest.raises(ValueError, match=r"control rate.*hz="):
        import_dataset(tmp_path / "i.hdf5", tmp_path / "s", Known(instruction="stack"))
    store = import_dataset(tmp_path / "i.hdf5", tmp_path / "s", Known(instruction="stack", hz=20.0))
    assert [e.success for e in store] == [True, False] and store.spec.cameras == ("table_cam",)
    assert store.spec.proprio_dim == 9 and store.spec.rotation == "unknown"


def test_raw_files_name_the_tool_that_adds_pictures_and_maniskills_with_pictures_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "raw.hdf5", "w") as file:
        demo = file.create_group("data/demo_1")
        demo["states"], demo["actions"] = np.zeros((6, 32)), np.zeros((6, 7))
    with pytest.raises(ValueError, match=r"simulator states alone: .*dataset_states_to_obs"):
        import_dataset(tmp_path / "raw.hdf5", tmp_path / "s")
    with h5py.File(tmp_path / "m.h5", "w") as file:
        for k in range(2):
            file[f"traj_{k}/actions"], file[f"traj_{k}/success"] = np.zeros((5, 7)), np.arange(5) == 4 + k
            file[f"traj_{k}/terminated"] = np.arange(5) == 4 + k
            file[f"traj_{k}/obs/agent/qpos"] = np.zeros((6, 9))
    with pytest.raises(ValueError, match=r"has no pictures: .*replay_trajectory"):
        import_dataset(tmp_path / "m.h5", tmp_path / "s")
    with h5py.File(tmp_path / "m.h5", "a") as file:
        for k in range(2):
            file[f"traj_{k}/obs/sensor_data/base_camera/rgb"] = np.full((6, H, W, 3), k, np.uint8)
    store = import_dataset(tmp_path / "m.h5", tmp_path / "s", Known(instruction="push", hz=20.0))
    assert [e.success for e in store] == [True, False] and len(store[0]) == 5 and store[0].terminated[-1]


def _actions(path: Path, actions: np.ndarray, positions: np.ndarray | None = None, **controller: Any) -> None:
    write_robomimic(path, truths((9,)), controller_configs={"type": "OSC_POSE", **controller})
    with h5py.File(path, "a") as file:
        demo = file["data/demo_10"]
        del demo["actions"]
        demo["actions"] = actions
        if positions is not None:
            for part, shift in (("obs", 0), ("next_obs", 1)):
                del demo[part]["robot0_eef_pos"]
                demo[part]["robot0_eef_pos"] = positions[shift : shift + 8]


POSE = np.tile([0.1, -0.05, 1.02, 2.9, 0.1, -0.05, 1.0], (8, 1))
PATH = np.cumsum(np.random.default_rng(3).normal(0, 0.05, (9, 3)), 0)


@pytest.mark.parametrize("says", [{"control_delta": False}, {"type": "OSC_POSE", "input_type": "absolute"}])
def test_absolute_actions_are_poses_without_bounds(tmp_path: Path, says: dict[str, Any]) -> None:
    _actions(tmp_path / "d.hdf5", POSE, **says)
    store = import_dataset(tmp_path / "d.hdf5", tmp_path / "s", Known(instruction="lift"))
    assert store.spec.action_names[:3] == ("x", "y", "z") and store.spec.action_high[:6] == (math.inf,) * 6
    assert store.spec.action_high[6] == 1.0
    np.testing.assert_array_equal(store[0].actions, POSE.astype(np.float32))


def test_actions_that_are_not_what_the_file_says_are_seen(tmp_path: Path) -> None:
    absolute = POSE.copy()
    absolute[:, :3] = PATH[1:]
    _actions(tmp_path / "d.hdf5", absolute, PATH)
    with pytest.raises(ValueError, match=r"says its actions are delta, its arrays show absolute ones.*actions="):
        import_dataset(tmp_path / "d.hdf5", tmp_path / "s", Known(instruction="lift"))
    known = Known(instruction="lift", actions="absolute")  # the way out
    assert import_dataset(tmp_path / "d.hdf5", tmp_path / "s", known).spec.action_names[0] == "x"


def test_fingers_that_open_when_told_to_close_are_seen(tmp_path: Path) -> None:
    actions = np.zeros((8, 7))
    actions[:, 6] = [1, 1, 1, -1, -1, 1, 1, -1]
    _actions(tmp_path / "d.hdf5", actions)
    with h5py.File(tmp_path / "d.hdf5", "a") as file:
        width = 0.3 + np.cumsum(np.r_[0, actions[:, 6] * 0.01])
        for part, shift in (("obs", 0), ("next_obs", 1)):
            del file[f"data/demo_10/{part}/robot0_gripper_qpos"]
            file[f"data/demo_10/{part}/robot0_gripper_qpos"] = np.stack([width, -width], 1)[shift : shift + 8]
        # 8 pairs need one more frame than obs has: two demonstrations
        file.copy("data/demo_10", file["data"], "demo_11")
    with pytest.raises(ValueError, match=r"gripper_close is 1, but the fingers open.*in the file of spec="):
        import_dataset(tmp_path / "d.hdf5", tmp_path / "s", Known(instruction="lift"))
    known = Known(instruction="lift", spec={"gripper_close": -1.0})
    assert import_dataset(tmp_path / "d.hdf5", tmp_path / "s", known).spec.gripper_close == -1.0


def test_pictures_are_fitted_to_a_size_and_it_is_recorded(tmp_path: Path) -> None:
    write_v3(tmp_path / "d", truths())  # 16 x 24
    store = import_dataset(tmp_path / "d", tmp_path / "s", Known(image_size=(32, 32)))
    episode = store[0]
    assert store.spec.image_size == (32, 32) and episode.images["front"].shape[1:] == (32, 32, 3)
    assert episode.extra["resized"]["front"] == {"from": [16, 24], "to": [32, 32], "at": [5, 0, 21, 32]}
    assert not episode.images["front"][:, :5].any() and episode.images["front"][:, 5:26].any()
    whole = import_dataset(tmp_path / "d", tmp_path / "t")
    read = EpisodeStore(whole.path, image_size=(32, 32))
    np.testing.assert_array_equal(read[0].images["wrist"], episode.images["wrist"])
    assert read.spec.image_size == (32, 32) and read[0].extra["resized_at_reading"]["from"] == [16, 24]
    assert read.content_hash != whole.content_hash
    with pytest.raises(ValueError, match=r"image_size is for reading"):
        EpisodeStore(whole.path, "a", image_size=(32, 32))
