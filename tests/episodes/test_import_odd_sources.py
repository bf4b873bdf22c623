"""Sources that say less, more or something else than their layout wants: the right values, or one line that helps."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from episodes.importing import Known, import_dataset
from episodes.importing.convention import require_gripper, seen
from episodes.importing.target import BadEpisodes
from tests.helpers.foreign_datasets import H, W, png, truths, write_robomimic, write_v3, write_v21

h5py = pytest.importorskip("h5py", reason="pip install -e .[robomimic]")
LIFT = Known(instruction="lift")
YES = Known(success=True)
FILES = "data/*/*.parquet"


def _tables(root: Path, change: Callable[[pa.Table], pa.Table], pattern: str = FILES) -> None:
    for path in root.glob(pattern):
        pq.write_table(change(pq.read_table(path)), path)


def _column(root: Path, name: str, made: Callable[[pa.Table], Any], pattern: str = FILES) -> None:
    def change(table: pa.Table) -> pa.Table:
        rest = table.drop_columns([name]) if name in table.column_names else table
        return rest.append_column(name, pa.array(made(table)))

    _tables(root, change, pattern)


def _features(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = root / "meta/info.json"
    info = json.loads(path.read_text())
    change(info["features"])
    path.write_text(json.dumps(info))


def _by_episode(first: Any, others: Any) -> Callable[[pa.Table], list[Any]]:
    return lambda table: [first if e == 0 else others for e in table["episode_index"].to_pylist()]


@pytest.mark.parametrize(
    ("first", "others"),
    [(1, 0), (1, -1), ("success", "failure"), ("True", "False"), ([True], [False]), (1.0, 0.0)],
)
def test_a_column_of_yes_and_no_in_any_form(tmp_path: Path, first: Any, others: Any) -> None:
    write_v3(tmp_path / "d", truths())
    _tables(tmp_path / "d", lambda table: table.drop_columns(["next.success"]))
    _column(tmp_path / "d", "is_success", _by_episode(first, others))
    assert [e.success for e in import_dataset(tmp_path / "d", tmp_path / "s")] == [True, False, False, False]


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_a_column_of_missing_values_says_nothing(tmp_path: Path, nothing: Any) -> None:
    write_v3(tmp_path / "d", truths())
    _column(tmp_path / "d", "next.success", lambda table: pa.array([nothing] * len(table), pa.float32()))
    with pytest.raises(ValueError, match="does not say whether it succeeded"):
        import_dataset(tmp_path / "d", tmp_path / "s")
    assert all(e.success for e in import_dataset(tmp_path / "d", tmp_path / "s", YES))


def test_success_in_words_in_the_episode_index(tmp_path: Path) -> None:
    write_v3(tmp_path / "v3", truths())
    _tables(tmp_path / "v3", lambda table: table.drop_columns(["next.success"]))
    _column(tmp_path / "v3", "success", _by_episode("success", "failure"), "meta/episodes/*/*.parquet")
    write_v21(tmp_path / "v2", truths())
    _tables(tmp_path / "v2", lambda table: table.drop_columns(["next.success"]))
    path = tmp_path / "v2/meta/episodes.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(r | {"success": "no" if r["episode_index"] else "yes"}) + "\n" for r in rows))
    for version in ("v3", "v2"):
        store = import_dataset(tmp_path / version, tmp_path / f"s{version}")
        assert [e.success for e in store] == [True, False, False, False]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("@action>0", "action is not one number a row; name one of these"),
        ("@words>0", "words holds texts, which '@words>0' cannot compare; name one of these"),
        ("@words", "words has the value 'maybe', neither yes nor no; say it with a rule"),
        ("@nothing", "nothing has no value in this episode; say it with a rule"),
    ],
)
def test_a_rule_that_a_column_cannot_answer(tmp_path: Path, rule: str, message: str) -> None:
    write_v3(tmp_path / "d", truths())
    _column(tmp_path / "d", "words", lambda table: ["maybe"] * len(table))
    _column(tmp_path / "d", "nothing", lambda table: pa.array([None] * len(table), pa.bool_()))
    with pytest.raises(ValueError, match=message):
        import_dataset(tmp_path / "d", tmp_path / "s", Known(success=rule))


def test_rules_take_numbers_as_people_write_them(tmp_path: Path) -> None:
    write_v3(tmp_path / "d", truths())
    _column(tmp_path / "d", "score", _by_episode(0.4, 0.6))
    for k, rule in enumerate(("@score<.5", "@score<5e-1", "@score < 0.5")):
        store = import_dataset(tmp_path / "d", tmp_path / f"s{k}", Known(success=rule))
        assert [e.success for e in store] == [True, False, False, False]


def test_one_episode_with_two_tasks_or_none_can_be_left_out(tmp_path: Path) -> None:
    write_v3(tmp_path / "d", truths())
    _column(
        tmp_path / "d", "task_index",
        lambda t: [i % 2 if e == 1 else x for i, (e, x) in
                   enumerate(zip(t["episode_index"].to_pylist(), t["task_index"].to_pylist(), strict=True))],
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"episode 1: has 2 tasks.*skip=\[1\], or skip=\[bad\]"):
        import_dataset(tmp_path / "d", tmp_path / "s")
    assert len(import_dataset(tmp_path / "d", tmp_path / "s", Known(skip_bad=True))) == 3
    tasks = tmp_path / "d/meta/tasks.parquet"
    pq.write_table(pa.table({"task_index": [0, 1], "__index_level_0__": [" ", "push"]}), tasks)
    with pytest.raises(ValueError, match="its instruction is empty"):
        import_dataset(tmp_path / "d", tmp_path / "t")


def test_rows_without_a_task_need_an_instruction(tmp_path: Path) -> None:
    write_v3(tmp_path / "d", truths())
    _tables(tmp_path / "d", lambda table: table.drop_columns(["task_index"]))
    with pytest.raises(ValueError, match=r"its rows have no task_index; give it with instruction="):
        import_dataset(tmp_path / "d", tmp_path / "s")
    assert import_dataset(tmp_path / "d", tmp_path / "s", LIFT)[0].instruction == "lift"


def test_cameras_of_depth_by_their_names_are_imported_only_when_named(tmp_path: Path) -> None:
    write_v3(tmp_path / "d", truths())
    for name in ("front_depth", "segmentation_front", "normals"):
        key = f"observation.images.{name}"
        _features(tmp_path / "d", lambda f, key=key: f.update({key: f["observation.images.wrist"]}))
        _tables(tmp_path / "d", lambda t, key=key: t.append_column(key, t["observation.images.wrist"]))
    assert import_dataset(tmp_path / "d", tmp_path / "s").spec.cameras == ("front", "wrist")
    named = import_dataset(tmp_path / "d", tmp_path / "t", Known(cameras=("front", "front_depth")))
    assert named.spec.cameras == ("front", "front_depth")


def test_transparency_is_left_out(tmp_path: Path) -> None:
    made = truths()
    write_v3(tmp_path / "d", made)

    def transparent(table: pa.Table) -> list[dict[str, Any]]:
        rows = []
        for e, i in zip(table["episode_index"].to_pylist(), table["frame_index"].to_pylist(), strict=True):
            picture = made[e].images["wrist"][i]
            rows.append({"bytes": png(np.dstack([picture, np.full((H, W), 9, np.uint8)])), "path": None})
        return rows

    _column(tmp_path / "d", "observation.images.wrist", transparent)
    store = import_dataset(tmp_path / "d", tmp_path / "s")
    np.testing.assert_array_equal(store[0].images["wrist"], made[0].images["wrist"])


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ([H, W, 3], ["channels", "height", "width"]),
        ([3, H, W], ["height", "width", "channels"]),
        ([3, H, W], None),
        ([H, W, 3], {"axes": ["height", "width", "channels"]}),
    ],
)
def test_the_three_tells_the_colours_whatever_the_names_say(tmp_path: Path, shape: list[int], names: Any) -> None:
    write_v3(tmp_path / "d", truths())
    _features(tmp_path / "d", lambda f: f["observation.images.wrist"].update(shape=shape, names=names))
    assert import_dataset(tmp_path / "d", tmp_path / "s").spec.image_size == (H, W)


def test_features_of_one_camera_name_keep_their_keys_and_nested_names_are_read(tmp_path: Path) -> None:
    write_v3(tmp_path / "d", truths())
    _features(tmp_path / "d", lambda f: f.update({"observation.wrist": f["observation.images.wrist"]}))
    _features(tmp_path / "d", lambda f: f["action"].update(names=[["left", "right"]]))
    _tables(tmp_path / "d", lambda t: t.append_column("observation.wrist", t["observation.images.wrist"]))
    spec = import_dataset(tmp_path / "d", tmp_path / "s").spec
    assert spec.cameras == ("front", "observation.images.wrist", "observation.wrist")
    assert spec.action_names == ("left", "right")


def test_paths_of_the_machine_that_recorded_are_looked_up_by_name(tmp_path: Path) -> None:
    made = truths()
    write_v3(tmp_path / "d", made)
    folder = tmp_path / "d/images/observation.images.wrist"

    def paths(table: pa.Table) -> list[dict[str, Any]]:
        rows = []
        for e, i in zip(table["episode_index"].to_pylist(), table["frame_index"].to_pylist(), strict=True):
            place = folder / f"episode_{e:06d}/frame_{i:06d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(png(made[e].images["wrist"][i]))
            rows.append({"bytes": None, "path": f"/home/somebody/images/frame_{i:06d}.png"})
        return rows

    _column(tmp_path / "d", "observation.images.wrist", paths)
    store = import_dataset(tmp_path / "d", tmp_path / "s")
    np.testing.assert_array_equal(store[1].images["wrist"], made[1].images["wrist"])
    (folder / "episode_000001/frame_000003.png").unlink()
    with pytest.raises(ValueError, match=r"episode 1, wrist: the picture frame_000003.png is missing"):
        import_dataset(tmp_path / "d", tmp_path / "t")


def test_a_missing_file_is_one_bad_episode_of_several(tmp_path: Path) -> None:
    write_v3(tmp_path / "d", truths())
    (tmp_path / "d/videos/observation.images.front/chunk-001/file-000.mp4").unlink()  # of episode 3
    with pytest.raises(BadEpisodes, match=r"1 of 4 episodes .*episode 3: missing"):
        import_dataset(tmp_path / "d", tmp_path / "s")
    assert len(import_dataset(tmp_path / "d", tmp_path / "s", Known(skip_bad=True))) == 3


def test_many_bad_episodes_are_counted_in_the_line_and_all_kept(tmp_path: Path) -> None:
    write_v3(tmp_path / "d", truths((5,) * 14))
    _column(tmp_path / "d", "frame_index", lambda table: [9] * len(table))
    with pytest.raises(BadEpisodes, match=r"14 of 14 episodes .*; and 4 more$") as caught:
        import_dataset(tmp_path / "d", tmp_path / "s")
    assert len(caught.value.bad) == 14


def _h5(path: Path, change: Callable[[Any], Any], **env_kwargs: Any) -> Path:
    write_robomimic(path, truths(), **env_kwargs)
    with h5py.File(path, "a") as file:
        for demo in list(file["data"].values()):
            change(demo)
    return path


def _put(demo: Any, name: str, values: Any) -> None:
    if name in demo:
        del demo[name]
    demo[name] = values


def test_rewards_that_are_not_sparse_say_no_success(tmp_path: Path) -> None:
    path = _h5(tmp_path / "d.hdf5", lambda d: _put(d, "rewards", np.linspace(0.1, 0.3, len(d["actions"]))))
    with pytest.raises(ValueError, match="does not say whether it succeeded"):
        import_dataset(path, tmp_path / "s", LIFT)
    told = Known(instruction="lift", success="@rewards>0.5")
    assert not any(e.success for e in import_dataset(path, tmp_path / "s", told))


def test_a_demonstrations_own_success_comes_before_its_rewards(tmp_path: Path) -> None:
    path = _h5(tmp_path / "d.hdf5", lambda d: d.attrs.__setitem__("success", "failure"))
    assert not any(e.success for e in import_dataset(path, tmp_path / "s", LIFT))


def test_numbers_of_demonstrations_may_be_padded_and_the_first_may_be_empty(tmp_path: Path) -> None:
    def emptied(demo: Any) -> None:
        if demo.name.endswith("_0"):
            demo.attrs["num_samples"] = 0
            for name in ("actions", "rewards", "dones", *(f"{o}/{k}" for o in ("obs", "next_obs") for k in demo[o])):
                _put(demo, name, demo[name][:0])

    path = _h5(tmp_path / "d.hdf5", emptied)
    with h5py.File(path, "a") as file:
        file.move("data/demo_1", "data/demo_0001")
    with pytest.raises(ValueError, match=r"1 of 4 episodes .*demo_0: .*skip=\[0\], or skip=\[bad\]"):
        import_dataset(path, tmp_path / "s", LIFT)
    store = import_dataset(path, tmp_path / "s", Known(instruction="lift", skip_bad=True))
    assert [e.extra["source_episode"] for e in store] == [1, 2, 10]


def test_the_longest_episode_is_the_time_limit(tmp_path: Path) -> None:
    made = truths()
    for next_obs in (True, False):  # T actions, or one fewer that have a next observation
        write_robomimic(tmp_path / f"{next_obs}.hdf5", made, next_obs=next_obs)
        store = import_dataset(tmp_path / f"{next_obs}.hdf5", tmp_path / f"s{next_obs}", LIFT)
        assert store.spec.max_steps == max(len(e) for e in store) == 6


@pytest.mark.parametrize("rate", ["20", 0, math.nan, None])
def test_a_rate_that_is_none_can_be_given(tmp_path: Path, rate: Any) -> None:
    path = _h5(tmp_path / "d.hdf5", lambda d: None, control_freq=rate)
    with pytest.raises(ValueError, match=r"does not say its control rate.*hz="):
        import_dataset(path, tmp_path / "s", LIFT)
    assert import_dataset(path, tmp_path / "s", Known(instruction="lift", hz=20.0)).spec.hz == 20


def test_vectors_that_are_not_there_are_named_with_those_that_are(tmp_path: Path) -> None:
    path = _h5(tmp_path / "d.hdf5", lambda d: None)
    with pytest.raises(ValueError, match=r"has no 'moves'; its vectors are actions, states; .*action=KEY"):
        import_dataset(path, tmp_path / "s", Known(instruction="lift", action="moves"))
    with pytest.raises(ValueError, match=r"lacks 'q'; its vectors are robot0_eef_pos, robot0_eef_quat, robot0_gr"):
        import_dataset(path, tmp_path / "s", Known(instruction="lift", state=("q",)))
    write_v3(tmp_path / "d", truths())
    for source, name in ((path, "robot0_eef_pos"), (tmp_path / "d", "observation.state")):
        with pytest.raises(ValueError, match=r"names a vector twice; .*state=\[KEY,KEY\]"):
            import_dataset(source, tmp_path / "s", Known(instruction="lift", state=(name, name)))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda x: (x / 255).astype(np.float32), r"float32 \(.*store its pictures as uint8"),
        (lambda x: x.astype(np.uint16) * 256, r"uint16 \(.*store its pictures as uint8"),
        (lambda x: np.moveaxis(x, -1, 1), r"uint8 \(4, 3, 16, 24\).*store its pictures as uint8"),
        (lambda x: x[..., 0], "it is no colour picture"),
        (lambda x: x[..., :1], "it is no colour picture"),
    ],
)
def test_pictures_of_another_kind(tmp_path: Path, made: Callable[[np.ndarray], np.ndarray], message: str) -> None:
    def change(demo: Any) -> None:
        for name in ("obs/wrist_image", "next_obs/wrist_image"):
            _put(demo, name, made(demo[name][()]))

    path = _h5(tmp_path / "d.hdf5", change)
    with pytest.raises(ValueError, match=f"wrist_image is {message}" if "(" in message else message):
        import_dataset(path, tmp_path / "s", LIFT)
    store = import_dataset(path, tmp_path / "s", Known(instruction="lift", cameras=("front",)))
    assert store.spec.cameras == ("front",)


def test_two_arrays_of_one_camera_name_and_depth_by_name(tmp_path: Path) -> None:
    def change(demo: Any) -> None:
        for part in ("obs", "next_obs"):
            demo[f"{part}/front_rgb"] = 255 - demo[f"{part}/front_image"][()]
            demo[f"{part}/front_depth_image"] = demo[f"{part}/front_image"][()]

    store = import_dataset(_h5(tmp_path / "d.hdf5", change), tmp_path / "s", LIFT)
    assert store.spec.cameras == ("front_image", "front_rgb", "wrist")
    np.testing.assert_array_equal(store[0].images["front_rgb"], 255 - store[0].images["front_image"])


ABSOLUTE = {"type": "OSC_POSE", "control_delta": False}


def _poses(T: int = 9, n: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Actions (T, n) that are the poses to reach, and the positions (T, 3) before each."""
    at = np.cumsum(np.random.default_rng(3).normal(0, 0.05, (T + 1, 3)), 0)
    return np.concatenate([at[1:], np.zeros((T, n - 3))], 1), at[:-1]


