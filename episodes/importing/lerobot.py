"""A LeRobotDataset folder (v2.0, v2.1, v3.0) as Episodes.

A LeRobot episode has T rows and no observation after the last action. Its last frame becomes the final observation, so
the Episode has T - 1 steps; the last row's action and reward are kept in `extra["last_row"]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from episodes.images import decode_pngs
from episodes.importing.known import Known, choose_cameras, make_spec, one_size
from episodes.importing.lerobot_features import cameras, image_size, vector_names
from episodes.importing.lerobot_meta import Meta, Source, read_meta
from episodes.importing.lerobot_rows import Rows, pngs, scalars, vectors
from episodes.importing.reading import DatasetError, reading
from episodes.importing.video import frames_at
from episodes.types import SEGMENTS, EnvSpec, Episode, Provenance

_STATE = ("observation.state",)
_OPTIONAL = ("next.reward", "next.done", "next.truncated", "next.success", "segment", "progress", "intervention")


def read_lerobot(root: Path, known: Known) -> tuple[EnvSpec, Iterator[Episode]]:
    """The EnvSpec of a dataset and its episodes, each read when it is drawn.

    Errors (ValueError): malformed metadata at once; a malformed episode when it is drawn.
    """

    def images(features: dict[str, Any]) -> list[str]:
        with reading(root / "meta" / "info.json"):
            found = cameras(features)
            return [found[name] for name in choose_cameras(known, list(found), str(root))]

    meta = read_meta(root, images)
    keys = images(meta.features)
    names = {key: name for name, key in cameras(meta.features).items()}
    state = known.state or _STATE
    with reading(root / "meta" / "info.json", "choose with cameras or state, or copy the dataset again"):
        for key in (*state, "action"):
            if key not in meta.features:
                raise ValueError(f"has no feature {key!r}; its vectors are {', '.join(_vectors(meta)) or 'none'}")
        size = one_size({names[key]: image_size(meta.features[key]) for key in keys}, str(root))
        proprio = [name for key in state for name in vector_names(key, meta.features[key])]
        action = vector_names("action", meta.features["action"])
    if known.success is None and "next.success" not in meta.features:
        raise ValueError(f"{root}: does not say which episodes succeeded (no next.success); say it with success")
    taken = [source for source in meta.episodes if source.index not in known.skip]
    if missing := known.skip - {source.index for source in meta.episodes}:
        raise ValueError(f"{root}: skip names episode {min(missing)}, which is not there; correct it")
    spec = make_spec(
        known,
        str(root),
        env_id=f"lerobot/{meta.robot}",
        cameras=tuple(names[key] for key in keys),
        image_size=size,
        proprio_names=tuple(proprio if len(set(proprio)) == len(proprio) else _numbered(state, meta)),
        action_names=action,
        hz=meta.fps,
        max_steps=max((source.length - 1 for source in taken), default=1),
    )
    images_in_rows = [key for key in keys if meta.features[key]["dtype"] == "image"]
    rows = Rows(["frame_index", "timestamp", "task_index", "action", *state, *images_in_rows], _OPTIONAL)
    return spec, map(partial(_episode, meta, spec, known, rows, keys, state), taken)


def _vectors(meta: Meta) -> list[str]:
    return [k for k, f in meta.features.items() if f["dtype"] in ("float32", "float64") and k.count(".") and f["shape"]]


def _numbered(state: tuple[str, ...], meta: Meta) -> list[str]:
    return [f"{key}.{name}" for key in state for name in vector_names(key, meta.features[key])]


def _episode(
    meta: Meta, spec: EnvSpec, known: Known, rows: Rows, keys: list[str], state: tuple[str, ...], source: Source
) -> Episode:
    way_out = f"copy the dataset again, or leave it out (skip {source.index})"
    table = rows.read(source)
    frames = len(table)
    with reading(source.data, way_out):
        if frames < 2:
            raise ValueError(f"episode {source.index} has 1 frame; 2 are needed, the last is the final observation")
        at = scalars(table, "timestamp")
        if (scalars(table, "frame_index") != np.arange(frames)).any():
            raise ValueError(f"frame_index of episode {source.index} is not 0..{frames - 1}")
        if not (np.abs(at * meta.fps - np.arange(frames)) < 0.5).all():
            raise ValueError(f"timestamps of episode {source.index} are not frame_index / {meta.fps:g} fps")
        facts = _steps(table, known, spec, state, f"episode {source.index}")
    task = facts.pop("task")
    if known.instruction is None and task not in meta.tasks:
        raise DatasetError(f"{meta.root}: task_index {task} of episode {source.index} is not in meta/tasks; {way_out}")
    instruction = meta.tasks[task] if known.instruction is None else known.instruction
    pictures = {}
    for camera, key in zip(spec.cameras, keys, strict=True):
        if key in source.videos:
            path, start = source.videos[key]
            pictures[camera] = frames_at(path, start + at, spec.image_size)
        else:
            pictures[camera] = np.empty((frames, *spec.image_size, 3), np.uint8)
            with reading(source.data, way_out):
                decode_pngs(pngs(table, key), pictures[camera])
    return Episode(
        images=pictures,
        instruction=instruction,
        provenance=Provenance(spec.env_id, -1, known.source),
        hz=spec.hz,
        extra={
            "imported_from": f"LeRobotDataset {meta.version}",
            "source_episode": source.index,
            "unknown": facts.pop("unknown"),
            "last_row": facts.pop("last_row"),
        },
        **facts,
    )


def _steps(table: pa.Table, known: Known, spec: EnvSpec, state: tuple[str, ...], what: str) -> dict[str, Any]:
    """Everything of an Episode that is not an image, from its T rows; T - 1 steps."""
    T = len(table) - 1
    has = set(table.column_names)

    def column(name: str, default: float) -> npt.NDArray[np.float64]:
        return scalars(table, name) if name in has else np.full(T + 1, default)

    tasks = sorted(set(scalars(table, "task_index")[:T].astype(int).tolist()))
    if len(tasks) > 1 and known.instruction is None:
        raise ValueError(f"{what} has {len(tasks)} tasks, an Episode has one instruction; give one with instruction")
    widths = [_width(table, key) for key in state]
    proprio = np.concatenate([vectors(table, key, width) for key, width in zip(state, widths, strict=True)], axis=1)
    if proprio.shape[1] != spec.proprio_dim:
        raise ValueError(f"{', '.join(state)} have {proprio.shape[1]} entries a row, info.json says {spec.proprio_dim}")
    actions = vectors(table, "action", spec.action_dim)
    success = bool(column("next.success", 0).any()) if known.success is None else known.success
    done, truncated = column("next.done", 0)[:T] > 0, column("next.truncated", 0)[:T] > 0
    if "next.truncated" not in has or not (done[-1] or truncated[-1]):
        # without both columns `done` marks the last row, whatever ended the episode
        ended = bool(column("next.done", 0)[-1] > 0)
        done, truncated = np.zeros(T, bool), np.zeros(T, bool)
        done[-1] = ended and success
        truncated[-1] = not done[-1]
    segments = column("segment", SEGMENTS.index("unlabelled"))[:T]
    if not np.isin(segments, range(len(SEGMENTS))).all():
        raise ValueError(f"segment labels of {what} are not all in 0..{len(SEGMENTS) - 1}")
    rewards = column("next.reward", 0).astype(np.float32)
    unknown = [said for name, said in _UNKNOWN.items() if name not in has]
    return {
        "proprio": proprio,
        "actions": actions[:T].copy(),
        "rewards": rewards[:T].copy(),
        "terminated": done,
        "truncated": truncated,
        "success": success,
        "segments": segments.astype(np.int8),
        "progress": column("progress", np.nan).astype(np.float32),
        "intervention": column("intervention", 0)[:T] > 0,
        "task": tasks[0],
        "unknown": ["seed", *unknown],
        "last_row": {
            "action": [float(x) if np.isfinite(x) else None for x in actions[-1]],
            "reward": float(rewards[-1]) if "next.reward" in has and np.isfinite(rewards[-1]) else None,
        },
    }


_UNKNOWN = {
    "next.reward": "rewards",
    "next.done": "terminated",
    "segment": "segments",
    "progress": "progress",
    "intervention": "intervention",
}


def _width(table: pa.Table, name: str) -> int:
    kind = table.schema.field(name).type
    if not (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)):
        return 1
    return len(table[name][0])
