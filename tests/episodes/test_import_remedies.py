"""Every way out that an import's error names is taken here, and works."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from episodes.importing import Known, import_dataset
from episodes.importing.oxe import oxe_known
from episodes.importing.remedies import REMEDIES
from tests.helpers.foreign_datasets import FPS, H, W, truths, write_robomimic, write_v3, write_video

h5py = pytest.importorskip("h5py", reason="pip install -e .[robomimic]")
LIFT = Known(instruction="lift")
ROWS = "data/chunk-000/file-000.parquet"
MP4 = "videos/observation.images.front/chunk-000/file-000.mp4"


@dataclass
class Case:
    """How a source is broken, what is given, the error's words beside the remedy, and the remedy as one applies it."""

    breaks: Callable[[Path], Any]
    known: Known = field(default_factory=Known)
    remedy: Known | Callable[[Path], Any] = field(default_factory=Known)
    hdf5: bool = False


def _info(root: Path, **changes: Any) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _feature(root: Path, key: str, **changes: Any) -> None:
    features = json.loads((root / "meta/info.json").read_text())["features"]
    features[key] |= changes
    _info(root, features=features)


def _named(root: Path, part: str, name: str | None) -> None:
    """Give the features whose key has `part` another name in info.json, or leave them out there."""
    features = json.loads((root / "meta/info.json").read_text())["features"]
    _info(root, features={name if part in k else k: v for k, v in features.items() if name or part not in k})