def _one(path: Path, actions: np.ndarray, controller: Any, **obs: np.ndarray) -> Path:
    T = len(actions)
    write_robomimic(path, truths((T,)), next_obs=False, controller_configs=controller)
    with h5py.File(path, "a") as file:
        demo = file["data/demo_10"]
        _put(demo, "actions", actions)
        for name, values in obs.items():
            _put(demo, f"obs/{name}", values)
    return path


def test_controllers_in_a_list_and_their_ranges(tmp_path: Path) -> None:
    actions, _ = _poses()
    path = _one(tmp_path / "two.hdf5", actions, [ABSOLUTE, ABSOLUTE])
    assert import_dataset(path, tmp_path / "two", LIFT).spec.action_names[0] == "x"
    half = {"type": "OSC_POSE", "input_min": -0.5, "input_max": 0.5}
    path = _one(tmp_path / "half.hdf5", np.full((9, 7), 0.4), half)
    spec = import_dataset(path, tmp_path / "half", LIFT).spec
    assert spec.action_low == (-0.5,) * 6 + (-1.0,) and spec.action_high == (0.5,) * 6 + (1.0,)
    path = _one(tmp_path / "wide.hdf5", np.full((9, 7), 0.6), half)
    store = import_dataset(path, tmp_path / "wide", LIFT)
    assert store.spec.action_high == (math.inf,) * 6 + (1.0,)
    assert "action bounds (some actions lie outside -0.5..0.5)" in store[0].extra["unknown"]


