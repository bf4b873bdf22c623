"""A LeRobotDataset folder (v2.0, v2.1, v3.0) as Episodes.

A LeRobot episode has T rows and no observation after the last action. Its last frame becomes the final observation, so
the Episode has T - 1 steps; the last row's action and reward are kept in `extra["last_row"]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from episodes.frames import Frames, Pictures, block_length, fitted, fitted_facts
from episodes.importing.facts import instruction_of, success_of
from episodes.importing.known import Draft, Drafts, Known, choose_cameras, make_spec, one_size, require_bounds, said
from episodes.importing.lerobot_features import cameras, image_size, vector_names, vectors_in
from episodes.importing.lerobot_meta import Meta, Source, read_meta
from episodes.importing.lerobot_rows import Rows, require_clock, scalars, vectors
from episodes.importing.pictures import decoded, from_path
from episodes.importing.reading import DatasetError, Fault, each, reading_source
from episodes.types import SEGMENTS, EnvSpec, Episode, Provenance
from episodes.video import frames_near, pixel_format

STATES = (("observation.state",), ("state",))  # LeRobot's own name, and that of openpi's examples
ACTIONS = ("action", "actions")


@dataclass(frozen=True)
class _Choice:
    """What is read of the dataset: {camera: feature key}, their sizes, the state's vectors and the actions' vector."""

    cameras: dict[str, str]
    sizes: dict[str, tuple[int, int]]
    state: tuple[str, ...]
    action: str


def read_lerobot(root: Path, known: Known) -> tuple[EnvSpec, int, Drafts]:
    """The EnvSpec of a dataset, the number of its episodes, and these, each read when it is made.

    Errors (ValueError): malformed metadata at once; a malformed episode when it is made or its pictures are drawn.
    """
    info = root / "meta" / "info.json"
    if known.actions is not None:
        said_ = f"a LeRobotDataset does not say what its actions are, actions={known.actions} names nothing in it"
        raise DatasetError(info, Fault("not_asked", said_))

    def images(features: dict[str, Any]) -> list[str]:
        with reading_source(info):
            found = cameras(features)
            return [found[name] for name in choose_cameras(known, found)]

    meta = read_meta(root, images)
    features = meta.features
    with reading_source(info):
        found = cameras(features)
        chosen = {name: found[name] for name in choose_cameras(known, found)}
        state, action = each(partial(_state, features, known), partial(_action, features, known))
        sizes = {name: image_size(features[key]) for name, key in chosen.items()}
        choice = _Choice(chosen, sizes, state, action)
        proprio = [name for key in state for name in vector_names(key, features[key])]
        if len(set(proprio)) != len(proprio):
            proprio = [f"{key}.{name}" for key in state for name in vector_names(key, features[key])]
        taken = [source for source in meta.episodes if source.index not in known.skip]
        if missing := known.skip - {source.index for source in meta.episodes}:
            raise Fault("skip", f"skip names episode {min(missing)}, which is not there")
        if not taken:
            raise Fault("empty", "every episode is skipped")
        spec = make_spec(
            known,
            env_id=f"lerobot/{meta.robot}",
            cameras=tuple(chosen),
            image_size=one_size(known, sizes),
            proprio_names=tuple(proprio),
            action_names=vector_names(action, features[action]),
            hz=meta.fps,
            max_steps=max(max(source.length - 1 for source in taken), 1),
        )
    rows = Rows(["frame_index", "timestamp", action, *state])
    make = partial(_episode, meta, spec, known, rows, choice)
    return spec, len(taken), (Draft(s.index, str(s.data), partial(make, s)) for s in taken)


def _state(features: dict[str, Any], known: Known) -> tuple[str, ...]:
    vectors = vectors_in(features)
    state = known.state or next((s for s in STATES if all(key in features for key in s)), None)
    if state is None:
        raise Fault("state", f"has no feature 'observation.state' or 'state'; its vectors are {said(vectors)}")
    if len(set(state)) != len(state):
        raise Fault("state", f"state={list(state)} names a vector twice; its vectors are {said(vectors)}")
    if missing := [key for key in state if key not in features]:
        raise Fault("state", f"has no feature {missing[0]!r}; its vectors are {said(vectors)}")
    return state


def _action(features: dict[str, Any], known: Known) -> str:
    vectors = vectors_in(features)
    action = known.action or next((key for key in ACTIONS if key in features), None)
    if action is None or action not in features:
        wanted = repr(action) if action else "'action' or 'actions'"
        raise Fault("action", f"has no feature {wanted}; its vectors are {said(vectors)}")
    return action


def _episode(meta: Meta, spec: EnvSpec, known: Known, rows: Rows, choice: _Choice, source: Source) -> Episode:
    table = rows.read(source)
    frames = len(table)
    with reading_source(source.data, f"episode {source.index}"):
        if frames < 2:
            raise Fault("short", f"has {frames} frames; 2 are needed, the last is the final observation")
        if (scalars(table, "frame_index") != np.arange(frames)).any():
            raise Fault("rows", f"frame_index is not 0..{frames - 1}")
        at = scalars(table, "timestamp")
        require_clock(at, meta.fps, known.tolerance)
        facts = _steps(table, spec, choice)
        column = partial(_column, table, source)
        names = [*source.facts, *table.column_names]
        (success, unused), (instruction, before) = each(
            partial(success_of, known, source.index, column, lambda: names),
            partial(instruction_of, known, source.index, column, partial(_task, meta, table)),
        )
        _ended(table, facts, success)
        require_bounds(known, spec, facts["actions"])
    resized = {
        camera: fitted_facts(size, spec.image_size) for camera, size in choice.sizes.items() if size != spec.image_size
    }
    return Episode(
        images={camera: _pictures(meta, spec, known, rows, choice, camera, source, at) for camera in spec.cameras},
        instruction=instruction,
        success=success,
        provenance=Provenance(spec.env_id, -1, known.source),
        hz=spec.hz,
        extra={
            "imported_from": f"LeRobotDataset {meta.version}",
            "source_episode": source.index,
            "unknown": facts.pop("unknown"),
            "last_row": facts.pop("last_row"),
            **before,
            **unused,
            **({"resized": resized} if resized else {}),
        },
        **facts,
    )


def _column(table: pa.Table, source: Source, name: str) -> Any:
    if name in source.facts:
        return source.facts[name]
    if name not in table.column_names:
        return None
    column = table[name]
    return column.to_pylist() if pa.types.is_string(column.type) else scalars(table, name)


def _task(meta: Meta, table: pa.Table) -> str:
    if "task_index" not in table.column_names:
        raise Fault("instruction", "its rows have no task_index")
    tasks = sorted(set(scalars(table, "task_index")[:-1].astype(int).tolist()))
    if len(tasks) > 1:
        raise Fault("episode_instruction", f"has {len(tasks)} tasks, an Episode has one instruction")
    if tasks[0] not in meta.tasks:
        raise Fault("episode_instruction", f"task_index {tasks[0]} is not in meta/tasks")
    return meta.tasks[tasks[0]]


def _pictures(
    meta: Meta,
    spec: EnvSpec,
    known: Known,
    rows: Rows,
    choice: _Choice,
    camera: str,
    source: Source,
    at: npt.NDArray[np.float64],
) -> Pictures:
    """The pictures of one camera as Frames, fitted to the store's size as they are drawn."""
    key, size = choice.cameras[camera], choice.sizes[camera]

    def videos() -> Iterator[Pictures]:
        path, start = source.videos[key]
        with reading_source(path, f"episode {source.index}"):
            if not path.is_file():
                raise FileNotFoundError(path)
            if (stored := pixel_format(path)).startswith("gray"):
                raise Fault("not_rgb", f"its pixels are {stored}")
            for block in frames_near(path, start + at, size, 1 / meta.fps, known.tolerance):
                yield fitted(block, spec.image_size)

    def images() -> Iterator[Pictures]:
        with reading_source(source.data, f"episode {source.index}, {camera}"):
            for some in rows.pictures(source, key):
                for start in range(0, len(some), block_length(*size)):
                    part = some[start : start + block_length(*size)]
                    data = [bytes_ or from_path(meta.root, path, key, source.index) for bytes_, path in part]
                    yield fitted(np.stack([decoded(d, size) for d in data]), spec.image_size)

    drawn = Frames(len(at), spec.image_size, videos if key in source.videos else images)
    return cast("Pictures", drawn)


