"""A robomimic HDF5 file as Episodes: data/demo_K with actions, rewards, dones, obs/* and, where kept, next_obs/*.

The final observation is the last entry of next_obs; a file without it gives its last frame up, as a LeRobotDataset
does: T - 1 steps, the last action and reward in `extra["last_row"]`. The files' simulator `states` are not imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from episodes.importing.hdf5 import array, dataset, group, matrix, string
from episodes.importing.known import Known, choose_cameras, make_spec, one_size
from episodes.importing.reading import json_object, reading
from episodes.types import SEGMENTS, EnvSpec, Episode, Provenance

_STATE = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")  # the vectors robomimic's image policies see
_ROBOSUITE = 1  # env_args["type"]
_OSC_POSE = ("dx", "dy", "dz", "drx", "dry", "drz", "gripper")
_IMAGE = "_image"


def read_robomimic(path: Path, known: Known) -> tuple[EnvSpec, Iterator[Episode]]:
    """The EnvSpec of a file and its episodes, each read when it is drawn.

    Errors (ValueError): no h5py, malformed attributes at once; a malformed demonstration when it is drawn.
    """
    try:
        import h5py
    except ImportError as error:
        raise ValueError(f"{path}: HDF5 needs h5py; pip install foresight[robomimic]") from error
    with reading(path, "copy the file again"), h5py.File(path, "r") as file:
        data = group(file, "data")
        env_args = json_object(string(data.attrs.get("env_args", "{}")))
        kwargs = env_args.get("env_kwargs")
        kwargs = kwargs if isinstance(kwargs, dict) else {}
        demos = sorted((name for name in data if re.fullmatch(r"demo_\d{1,9}", name)), key=_number)
        if not demos:
            raise ValueError("has no data/demo_K")
        if missing := known.skip - set(map(_number, demos)):
            raise ValueError(f"skip names demo_{min(missing)}, which is not there; correct it")
        demos = [name for name in demos if _number(name) not in known.skip]
        if not demos:
            raise ValueError("every demonstration is skipped")
        obs = group(group(data, demos[0]), "obs")
        found = [name.removesuffix(_IMAGE) for name in obs if name.endswith(_IMAGE)]
        cameras = choose_cameras(known, found, str(path))
        sizes = {name: _image_size(obs, name) for name in cameras}
        state = known.state or _STATE
        names = [name for key in state for name in _names(key, array(obs, key))]
        action_dim = matrix(array(group(data, demos[0]), "actions")).shape[1]
        hz = kwargs.get("control_freq", known.spec.get("hz"))
        if isinstance(hz, bool) or not isinstance(hz, (int, float)):
            raise ValueError("env_args has no control_freq; give hz with spec")
        steps = [len(dataset(group(data, name), "actions")) for name in demos]
        told: dict[str, Any] = {}
        if env_args.get("type") == _ROBOSUITE:  # its controllers take actions in [-1, 1]
            told = {"action_low": (-1.0,) * action_dim, "action_high": (1.0,) * action_dim, "gripper_close": 1.0}
        if told and action_dim == 7 and _controller(kwargs) == "OSC_POSE":
            told |= {"action_names": _OSC_POSE, "rotation": "rotation_vector"}
        spec = make_spec(
            known,
            str(path),
            **{
                "env_id": f"robomimic/{env_args.get('env_name', 'unknown')}",
                "cameras": tuple(cameras),
                "image_size": one_size(sizes, str(path)),
                "proprio_names": tuple(names),
                "action_names": tuple(f"action_{i}" for i in range(action_dim)),
                "hz": float(hz),
                "max_steps": max(steps),
                **told,
            },
        )
    return spec, _episodes(path, demos, spec, known, state, sparse=kwargs.get("reward_shaping") is False)


def _episodes(
    path: Path, demos: list[str], spec: EnvSpec, known: Known, state: tuple[str, ...], sparse: bool
) -> Iterator[Episode]:
    import h5py

    for name in demos:
        with reading(path, f"copy the file again, or leave it out (skip {_number(name)})"):
            with h5py.File(path, "r") as file:
                try:
                    episode = _episode(group(group(file, "data"), name), spec, known, state, sparse)
                except (KeyError, ValueError, TypeError, OSError) as error:
                    reason = f"lacks {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
                    raise ValueError(f"{name}: {reason}") from error
        yield episode


def _episode(demo: Any, spec: EnvSpec, known: Known, state: tuple[str, ...], sparse: bool) -> Episode:
    obs = group(demo, "obs")
    actions = matrix(array(demo, "actions"))
    T = len(actions)
    if int(demo.attrs.get("num_samples", T)) != T:
        raise ValueError(f"has {T} actions, its num_samples says {demo.attrs['num_samples']}")
    sources = [obs] + ([group(demo, "next_obs")] if "next_obs" in demo else [])
    frames = T + 1 if len(sources) == 2 else T
    if frames < 2:
        raise ValueError("has no next_obs and 1 frame; 2 are needed, the last is the final observation")

    def joined(key: str) -> npt.NDArray[Any]:
        parts = [array(part, key) for part in sources]
        if any(len(part) != T for part in parts):
            raise ValueError(f"{key} has {', '.join(str(len(part)) for part in parts)} frames for {T} actions")
        return np.concatenate([parts[0], *(part[-1:] for part in parts[1:])])

    images = {camera: joined(camera + _IMAGE) for camera in spec.cameras}
    for camera, pictures in images.items():
        if pictures.dtype != np.uint8 or pictures.shape[1:] != (*spec.image_size, 3):
            said = f"{pictures.dtype} {pictures.shape[1:]}"
            raise ValueError(f"images of {camera} are {said}, expected uint8 {(*spec.image_size, 3)}")
    rewards = _vector(demo, "rewards", T)
    dones = _vector(demo, "dones", T)
    success = known.success
    if success is None:
        if rewards is None or not sparse:
            raise ValueError(
                "success is not known (no sparse rewards: reward_shaping is not false); say it with success"
            )
        success = bool((rewards > 0).any())
    steps = frames - 1
    terminated, truncated = np.zeros(steps, np.bool_), np.zeros(steps, np.bool_)
    terminated[-1] = success and dones is not None and dones[-1] > 0
    truncated[-1] = not terminated[-1]
    unknown = ["seed", "segments", "progress", "intervention"]
    unknown += [said for said, column in (("rewards", rewards), ("terminated", dones)) if column is None]
    extra: dict[str, Any] = {
        "imported_from": "robomimic",
        "source_episode": _number(demo.name.rsplit("/", 1)[-1]),
        "unknown": unknown,
    }
    if steps < T:
        extra["last_row"] = {
            "action": [float(x) if np.isfinite(x) else None for x in actions[-1]],
            "reward": None if rewards is None else float(rewards[-1]),
        }
    return Episode(
        images=images,
        proprio=np.concatenate([matrix(joined(key)) for key in state], axis=1),
        actions=actions[:steps],
        rewards=np.zeros(steps, np.float32) if rewards is None else rewards[:steps],
        terminated=terminated,
        truncated=truncated,
        success=success,
        segments=np.full(steps, SEGMENTS.index("unlabelled"), np.int8),
        progress=np.full(steps + 1, np.nan, np.float32),
        intervention=np.zeros(steps, np.bool_),
        instruction=_instruction(demo, known),
        provenance=Provenance(spec.env_id, -1, known.source),
        hz=spec.hz,
        extra=extra,
    )


def _instruction(demo: Any, known: Known) -> str:
    if known.instruction is not None:
        return known.instruction
    said = json_object(string(demo.attrs.get("ep_meta", "{}"))).get("lang")
    if not isinstance(said, str):
        raise ValueError("the file has no instruction (ep_meta with lang); give one with instruction")
    return said


def _controller(kwargs: dict[str, Any]) -> str:
    """The arm's controller: robosuite 1.4's flat config, or 1.5's with body parts."""
    config = kwargs.get("controller_configs")
    config = config if isinstance(config, dict) else {}
    parts = config.get("body_parts")
    arm = parts.get("right") if isinstance(parts, dict) else config
    return str(arm.get("type")) if isinstance(arm, dict) else ""


def _number(demo: str) -> int:
    return int(demo.removeprefix("demo_"))


def _vector(demo: Any, name: str, T: int) -> npt.NDArray[np.float32] | None:
    if name not in demo:
        return None
    values = matrix(array(demo, name))
    if values.shape != (T, 1):
        raise ValueError(f"{name} have shape {values.shape} for {T} actions")
    return values[:, 0]


def _names(key: str, values: npt.NDArray[Any]) -> list[str]:
    width = matrix(values).shape[1]
    return [f"{key}_{i}" for i in range(width)] if width > 1 else [key]


def _image_size(obs: Any, camera: str) -> tuple[int, int]:
    shape = dataset(obs, camera + _IMAGE).shape
    if len(shape) != 4 or shape[3] != 3:
        raise ValueError(f"{camera}{_IMAGE} has shape {shape}, expected (T, H, W, 3); leave the camera out (cameras)")
    return int(shape[1]), int(shape[2])