def test_an_arm_without_gripper_closes_nothing_and_other_rotations_are_unknown(tmp_path: Path) -> None:
    hand = import_dataset(_one(tmp_path / "6.hdf5", np.zeros((9, 6)), {"type": "OSC_POSE"}), tmp_path / "6", LIFT).spec
    assert hand.gripper_close == 0.0 and hand.action_low == (-1.0,) * 6
    for n in (8, 10):  # a quaternion, six numbers of a matrix
        path = _one(tmp_path / f"{n}.hdf5", _poses(9, n)[0], ABSOLUTE)
        spec = import_dataset(path, tmp_path / str(n), LIFT).spec
        assert spec.rotation == "unknown" and spec.action_high == (math.inf,) * (n - 1) + (1.0,)


@pytest.mark.parametrize("key", ["ee_pos", "ee_states"])
def test_poses_are_seen_in_liberos_vectors_too(tmp_path: Path, key: str) -> None:
    actions, positions = _poses(16)
    path = _one(tmp_path / "d.hdf5", actions, {"type": "OSC_POSE"}, **{key: positions})
    with h5py.File(path, "a") as file:
        del file["data/demo_10/obs/robot0_eef_pos"]
        file["data/demo_10/obs/gripper_states"] = np.zeros((16, 2))
    known = Known(instruction="lift", state=(key, "gripper_states"))
    with pytest.raises(ValueError, match=r"says its actions are delta, its arrays show absolute ones"):
        import_dataset(path, tmp_path / "s", known)