def _steps(table: pa.Table, spec: EnvSpec, choice: _Choice) -> dict[str, Any]:
    """Everything of an Episode that is neither picture nor outcome, from its T rows; T - 1 steps."""
    T = len(table) - 1
    has = set(table.column_names)

    def column(name: str, default: float) -> npt.NDArray[np.float64]:
        return scalars(table, name) if name in has else np.full(T + 1, default)

    widths = [_width(table, key) for key in choice.state]
    parts = [vectors(table, key, width) for key, width in zip(choice.state, widths, strict=True)]
    proprio = np.concatenate(parts, axis=1)
    if proprio.shape[1] != spec.proprio_dim:
        said_ = f"{', '.join(choice.state)} have {proprio.shape[1]} entries a row"
        raise Fault("width", f"{said_}, info.json says {spec.proprio_dim}")
    actions = vectors(table, choice.action, spec.action_dim)
    segments = column("segment", SEGMENTS.index("unlabelled"))[:T]
    if not np.isin(segments, range(len(SEGMENTS))).all():
        raise Fault("rows", f"segment labels are not all in 0..{len(SEGMENTS) - 1}")
    rewards = column("next.reward", 0).astype(np.float32)
    unknown = [words for name, words in _UNKNOWN.items() if name not in has]
    return {
        "proprio": proprio,
        "actions": actions[:T].copy(),
        "rewards": rewards[:T].copy(),
        "segments": segments.astype(np.int8),
        "progress": column("progress", np.nan).astype(np.float32),
        "intervention": column("intervention", 0)[:T] > 0,
        "unknown": ["seed", *unknown],
        "last_row": {
            "action": [float(x) if np.isfinite(x) else None for x in actions[-1]],
            "reward": float(rewards[-1]) if "next.reward" in has and np.isfinite(rewards[-1]) else None,
        },
    }


def _ended(table: pa.Table, facts: dict[str, Any], success: bool) -> None:
    """Add `terminated` and `truncated` (T,): as stored where the dataset has both, else by the last row's `done`."""
    T = len(table) - 1
    done, truncated = (
        scalars(table, name) > 0 if name in table.column_names else np.zeros(T + 1, bool)
        for name in ("next.done", "next.truncated")
    )
    last = bool(done[-1])
    done, truncated = done[:T].copy(), truncated[:T].copy()
    if "next.truncated" not in table.column_names or not (done[-1] or truncated[-1]):
        # without both columns `done` marks the last row, whatever ended the episode
        done, truncated = np.zeros(T, bool), np.zeros(T, bool)
        done[-1] = last and success
        truncated[-1] = not done[-1]
    facts |= {"terminated": done, "truncated": truncated}


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
