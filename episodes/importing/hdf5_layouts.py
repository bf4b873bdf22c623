"""The layouts of HDF5 files that people have: robomimic, LIBERO and Isaac Lab (data/demo_K), ManiSkill (traj_K)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from episodes.importing.hdf5 import at, group, string
from episodes.importing.known import said
from episodes.importing.reading import Fault, json_object, read_json

_STATES = (  # which vectors make the proprioception, the first set that is there
    ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"),  # what robomimic's image policies see
    ("ee_states", "gripper_states"),  # LIBERO
    ("eef_pos", "eef_quat", "gripper_pos"),  # Isaac Lab's manipulation tasks
    ("joint_pos",),
)
_SUFFIXES = ("_image", "_rgb")


@dataclass(frozen=True)
class Layout:
    """Where one file keeps what: the demonstrations, and paths within each of them.

    observations: the group of vectors. cameras: {name: path}. state: names of vectors, () where no known set is there.
    env: {"env_name", "type", "env_kwargs"} as the file, or the json beside it, says. numbers: of the demonstrations.
    """

    name: str
    demos: dict[int, str]
    observations: str
    cameras: dict[str, str]
    state: tuple[str, ...]
    env: dict[str, Any]

    def vector(self, key: str) -> str:
        """The path of a vector of the observations, given by its name or by its whole path."""
        return key if key.startswith("obs/") else f"{self.observations}/{key}"

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments its environment was made with; none where it does not say."""
        kwargs = self.env.get("env_kwargs")
        return kwargs if isinstance(kwargs, dict) else {}


def layout_of(file: Any, path: Path) -> Layout:
    """The layout of an open file; a Fault where it is none of those above, or has no pictures."""
    if "data" in file:
        return _demos(group(file, "data"))
    trajectories = {int(n[5:]): n for n in file if re.fullmatch(r"traj_\d{1,9}", n)}
    if trajectories:
        return _maniskill(file, dict(sorted(trajectories.items())), path)
    raise Fault("hdf5_layout", f"has neither data/demo_K nor traj_K, only {said(sorted(file)[:5])}")


def _demos(data: Any) -> Layout:
    demos = {int(n[5:]): f"data/{n}" for n in data if re.fullmatch(r"demo_\d{1,9}", n)}
    if not demos:
        raise Fault("hdf5_layout", f"has no data/demo_K, only data/{said(list(data)[:5])}")
    demos = dict(sorted(demos.items()))
    name = next(iter(demos.values())).removeprefix("data/")
    env = json_object(string(data.attrs.get("env_args", "{}")))
    first = group(data, name)
    if "obs" not in first:
        if "states" in first and "next_obs" not in first:
            raise Fault("raw_robosuite", f"{name} has no obs, only {', '.join(sorted(first))}")
        raise KeyError("obs")
    obs = group(first, "obs")
    keys = [key for key in obs if key.endswith(_SUFFIXES) or (_dims(obs[key]) == 4 and obs[key].shape[-1] == 3)]
    names = [key.removesuffix("_image").removesuffix("_rgb") for key in keys]
    cameras = {n if names.count(n) == 1 else k: f"obs/{k}" for n, k in zip(names, keys, strict=True)}
    if not cameras and "states" in first and not any(_dims(v) == 4 for v in obs.values()):
        raise Fault("raw_robosuite", "its obs have no pictures")
    state = next((names for names in _STATES if all(name in obs for name in names)), ())
    if not state and any(name in obs for name in _STATES[0]):
        state = _STATES[0]  # so that what is missing is named
    return Layout("robomimic", demos, "obs", cameras, state, env)


def _maniskill(file: Any, trajectories: dict[int, str], path: Path) -> Layout:
    first = group(file, next(iter(trajectories.values())))
    found = {}
    if "obs" in first and _dims(first["obs"]) is None and "sensor_data" in group(first, "obs"):
        sensors = group(group(first, "obs"), "sensor_data")
        found = {name: f"obs/sensor_data/{name}/rgb" for name in sensors if "rgb" in group(sensors, name)}
    if not found:
        raise Fault("raw_maniskill", "its trajectories have no obs/sensor_data/CAMERA/rgb")
    agent = group(group(first, "obs"), "agent") if "agent" in group(first, "obs") else {}
    state = tuple(name for name in ("qpos", "qvel") if name in agent)
    return Layout("ManiSkill", trajectories, "obs/agent", found, state, _sidecar(path))


def _sidecar(path: Path) -> dict[str, Any]:
    """What the json file that ManiSkill writes beside a trajectory file says of its environment."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return {}
    info = read_json(beside, beside.parent).get("env_info")
    info = info if isinstance(info, dict) else {}
    kwargs = info.get("env_kwargs")
    kwargs = kwargs if isinstance(kwargs, dict) else {}
    config = kwargs.get("sim_config")
    rate = config.get("control_freq") if isinstance(config, dict) else None
    return {"env_name": info.get("env_id", "unknown"), "env_kwargs": kwargs | ({"control_freq": rate} if rate else {})}


def _dims(member: Any) -> int | None:
    """The number of axes of an array; None of a group."""
    return getattr(member, "ndim", None)


def picture_size(demo: Any, path: str) -> tuple[int, int]:
    """(H, W) of the pictures at a path of a demonstration; a Fault where they are not uint8 (T, H, W, 3)."""
    pictures = at(demo, path)
    shape = pictures.shape
    what = f"{path.removesuffix('/rgb').split('/')[-1]} is {pictures.dtype} {shape}, expected uint8 (T, H, W, 3)"
    if len(shape) == 3 or shape[3:] == (1,):
        raise Fault("not_rgb", what)
    if len(shape) != 4 or shape[3] != 3 or pictures.dtype != np.uint8:
        raise Fault("array", what)
    return int(shape[1]), int(shape[2])


def instruction_in(demo: Any, data: Any) -> str:
    """The instruction of a demonstration: robomimic's ep_meta, or LIBERO's problem_info; a Fault without one."""
    said = json_object(string(demo.attrs.get("ep_meta", "{}"))).get("lang")
    if said is None and "problem_info" in data.attrs:
        said = json_object(string(data.attrs["problem_info"])).get("language_instruction")
    if isinstance(said, list) and all(isinstance(word, str) for word in said):
        said = " ".join(said)  # some of LIBERO's files keep it word by word
    if not isinstance(said, str) or not said.strip():
        raise Fault("instruction", "the file has no instruction (ep_meta with lang, or problem_info)")
    return said