def test_a_few_numbers_by_chance_are_no_evidence() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        pairs = [(rng.normal(size=6), rng.normal(size=(6, 2))) for _ in range(2)]
        require_gripper(pairs, 1.0)
        assert seen([(rng.normal(size=(6, 7)), rng.normal(size=(6, 3)))]) == ""


def test_maniskills_files_of_states_name_the_tool(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["traj_0/actions"], file["traj_0/obs"] = np.zeros((5, 7)), np.zeros((6, 42))
    with pytest.raises(ValueError, match=r"has no pictures: .*replay_trajectory"):
        import_dataset(tmp_path / "m.h5", tmp_path / "s", LIFT)


@pytest.mark.parametrize(
    "data",
    [
        b"episode;success\r\n0;yes\r\n1;no\r\n2;yes\r\n3;yes\r\n",
        "episode\tsuccess\r\n0\tyes\r\n1\tno\r\n2\tyes\r\n3\tyes\r\n".encode("utf-16"),
        b"Episode, Success\n0, Yes\n1, FALSE\n2, 1\n3, true\n",
        b"episode,success\n0.0,1.0\n1.0,0.0\n2.0,1.0\n3.0,1.0\n",
    ],
)
def test_csv_files_as_spreadsheets_write_them(tmp_path: Path, data: bytes) -> None:
    write_v3(tmp_path / "d", truths())
    (tmp_path / "s.csv").write_bytes(data)
    store = import_dataset(tmp_path / "d", tmp_path / "s", Known(success=str(tmp_path / "s.csv")))
    assert [row["success"] for row in store.index] == [True, False, True, True]


def test_when_every_episode_is_bad_it_is_said_why(tmp_path: Path) -> None:
    write_v3(tmp_path / "d", truths())
    _column(tmp_path / "d", "frame_index", lambda table: [7] * len(table))
    with pytest.raises(BadEpisodes, match=r"4 of 4 .*frame_index is not 0\.\.4"):
        import_dataset(tmp_path / "d", tmp_path / "s", Known(skip_bad=True))


@pytest.mark.parametrize("source", ["meta/info.json", "data/chunk-000/file-000.parquet"])
def test_a_file_of_another_kind_is_not_called_damaged(tmp_path: Path, source: str) -> None:
    write_v3(tmp_path / "d", truths())
    with pytest.raises(ValueError, match=r"is no HDF5 file; give the folder that has meta/info\.json"):
        import_dataset(tmp_path / "d" / source, tmp_path / "s")


def test_sixteen_bits_a_colour_are_no_depth(tmp_path: Path) -> None:
    write_v3(tmp_path / "d", truths())
    deep = cv2.imencode(".png", np.zeros((H, W, 3), np.uint16))[1].tobytes()
    _column(tmp_path / "d", "observation.images.wrist", lambda t: [{"bytes": deep, "path": None}] * len(t))
    with pytest.raises(ValueError, match="16 bits a colour; convert the pictures to PNG or JPEG of 8 bits"):
        import_dataset(tmp_path / "d", tmp_path / "s")


@pytest.mark.parametrize(
    "kind",
    [
        lambda picture: base64.b64encode(picture).decode(),
        lambda picture: base64.b64encode(picture * 9).decode().replace("/", "+"),  # longer than a name may be
        lambda picture: np.zeros((H, W, 3), np.uint8).tolist(),
    ],
)
def test_pictures_that_are_neither_bytes_nor_paths(tmp_path: Path, kind: Callable[[bytes], Any]) -> None:
    write_v3(tmp_path / "d", truths())
    name = "observation.images.wrist"
    _column(tmp_path / "d", name, lambda t: [kind(x["bytes"]) for x in t[name].to_pylist()])
    with pytest.raises(ValueError, match=r"(a path|encoded images); convert the pictures to PNG") as e:
        import_dataset(tmp_path / "d", tmp_path / "s")
    assert len(str(e.value)) < 2000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: 1.7e9 + t, "begin at 1.7e.09 s, not at 0; take the first"),
        (lambda t: 1e9 * (1.7e9 + t), "timestamps are in nanoseconds; write them in seconds"),
        (lambda t: 1e3 * (5 + t), "timestamps are in milliseconds; write them in seconds"),
        (lambda t: 9e5 * t * t, "frames from frame_index / 30 fps; leave the episode out"),
    ],
)
def test_clocks_of_other_units_and_beginnings(tmp_path: Path, change: Any, message: str) -> None:
    write_v3(tmp_path / "d", truths())
    _column(tmp_path / "d", "timestamp", lambda t: change(np.array(t["timestamp"].to_pylist(), np.float64)))
    with pytest.raises(ValueError, match=message):
        import_dataset(tmp_path / "d", tmp_path / "s")
