"""Open X-Embodiment data sets as LeRobotDatasets: into the same training windows, in SIMPLER's action convention."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from episodes.importing.actions import convert_actions, convert_rotation, gripper_values
from episodes.importing.known import Known
from episodes.importing.oxe import OXE, oxe_known
from episodes.store import EpisodeStore
from episodes.types import EnvSpec
from episodes.windows import ActionWindows, DecodedCache
from tests.helpers import foreign_datasets as foreign
from tests.helpers.commands import foresight

STATE = {
    "fractal20220817_data": ["x", "y", "z", "rx", "ry", "rz", "rw", "gripper"],
    "bridge": ["x", "y", "z", "roll", "pitch", "yaw", "pad", "gripper"],
}
RATE = {"fractal20220817_data": 3, "bridge": 5}
H, W, T = 32, 40, 6


def write(root: Path, name: str, episodes: int = 2) -> list[np.ndarray]:
    """A tiny data set in the published layout (LeRobotDataset v2.1, videos); returns each episode's actions (T, 7)."""
    actions = []
    for i in range(episodes):
        rng = np.random.default_rng(i)
        action = np.concatenate(
            [rng.normal(0, 0.05, (T, 3)), rng.uniform(-1, 1, (T, 3)), rng.integers(0, 2, (T, 1))], 1
        )
        actions.append(action.astype(np.float32))
        columns = {
            "observation.state": pa.array(rng.normal(size=(T, 8)).astype(np.float32).tolist(), pa.list_(pa.float32())),
            "action": pa.array(actions[-1].tolist(), pa.list_(pa.float32(), 7)),
            "timestamp": (np.arange(T) / RATE[name]).astype(np.float32),
            "frame_index": np.arange(T),
            "episode_index": np.full(T, i),
            "index": np.arange(i * T, (i + 1) * T),
            "task_index": np.full(T, i),
        }
        foreign.write_parquet(root / f"data/chunk-000/episode_{i:06d}.parquet", pa.table(columns))
        frames = np.full((T, H, W, 3), 40 * i, np.uint8) + np.arange(T, dtype=np.uint8)[:, None, None, None]
        video = root / f"videos/chunk-000/observation.images.image/episode_{i:06d}.mp4"
        foreign.write_video(video, frames, fps=RATE[name])
    one = {"shape": [1], "names": None}
    features = {
        "observation.images.image": {"dtype": "video", "shape": [H, W, 3], "names": ["height", "width", "rgb"]},
        "observation.state": {"dtype": "float32", "shape": [8], "names": {"motors": STATE[name]}},
        "action": {
            "dtype": "float32", "shape": [7], "names": {"motors": ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]},
        },
        "timestamp": {"dtype": "float32", **one},
        **{key: {"dtype": "int64", **one} for key in ("frame_index", "episode_index", "index", "task_index")},
    }  # fmt: skip
    info = {
        "codebase_version": "v2.1", "robot_type": "google_robot" if name.startswith("f") else "widowx",
        "total_episodes": episodes, "total_frames": episodes * T, "total_tasks": episodes, "total_videos": episodes,
        "total_chunks": 1, "chunks_size": 1000, "fps": RATE[name], "splits": {"train": f"0:{episodes}"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": features,
    }  # fmt: skip
    foreign.write_json(root / "meta/info.json", info)
    rows = [{"episode_index": i, "tasks": [f"pick {i}"], "length": T} for i in range(episodes)]
    (root / "meta/episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = [{"task_index": i, "task": f"pick {i}"} for i in range(episodes)]
    (root / "meta/tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tasks))
    return actions


def matrix(rpy: np.ndarray) -> np.ndarray:
    """R_z(yaw) R_y(pitch) R_x(roll), written out."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(rpy), np.sin(rpy)
    x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return z @ y @ x


def rodrigues(v: np.ndarray) -> np.ndarray:
    angle = np.linalg.norm(v)
    k = v / angle
    K = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    return np.eye(3) + math.sin(angle) * K + (1 - math.cos(angle)) * K @ K


@pytest.mark.parametrize("name", OXE)
def test_a_data_set_becomes_training_windows_in_simplers_convention(name: str, tmp_path: Path) -> None:
    written = write(tmp_path / "source", name)
    assert foresight("import", tmp_path / "source", f"target={tmp_path / 'store'}", f"oxe={name}") == 0
    store = EpisodeStore.open(tmp_path / "store")
    spec = store.spec
    assert (spec.rotation, spec.hz, spec.cameras) == ("rotation_vector", RATE[name], ("image",))
    assert spec.proprio_names == tuple(STATE[name]) and spec.action_names[3] == "drx"
    assert store.index[1]["tasks"] == ["pick 1"] and all(row["success"] for row in store.index)
    windows = ActionWindows(DecodedCache(store), chunk=3)
    drawn = windows.gather(np.array([0, 1, 5]))  # T rows make T - 1 steps: row 5 is the second episode's first
    assert drawn["images"].shape == (3, 1, H, W, 3) and drawn["actions"].shape == (3, 3, 7)
    opens = -1.0 if name.startswith("f") else 1.0  # SIMPLER's Google robot opens at -1, its WidowX at +1
    for got, want in ((drawn["actions"][0, 0], written[0][0]), (drawn["actions"][1, 1], written[0][2]),
                      (drawn["actions"][2, 0], written[1][0])):  # fmt: skip
        np.testing.assert_allclose(got[:3], want[:3], atol=1e-6)
        np.testing.assert_allclose(rodrigues(got[3:6].astype(float)), matrix(want[3:6].astype(float)), atol=1e-5)
        assert got[6] == (opens if want[6] == 1 else -opens)


def test_conversions_there_and_back() -> None:
    rng = np.random.default_rng(0)
    rpy = rng.uniform([-3, -1.5, -3], [3, 1.5, 3], (200, 3))
    np.testing.assert_allclose(
        convert_rotation(convert_rotation(rpy, "euler_xyz", "rotation_vector"), "rotation_vector", "euler_xyz"), rpy,
        atol=1e-9,
    )  # fmt: skip
    small = convert_rotation(np.full((1, 3), 1e-4), "euler_xyz", "rotation_vector")
    np.testing.assert_allclose(small, 1e-4, rtol=1e-3)  # for a small turn the two are nearly the same
    for name, facts in OXE.items():
        source = EnvSpec(cameras=("image",), image_size=(8, 8), proprio_names=("x",), hz=3.0, max_steps=5, **facts.spec)
        target = replace(source, **facts.becomes)
        actions = np.concatenate([rng.normal(size=(50, 3)), rpy[:50], rng.random((50, 1))], 1).astype(np.float32)
        back = convert_actions(convert_actions(actions, source, target), target, source)
        np.testing.assert_allclose(back, actions, atol=1e-5, err_msg=name)


def test_what_is_not_said_is_not_guessed(tmp_path: Path) -> None:
    written = write(tmp_path / "source", "bridge", episodes=1)
    known = oxe_known("bridge", Known())
    source = EnvSpec(
        cameras=("image",), image_size=(8, 8), proprio_names=("x",), hz=3.0, max_steps=5, **OXE["bridge"].spec
    )
    for change, said in (
        ({"rotation": "unknown"}, "rotation is 'unknown'"),
        ({"gripper_close": 0.5}, "gripper_close 0.5 is neither bound"),
        ({"action_units": ("cm",) * 7}, "action_units"),
    ):
        with pytest.raises(ValueError, match=said):
            convert_actions(np.zeros((1, 7)), replace(source, **change), replace(source, **known.becomes))
    assert gripper_values(source) == (0.0, 1.0)
    with pytest.raises(ValueError, match="choose fractal20220817_data or bridge"):
        oxe_known("kuka", Known())
    rotation = tmp_path / "spec.json"
    rotation.write_text(json.dumps({"rotation": "rotation_vector"}))  # a copy that holds rotation vectors already
    foresight("import", tmp_path / "source", f"target={tmp_path / 'kept'}", "oxe=bridge", f"spec={rotation}")
    first = EpisodeStore.open(tmp_path / "kept")[0].actions[0]
    np.testing.assert_allclose(first[:6], written[0][0][:6], atol=1e-6)
