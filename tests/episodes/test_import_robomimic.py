"""robomimic HDF5 files, written by hand, come into a store; links to other files and malformed arrays are refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from episodes import SEGMENTS
from episodes.importing import Known, hdf5, import_dataset
from tests.helpers.commands import foresight
from tests.helpers.foreign_datasets import TASKS, H, W, truths, write_robomimic

h5py = pytest.importorskip("h5py", reason="pip install -e .[robomimic]")
LIFT = Known(instruction="lift the cube")


def test_next_obs_gives_the_final_observation(tmp_path: Path) -> None:
    made = truths()
    write_robomimic(tmp_path / "d.hdf5", made)
    assert foresight("import", tmp_path / "d.hdf5", f"target={tmp_path / 's'}", "instruction=lift the cube") == 0
    store = import_dataset(tmp_path / "d.hdf5", tmp_path / "t", LIFT, "robomimic")
    assert [e.extra["source_episode"] for e in store] == [0, 1, 2, 10]
    for episode, truth in zip(store, made, strict=True):
        T = len(truth.action) - 1
        assert len(episode) == T and "last_row" not in episode.extra
        for camera, frames in truth.images.items():
            np.testing.assert_array_equal(episode.images[camera], frames)
        np.testing.assert_array_equal(episode.proprio[:, :3], truth.state)
        np.testing.assert_array_equal(episode.proprio[:, 3:7], truth.state[:, [0, 1, 2, 0]])
        np.testing.assert_array_equal(episode.proprio[:, 7:], truth.state[:, :2])
        np.testing.assert_array_equal(episode.actions, truth.action[:T])
        assert episode.rewards.tolist() == [0.0] * (T - 1) + [float(truth.success)]
        assert episode.success == truth.success == episode.terminated[-1] != episode.truncated[-1]
        assert not episode.terminated[:-1].any() and not episode.truncated[:-1].any()
        assert set(episode.segments.tolist()) == {SEGMENTS.index("unlabelled")} and np.isnan(episode.progress).all()
        assert episode.instruction == "lift the cube" and episode.hz == 20.0
    spec = store.spec
    assert spec.env_id == "robomimic/Lift" and spec.cameras == ("front", "wrist") and spec.image_size == (H, W)
    assert spec.proprio_names[2:4] == ("robot0_eef_pos_2", "robot0_eef_quat_0") and spec.max_steps == 6
    assert spec.action_low == (-math.inf,) * 2, "some lie outside -1..1, which the file says"
    assert spec.gripper_close == 1.0


def test_without_next_obs_the_last_frame_is_the_final_observation(tmp_path: Path) -> None:
    made = truths()
    write_robomimic(tmp_path / "d.hdf5", made, next_obs=False)
    with h5py.File(tmp_path / "d.hdf5", "a") as file:
        for k in (0, 1, 2, 10):
            file[f"data/demo_{k}"].attrs["ep_meta"] = json.dumps({"lang": TASKS[k % 2]})
    for episode, truth in zip(import_dataset(tmp_path / "d.hdf5", tmp_path / "s"), made, strict=True):
        assert len(episode) == len(truth.action) - 1 and episode.success == truth.success
        np.testing.assert_array_equal(episode.images["wrist"], truth.images["wrist"])
        np.testing.assert_array_equal(episode.proprio[:, :3], truth.state)
        np.testing.assert_array_equal(np.float32(episode.extra["last_row"]["action"]), truth.action[-1])
        assert episode.instruction == TASKS[episode.extra["source_episode"] % 2]


def _osc(path: Path, controllers: dict[str, Any]) -> None:
    write_robomimic(path, truths((4,)), controller_configs=controllers)
    with h5py.File(path, "a") as file:
        demo = file["data/demo_10"]
        del demo["actions"]
        demo["actions"] = np.zeros((3, 7))


@pytest.mark.parametrize(
    "controllers", [{"type": "OSC_POSE"}, {"type": "BASIC", "body_parts": {"right": {"type": "OSC_POSE"}}}]
)
def test_robosuites_pose_controller_is_recognised(tmp_path: Path, controllers: dict[str, Any]) -> None:
    _osc(tmp_path / "d.hdf5", controllers)
    spec = import_dataset(tmp_path / "d.hdf5", tmp_path / "s", LIFT).spec
    assert spec.action_names[-1] == "gripper" and spec.rotation == "rotation_vector" and len(spec.action_low) == 7


def _change(path: Path, name: str, content: Any) -> None:
    with h5py.File(path, "a") as file:
        del file[name]
        if content is not None:
            file[name] = content


def _attribute(path: Path, name: str, content: Any) -> None:
    with h5py.File(path, "a") as file:
        file["data"].attrs[name] = content


def _external_data(path: Path) -> None:
    (path.parent / "secret").write_bytes(bytes(64))
    with h5py.File(path, "a") as file:
        del file["data/demo_0/actions"]
        file["data/demo_0"].create_dataset("actions", (4, 2), "f8", external=[(str(path.parent / "secret"), 0, 64)])


def _virtual_data(path: Path) -> None:
    layout = h5py.VirtualLayout((4, 2), "f8")
    layout[:] = h5py.VirtualSource(str(path.parent / "other.h5"), "x", (4, 2))
    with h5py.File(path, "a") as file:
        del file["data/demo_0/actions"]
        file["data/demo_0"].create_virtual_dataset("actions", layout)


NAN = np.where(np.arange(4)[:, None] == 2, np.nan, np.zeros((4, 2)))
MALFORMED: dict[str, Callable[[Path], Any]] = {
    r"d.hdf5: .*copy it from the original again": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "has neither data/demo_K nor traj_K": lambda p: _change(p, "data", None),
    "lacks 'obs'": lambda p: _change(p, "data/demo_0/obs", None),
    "lacks 'actions'": lambda p: _change(p, "data/demo_1/actions", None),
    "demo_1: lacks 'robot0_eef_quat'": lambda p: _change(p, "data/demo_1/obs/robot0_eef_quat", None),
    "demo_1: front_image has 6, 5 frames for 6 actions": lambda p: _change(
        p, "data/demo_1/next_obs/front_image", np.zeros((5, H, W, 3), np.uint8)
    ),
    r"demo_1: pictures of front have another size than in the first episode \(8x8, 16x24\)": lambda p: [
        _change(p, f"data/demo_1/{part}/front_image", np.zeros((6, 8, 8, 3), np.uint8)) for part in ("obs", "next_obs")
    ],
    "demo_1: rewards have shape": lambda p: _change(p, "data/demo_1/rewards", np.zeros(4)),
    "actions of frame 2 are not finite": lambda p: _change(p, "data/demo_0/actions", NAN),
    "actions is not an array of numbers": lambda p: _change(p, "data/demo_0/actions", "left"),
    "actions is a link": lambda p: _change(p, "data/demo_0/actions", h5py.ExternalLink("other.h5", "/x")),
    "data is a link": lambda p: _change(p, "data", h5py.SoftLink("/mask")),
    "actions has its data in another file": _external_data,
    "actions has its data in another file;": _virtual_data,
    "an attribute is a int64, not a text": lambda p: _attribute(p, "env_args", 3),
    "control rate .control_freq.; say the control rate with hz=": lambda p: _attribute(p, "env_args", "{}"),
    "demo_0: does not say whether it succeeded": lambda p: _attribute(
        p, "env_args", '{"env_kwargs": {"control_freq": 20}}'
    ),
}


@pytest.mark.parametrize("message", MALFORMED)
def test_a_malformed_file_is_one_line_and_leaves_no_target(tmp_path: Path, message: str) -> None:
    path = tmp_path / "d.hdf5"
    write_robomimic(path, truths())
    MALFORMED[message](path)
    with pytest.raises(ValueError, match=message) as caught:
        import_dataset(path, tmp_path / "out/s", LIFT)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_an_instruction_is_needed(tmp_path: Path) -> None:
    write_robomimic(tmp_path / "d.hdf5", truths())
    with pytest.raises(ValueError, match=r"demo_0: the file has no instruction.*give it"):
        import_dataset(tmp_path / "d.hdf5", tmp_path / "s")
    known = Known(instruction="x", success=True, spec={"hz": 10})
    with pytest.raises(ValueError, match=r"hz is 10, the dataset has 20"):
        import_dataset(tmp_path / "d.hdf5", tmp_path / "s", known)
    _attribute(tmp_path / "d.hdf5", "env_args", "{}")
    store = import_dataset(tmp_path / "d.hdf5", tmp_path / "s", known)
    assert store.spec.hz == 10.0 and store.spec.env_id == "robomimic/unknown" and all(e.success for e in store)


def test_a_missing_h5py_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    write_robomimic(tmp_path / "d.hdf5", truths())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[robomimic\]'"):
        import_dataset(tmp_path / "d.hdf5", tmp_path / "s", LIFT)


def endless(path: Path) -> None:
    """Make the last object of the file's heap of texts one of no bytes: HDF5's library looks for its end for ever."""
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL") + 16
    while number := int.from_bytes(content[at : at + 2], "little"):  # 0: what is free
        assert number < 100
        at += 16 + -(-int.from_bytes(content[at + 8 : at + 16], "little") // 8) * 8
    content[at + 8 : at + 16] = bytes(8)
    path.write_bytes(content)


def test_a_file_whose_reading_has_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_robomimic(tmp_path / "d.hdf5", truths())
    endless(tmp_path / "d.hdf5")
    monkeypatch.setattr(hdf5, "SILENCE", 8.0)
    with pytest.raises(ValueError, match=r"d\.hdf5: reading it does not come to an end; .*copy it from the original"):
        import_dataset(tmp_path / "d.hdf5", tmp_path / "s", LIFT)


def test_a_file_that_crashes_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the library of the day crashes on, it is not this process that it ends."""
    write_robomimic(tmp_path / "d.hdf5", truths())
    (tmp_path / "trial.py").write_text("import os; os.abort()")
    monkeypatch.setattr(hdf5, "_TRIAL", tmp_path / "trial.py")
    with pytest.raises(ValueError, match=r"d\.hdf5: HDF5's library crashes on it; .*copy it from the original"):
        import_dataset(tmp_path / "d.hdf5", tmp_path / "s", LIFT)


def test_the_trial_reads_what_lies_in_the_file(tmp_path: Path) -> None:
    """Groups that hold one another, and arrays of which next to nothing is there, do not keep it."""
    with h5py.File(tmp_path / "d.hdf5", "w") as file:
        group = file.create_group("a/b")
        group["again"] = file["a"]
        group["elsewhere"] = h5py.ExternalLink("/etc/passwd", "x")
        group.create_dataset("sparse", (10**10, 7), "f4", chunks=(1024, 7))
        group["whole"] = np.zeros((5, 3))
        group.attrs["text"] = "x"
    done = subprocess.run([sys.executable, "-P", hdf5._TRIAL, tmp_path / "d.hdf5"], capture_output=True, timeout=60)
    assert done.returncode == 0 and not done.stderr and 5 < len(done.stdout) < 40