def _without(root: Path, key: str) -> None:
    features = json.loads((root / "meta/info.json").read_text())["features"]
    moved = features.pop(key)
    _info(root, features=features | {f"other.{key}": moved})
    for path in root.glob("data/*/*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.rename_columns([f"other.{key}" if n == key else n for n in table.column_names]), path)


def _drop(root: Path, *names: str) -> None:
    for path in root.glob("data/*/*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(list(names)), path)


def _rows(root: Path, name: str, change: Callable[[Any], Any]) -> None:
    table = pq.read_table(root / ROWS)
    values = change(table[name].to_pylist())
    pq.write_table(table.set_column(table.column_names.index(name), name, pa.array(values)), root / ROWS)


def _h5(path: Path, name: str, content: Any) -> None:
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        if content is not None:
            file[name] = content


def _again(root: Path) -> None:
    """The original, copied again."""
    shutil.rmtree(root) if root.is_dir() else root.unlink()
    write_v3(root, truths()) if root.suffix != ".hdf5" else write_robomimic(root, truths())


def _linked(root: Path) -> None:
    (root / ROWS).rename(root.parent / "elsewhere.parquet")
    (root / ROWS).symlink_to(root.parent / "elsewhere.parquet")


def _link(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.move("data/demo_0/actions", "elsewhere")
        file["data/demo_0/actions"] = h5py.SoftLink("/elsewhere")


def _raw(path: Path) -> None:
    with h5py.File(path, "a") as file:
        for demo in file["data"].values():
            del demo["obs"], demo["next_obs"]


def _trajectories(path: Path, pictures: bool = False) -> None:
    with h5py.File(path, "w") as file:
        file["traj_0/actions"], file["traj_0/success"] = np.zeros((4, 7)), np.ones(4, bool)
        file["traj_0/obs/agent/qpos"] = np.zeros((5, 9))
        if pictures:
            file["traj_0/obs/sensor_data/cam/rgb"] = np.zeros((5, H, W, 3), np.uint8)


def _opening(path: Path) -> None:
    with h5py.File(path, "a") as file:
        for demo in file["data"].values():
            n = len(demo["actions"])
            command = np.where(np.arange(n) % 3 == 0, -1.0, 1.0)
            width = 1 + np.cumsum(np.r_[0, command * 0.01])
            del demo["actions"]
            demo["actions"] = np.stack([np.zeros(n), command], 1)
            for part, shift in (("obs", 0), ("next_obs", 1)):
                del demo[part]["robot0_gripper_qpos"]
                demo[part]["robot0_gripper_qpos"] = np.stack([width, -width], 1)[shift : shift + n]


def _following(path: Path) -> None:
    with h5py.File(path, "a") as file:
        for k, demo in enumerate(file["data"].values()):
            n = len(demo["actions"])
            at = np.cumsum(np.random.default_rng(k).normal(0, 0.05, (n + 1, 3)), 0)
            del demo["actions"]
            demo["actions"] = np.concatenate([at[1:], np.zeros((n, 4))], 1)
            for part, shift in (("obs", 0), ("next_obs", 1)):
                del demo[part]["robot0_eef_pos"]
                demo[part]["robot0_eef_pos"] = at[shift : shift + n]


def _pictures(path: Path, change: Callable[[np.ndarray], np.ndarray], demo: str = "") -> None:
    with h5py.File(path, "a") as file:
        for name in [demo] if demo else list(file["data"]):
            for part in ("obs", "next_obs"):
                for key in ("front_image", "wrist_image"):
                    made = change(file[f"data/{name}/{part}/{key}"][()])
                    del file[f"data/{name}/{part}/{key}"]
                    file[f"data/{name}/{part}/{key}"] = made


def _wrist(root: Path, form: str) -> None:
    """The pictures of the wrist in another format."""

    def encoded(picture: dict[str, Any]) -> dict[str, Any]:
        buffer = io.BytesIO()
        Image.open(io.BytesIO(picture["bytes"])).save(buffer, form)
        return {"bytes": buffer.getvalue(), "path": None}

    _rows(root, "observation.images.wrist", lambda rows: [encoded(row) for row in rows])


def _each_row(root: Path, name: str, made: Callable[[int], list[Any]]) -> None:
    for path in root.glob("data/*/*.parquet"):
        table = pq.read_table(path)
        table = table.drop_columns([name]) if name in table.column_names else table
        pq.write_table(table.append_column(name, pa.array(made(len(table)))), path)


def _renamed(root: Path) -> None:
    """The videos of the front camera as those of a camera `depth_front`."""
    (root / "videos/observation.images.front").rename(root / "videos/observation.images.depth_front")
    for path in root.glob("meta/episodes/*/*.parquet"):
        table = pq.read_table(path)
        pq.write_table(
            table.rename_columns([n.replace("images.front", "images.depth_front") for n in table.column_names]), path
        )


def _poses(root: Path) -> None:
    """Bridge's features with actions that are the poses to reach: the state's next ones."""
    rng = np.random.default_rng(0)
    for key in ("observation.state", "action"):
        _feature(root, key, shape=[7], names=None)
    for path in root.glob("data/*/*.parquet"):
        table = pq.read_table(path)
        at = np.cumsum(rng.normal(0, 0.05, (len(table) + 1, 7)), 0)
        for key, rows in (("observation.state", at[:-1]), ("action", np.c_[at[1:, :6], np.ones(len(table))])):
            column = pa.array(rows.astype(np.float32).tolist())
            table = table.set_column(table.column_names.index(key), key, column)
        pq.write_table(table, path)


def _env(path: Path, **changes: Any) -> None:
    with h5py.File(path, "a") as file:
        args = json.loads(file["data"].attrs["env_args"])
        file["data"].attrs["env_args"] = json.dumps(args | {"env_kwargs": args["env_kwargs"] | changes})


SKIP = Known(skip=frozenset({0}))
SMALL = {"shape": [8, 8, 3]}
CASES: dict[str, Case] = {
    "damaged": Case(lambda d: (d / ROWS).write_bytes((d / ROWS).read_bytes()[:99]), remedy=_again),
    "missing": Case(lambda d: (d / MP4).unlink(), remedy=_again),
    "lacks": Case(lambda d: _drop(d, "frame_index"), remedy=_again),
    "text": Case(
        lambda d: (d / "meta/info.json").write_bytes((d / "meta/info.json").read_bytes().replace(b"so100", b"so\xe9")),
        remedy=lambda d: (d / "meta/info.json").write_text((d / "meta/info.json").read_text("latin-1"), "utf-8"),
    ),
    "hdf5_layout": Case(lambda p: _h5(p, "data", None), LIFT, _again, hdf5=True),
    "newer": Case(lambda d: _info(d, codebase_version="v3.1"), remedy=lambda d: _info(d, codebase_version="v3.0")),
    "no_episodes": Case(
        lambda d: [p.unlink() for p in d.glob("meta/episodes/*/*.parquet")], remedy=_again
    ),
    "format": Case(lambda d: (d / "meta/info.json").unlink(), remedy=_again),
    "version": Case(lambda d: _info(d, codebase_version="v1.6"), remedy=_again),
    "metadata": Case(lambda d: _info(d, total_episodes=9), remedy=lambda d: _info(d, total_episodes=4)),
    "outside": Case(lambda d: _info(d, data_path="/etc/passwd"), remedy=_again),
    "file_link": Case(_linked, remedy=_again),
    "action": Case(lambda d: _without(d, "action"), remedy=Known(action="other.action")),
    "state": Case(lambda d: _without(d, "observation.state"), remedy=Known(state=("other.observation.state",))),
    "vector": Case(
        lambda d: _feature(d, "observation.state", shape=[3, 1]),
        remedy=lambda d: _feature(d, "observation.state", shape=[3]),
    ),
    "camera": Case(lambda d: None, Known(cameras=("side",)), Known(cameras=("front",))),
    "camera_name": Case(
        lambda d: _named(d, "observation.images.wrist", "a/b"),
        remedy=Known(cameras=("front",)),
    ),
    "colourless": Case(
        lambda d: (_named(d, "front", "observation.images.depth_front"), _named(d, "wrist", None), _renamed(d)),
        remedy=Known(cameras=("depth_front",)),
    ),
    "array": Case(
        lambda p: _pictures(p, lambda x: (x / 255).astype(np.float32)), LIFT,
        lambda p: _pictures(p, lambda x: (x * 255).round().astype(np.uint8)), hdf5=True,
    ),
    "codec": Case(
        lambda d: _wrist(d, "BMP"), remedy=lambda d: _wrist(d, "PNG"),
    ),
    "one_size": Case(
        lambda p: _pictures(p, lambda x: x[:, :8, :8], "demo_1"), LIFT,
        replace(LIFT, image_size=(H, W)), hdf5=True,
    ),
    "width": Case(
        lambda d: _feature(d, "action", shape=[5]), remedy=lambda d: _feature(d, "action", shape=[2])
    ),
    "not_rgb": Case(
        lambda d: _feature(d, "observation.images.wrist", shape=[H, W, 1]), remedy=Known(cameras=("front",))
    ),
    "sizes": Case(lambda d: _feature(d, "observation.images.wrist", **SMALL), remedy=Known(cameras=("front",))),
    "no_pictures": Case(
        lambda d: _named(d, "images", None),
        remedy=_again,
    ),
    "success": Case(lambda d: _drop(d, "next.success"), remedy=Known(success=True)),
    "success_column": Case(lambda d: None, Known(success="@won"), Known(success="@next.success")),
    "success_values": Case(
        lambda d: _each_row(d, "next.success", lambda n: list(np.linspace(0, 0.9, n))),
        remedy=Known(success="@next.success>0.8"),
    ),
    "success_contradicts": Case(
        lambda d: _each_row(d, "is_success", lambda n: [False] * n), remedy=Known(success="@next.success")
    ),
    "instruction": Case(lambda d: _drop(d, "task_index"), remedy=Known(instruction="lift the cube")),
    "episode_instruction": Case(
        lambda d: _rows(d, "task_index", lambda rows: [0, 1, *rows[2:]]), remedy=Known(instruction="lift the cube")
    ),
    "csv": Case(
        lambda d: (d.parent / "s.csv").write_text("episode\n0\n"),
        Known(success="{root}.csv"),
        lambda d: (d.parent / "s.csv").write_text("episode,success\n0,yes\n1,no\n2,yes\n3,1\n"),
    ),
    "hz_contradicts": Case(lambda d: None, Known(hz=10.0), Known()),
    "spec": Case(lambda d: None, Known(spec={"hertz": 1}), Known(spec={"env_id": "a"})),
    "bounds": Case(lambda d: None, Known(spec={"action_high": [0, 0]}), Known(spec={"action_high": [9, 9]})),
    "rows": Case(lambda d: _rows(d, "frame_index", lambda rows: [1, 0, *rows[2:]]), remedy=SKIP),
    "timestamps": Case(
        lambda d: _rows(d, "timestamp", lambda rows: [0.7 / FPS, *rows[1:]]), remedy=Known(tolerance=0.9)
    ),
    "fps": Case(lambda d: _info(d, fps=FPS * 2), remedy=lambda d: _info(d, fps=FPS)),
    "unit": Case(
        lambda d: _rows(d, "timestamp", lambda rows: [1000 * t for t in rows]),
        remedy=lambda d: _rows(d, "timestamp", lambda rows: [t / 1000 for t in rows]),
    ),
    "late": Case(
        lambda d: _rows(d, "timestamp", lambda rows: [t + 9 for t in rows]),
        remedy=lambda d: _rows(d, "timestamp", lambda rows: [t - 9 for t in rows]),
    ),
    "clock": Case(lambda d: _rows(d, "timestamp", lambda rows: [9.0, *rows[1:]]), remedy=SKIP),
    "video_size": Case(
        lambda d: write_video(d / MP4, np.zeros((30, 32, 32, 3), np.uint8)), remedy=Known(cameras=("wrist",))
    ),
    "picture": Case(
        lambda d: _rows(d, "observation.images.wrist", lambda rows: [{"bytes": b"x", "path": None}, *rows[1:]]),
        remedy=SKIP,
    ),
    "not_finite": Case(lambda d: _rows(d, "action", lambda rows: [[math.nan, 0.0], *rows[1:]]), remedy=SKIP),
    "skip": Case(lambda d: None, Known(skip=frozenset({9})), SKIP),
    "empty": Case(lambda d: None, Known(skip=frozenset(range(4))), SKIP),
    # HDF5
    "link": Case(_link, LIFT, _again, hdf5=True),
    "raw_robosuite": Case(_raw, LIFT, _again, hdf5=True),
    "raw_maniskill": Case(
        _trajectories, replace(LIFT, hz=20.0), lambda p: _trajectories(p, pictures=True), hdf5=True
    ),
    "hz": Case(lambda p: _env(p, control_freq=None), LIFT, replace(LIFT, hz=20.0), hdf5=True),
    "not_asked": Case(
        lambda d: None, Known(actions="absolute"), Known(spec={"action_units": ["m", "m"]})
    ),
    "conversion": Case(_poses, oxe_known("bridge", Known(cameras=("front",))), Known(spec={"action_units": ["m"] * 7})),
    "convention": Case(_following, LIFT, replace(LIFT, actions="absolute"), hdf5=True),
    "gripper": Case(_opening, LIFT, replace(LIFT, spec={"gripper_close": -1.0}), hdf5=True),
    "short": Case(
        lambda p: [_h5(p, f"data/demo_0/{k}", None) for k in ("next_obs",)]
        and [_h5(p, f"data/demo_0/{k}", np.zeros((1, n))) for k, n in (("actions", 2), ("rewards", 1), ("dones", 1))]
        and _cut(p),
        LIFT,
        replace(LIFT, skip=frozenset({0})),
        hdf5=True,
    ),
}  # fmt: skip


def _cut(path: Path) -> None:
    with h5py.File(path, "a") as file:
        demo = file["data/demo_0"]
        demo.attrs["num_samples"] = 1
        for key in list(demo["obs"]):
            one = demo["obs"][key][:1]
            del demo["obs"][key]
            demo["obs"][key] = one


def test_the_table_is_complete() -> None:
    assert set(CASES) == set(REMEDIES) - {"h5py"}, "h5py: test_import_robomimic.py"


@pytest.mark.parametrize("cause", CASES)
def test_the_way_out_is_named_and_works(tmp_path: Path, cause: str) -> None:
    case, source = CASES[cause], tmp_path / ("d.hdf5" if CASES[cause].hdf5 else "d")
    write_robomimic(source, truths()) if case.hdf5 else write_v3(source, truths())
    case.breaks(source)
    known = case.known
    if known.success == "{root}.csv":
        known = replace(known, success=str(tmp_path / "s.csv"))
    way = "robomimic" if case.hdf5 else "lerobot"
    with pytest.raises(ValueError) as caught:
        import_dataset(source, tmp_path / "s", known, way)
    assert REMEDIES[cause] in str(caught.value) and "\n" not in str(caught.value) and not (tmp_path / "s").exists()
    if isinstance(case.remedy, Known):
        known = case.remedy
    else:
        case.remedy(source)
    assert len(import_dataset(source, tmp_path / "s", known, way))


def test_all_that_a_file_does_not_say_is_asked_for_at_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d.hdf5", "w") as file:
        file["data/demo_0/act"], file["data/demo_0/obs/joints"] = np.zeros((4, 7)), np.zeros((5, 9))
        file["data/demo_0/obs/front_image"] = np.zeros((5, H, W, 3), np.uint8)
    with pytest.raises(ValueError) as caught:
        import_dataset(tmp_path / "d.hdf5", tmp_path / "s")
    asked = ["state", "action", "hz", "success", "instruction"]
    assert all(REMEDIES[cause] in str(caught.value) for cause in asked) and "\n" not in str(caught.value)
    known = Known(state=("joints",), action="act", hz=10.0, success=True, instruction="lift")
    assert len(import_dataset(tmp_path / "d.hdf5", tmp_path / "s", known)) == 1


@pytest.mark.parametrize(
    ("breaks", "asked", "known"),
    [
        (
            lambda d: (_without(d, "action"), _without(d, "observation.state")),
            ("action", "state"),
            Known(action="other.action", state=("other.observation.state",)),
        ),
        (
            lambda d: _drop(d, "next.success", "task_index"),
            ("success", "instruction"),
            Known(success=True, instruction="lift"),
        ),
    ],
)
def test_so_does_a_lerobot_dataset(
    tmp_path: Path, breaks: Callable[[Path], Any], asked: tuple[str, ...], known: Known
) -> None:
    write_v3(tmp_path / "d", truths())
    breaks(tmp_path / "d")
    with pytest.raises(ValueError) as caught:
        import_dataset(tmp_path / "d", tmp_path / "s")
    assert all(REMEDIES[cause] in str(caught.value) for cause in asked)
    assert len(import_dataset(tmp_path / "d", tmp_path / "s", known)) == 4
