"""An HDF5 file of demonstrations as Episodes: actions, rewards, dones, obs/* and, where kept, next_obs/*.

The final observation is the last entry of next_obs, or of obs where they are one more than the actions (ManiSkill); a
file without either gives its last frame up, as a LeRobotDataset does: T - 1 steps, the last action and reward in
`extra["last_row"]`. The files' simulator `states` are not imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from episodes.frames import Frames, Pictures, block_length, fitted, fitted_facts
from episodes.importing.facts import SUCCESS, instruction_of, success_of
from episodes.importing.hdf5 import array, at, matrix, require_readable
from episodes.importing.hdf5_layouts import Layout, instruction_in, layout_of, picture_size
from episodes.importing.hdf5_spec import frames_in, rate_of, spec_of
from episodes.importing.known import Draft, Drafts, Known, choose_cameras, require_bounds, said
from episodes.importing.reading import DatasetError, Fault, Faults, each, reading_source
from episodes.types import SEGMENTS, EnvSpec, Episode, Provenance


def read_robomimic(path: Path, known: Known) -> tuple[EnvSpec, int, Drafts]:
    """The EnvSpec of a file, the number of its episodes, and these, each read when it is made.

    Errors (ValueError): no h5py, malformed attributes at once; a malformed demonstration when it is made.
    """
    try:
        import h5py
    except ImportError as error:
        raise DatasetError(path, Fault("h5py", "HDF5 needs h5py")) from error
    if path.is_dir():
        raise DatasetError(path, Fault("format", "is a folder, not an HDF5 file"))
    with reading_source(path):
        require_readable(path)
    with reading_source(path), h5py.File(path, "r") as file:
        layout = layout_of(file, path)
        if missing := known.skip - set(layout.demos):
            raise Fault("skip", f"skip names demo_{min(missing)}, which is not there")
        demos = {number: name for number, name in layout.demos.items() if number not in known.skip}
        if not demos:
            raise Fault("empty", "every demonstration is skipped")
        first = file[next(iter(demos.values()))]
        cameras = {c: layout.cameras[c] for c in choose_cameras(known, layout.cameras)}
        sizes = {name: picture_size(first, key) for name, key in cameras.items()}
        number = next(iter(demos))
        state, action, hz, *_ = each(
            partial(_state, layout, first, known),
            partial(_action, first, known),
            partial(rate_of, layout, known),
            partial(_first_facts, layout, file, first, known, number),
        )
        names = [name for key in state for name in _names(key, array(first, layout.vector(key)))]
        spec, told = spec_of(file, layout, known, demos, cameras, sizes, names, action, hz)
    unknown = ["seed", "segments", "progress", "intervention", *told]
    make = partial(_episode, path, layout, spec, known, cameras, sizes, state, action, unknown)
    return spec, len(demos), (Draft(number, str(path), partial(make, number)) for number in demos)


def _state(layout: Layout, first: Any, known: Known) -> tuple[str, ...]:
    """The vectors of the state, all of which the first demonstration has."""
    state = known.state or layout.state
    pictures = {key.split("/")[-1] for key in layout.cameras.values()}
    vectors = sorted(key for key in first[layout.observations] if key not in pictures)
    if len(set(state)) != len(state):
        raise Fault("state", f"state={list(state)} names a vector twice; its vectors are {said(vectors)}")
    if not state:
        raise Fault("state", f"no state is known in it; its vectors are {said(vectors)}")
    if wrong := [key for key in state if layout.vector(key) not in first]:
        raise Fault("state", f"lacks {wrong[0]!r}; its vectors are {said(vectors)}")
    return state


def _action(first: Any, known: Known) -> str:
    action = known.action or "actions"
    if action not in first:
        arrays = sorted(key for key in first if getattr(first[key], "ndim", 0) == 2)
        raise Fault("action", f"has no {action!r}; its vectors are {said(arrays)}")
    return action


def _first_facts(layout: Layout, file: Any, first: Any, known: Known, number: int) -> None:
    """A Fault where the first demonstration does not say its outcome or instruction; other faults wait for its turn."""
    try:
        rewards = array(first, "rewards") if "rewards" in first else None
        if rewards is None or len(rewards):  # an empty one says nothing of the others
            _facts(layout, file, first, known, number, rewards)
    except Fault as fault:
        if {part.cause for part in fault.parts} <= {"success", "instruction"}:
            name = layout.demos[number].split("/")[-1]
            raise Faults([Fault(part.cause, f"{name}: {part}") for part in fault.parts]) from None
    except (KeyError, ValueError, TypeError):
        return


def _facts(
    layout: Layout, file: Any, demo: Any, known: Known, number: int, rewards: npt.NDArray[np.float32] | None
) -> list[Any]:
    """[(success, what extra keeps), (instruction, what extra keeps)] of one demonstration."""
    column = partial(_column, demo, rewards, layout.kwargs.get("reward_shaping") is False)
    columns = [key for key in demo if getattr(demo[key], "ndim", 0) == 1] + list(demo.attrs)
    own = partial(instruction_in, demo, file.get("data", demo))
    return each(
        partial(success_of, known, number, column, lambda: sorted(columns)),
        partial(instruction_of, known, number, column, own),
    )


def _episode(
    path: Path,
    layout: Layout,
    spec: EnvSpec,
    known: Known,
    cameras: dict[str, str],
    sizes: dict[str, tuple[int, int]],
    state: tuple[str, ...],
    action: str,
    unknown: list[str],
    number: int,
) -> Episode:
    import h5py

    name = layout.demos[number]
    with reading_source(path, name.split("/")[-1], "rows"), h5py.File(path, "r") as file:
        demo = file[name]
        actions = matrix(array(demo, action))
        T = len(actions)
        if int(demo.attrs.get("num_samples", T)) != T:
            raise Fault("rows", f"has {T} actions, its num_samples says {demo.attrs['num_samples']}")
        parts = ["", "next_"] if "next_obs" in demo else [""]
        frames = frames_in(demo, cameras, T)
        if frames < 2:
            raise Fault("short", f"has no next_obs and {frames} frames; 2 are needed, the last is the final one")
        for key in (*(layout.vector(key) for key in state), *cameras.values()):
            lengths = [len(at(demo, part + key)) for part in parts]
            if lengths != [T] * len(parts) and lengths != [T + 1]:
                told = ", ".join(map(str, lengths))
                raise Fault("rows", f"{key.split('/')[-1]} has {told} frames for {T} actions")
        own = {camera: picture_size(demo, key) for camera, key in cameras.items()}
        if known.image_size is None and (other := [c for c in own if own[c] != sizes[c]]):
            found = ", ".join(f"{h}x{w}" for h, w in (own[other[0]], sizes[other[0]]))
            raise Fault("one_size", f"pictures of {other[0]} have another size than in the first episode ({found})")
        rewards, dones = _vector(demo, "rewards", T), _vector(demo, "dones", T)
        if dones is None:
            dones = _vector(demo, "terminated", T)
        (success, unused), (instruction, before) = _facts(layout, file, demo, known, number, rewards)
        proprio = [matrix(_joined(demo, layout.vector(key), parts)) for key in state]
    steps = frames - 1
    with reading_source(path, name.split("/")[-1], "rows"):
        require_bounds(known, spec, actions)
    return Episode(
        images={
            camera: cast("Pictures", Frames(frames, spec.image_size, partial(_draw, path, name, key, parts, spec)))
            for camera, key in cameras.items()
        },
        proprio=np.concatenate([values[:frames] for values in proprio], axis=1),
        actions=actions[:steps],
        rewards=np.zeros(steps, np.float32) if rewards is None else rewards[:steps],
        **_ended(steps, success, dones),
        success=success,
        segments=np.full(steps, SEGMENTS.index("unlabelled"), np.int8),
        progress=np.full(steps + 1, np.nan, np.float32),
        intervention=np.zeros(steps, np.bool_),
        instruction=instruction,
        provenance=Provenance(spec.env_id, -1, known.source),
        hz=spec.hz,
        extra={
            "imported_from": layout.name,
            "source_episode": number,
            "unknown": unknown
            + [words for words, values in (("rewards", rewards), ("terminated", dones)) if values is None],
            **before,
            **unused,
            **_resized(own, spec),
            **({"last_row": _last(actions, rewards)} if steps < T else {}),
        },
    )


def _resized(sizes: dict[str, tuple[int, int]], spec: EnvSpec) -> dict[str, Any]:
    facts = {c: fitted_facts(size, spec.image_size) for c, size in sizes.items() if size != spec.image_size}
    return {"resized": facts} if facts else {}


def _last(actions: npt.NDArray[np.float32], rewards: npt.NDArray[np.float32] | None) -> dict[str, Any]:
    last = [float(x) if np.isfinite(x) else None for x in actions[-1]]
    return {"action": last, "reward": None if rewards is None else float(rewards[-1])}


def _ended(steps: int, success: bool, dones: npt.NDArray[np.float32] | None) -> dict[str, npt.NDArray[np.bool_]]:
    terminated, truncated = np.zeros(steps, np.bool_), np.zeros(steps, np.bool_)
    terminated[-1] = success and dones is not None and dones[-1] > 0
    truncated[-1] = not terminated[-1]
    return {"terminated": terminated, "truncated": truncated}


def _draw(path: Path, demo: str, key: str, parts: list[str], spec: EnvSpec) -> Iterator[Pictures]:
    """The pictures of one camera block by block, fitted to the store's size."""
    import h5py

    with reading_source(path, f"{demo.split('/')[-1]}, {key}", "picture"), h5py.File(path, "r") as file:
        pictures = at(file[demo], key)
        step = block_length(pictures.shape[1], pictures.shape[2])
        for start in range(0, len(pictures), step):
            yield fitted(pictures[start : start + step], spec.image_size)
        if len(parts) == 2:
            yield fitted(at(file[demo], parts[1] + key)[-1:], spec.image_size)


def _joined(demo: Any, path: str, parts: list[str]) -> npt.NDArray[Any]:
    found = [array(demo, part + path) for part in parts]
    return np.concatenate([found[0], *(values[-1:] for values in found[1:])])


def _column(demo: Any, rewards: npt.NDArray[np.float32] | None, sparse: bool, name: str) -> Any:
    """The values of a column of one demonstration: an array or an attribute of it."""
    if name == "next.success":  # sparse rewards say it, where nothing else does
        told = any(other in demo or other in demo.attrs for other in SUCCESS)
        return rewards > 0 if sparse and not told and rewards is not None and _is_sparse(rewards) else None
    if name in demo and getattr(demo[name], "ndim", 0) == 1:
        return array(demo, name)
    return demo.attrs.get(name)


def _is_sparse(rewards: npt.NDArray[np.float32]) -> bool:
    """Whether there is nothing but 0 and one positive reward, as reward_shaping = false says."""
    return len(np.unique(rewards[rewards != 0])) <= 1 and bool((rewards >= 0).all())


def _vector(demo: Any, name: str, T: int) -> npt.NDArray[np.float32] | None:
    if name not in demo:
        return None
    values = matrix(array(demo, name))
    if values.shape != (T, 1):
        raise Fault("rows", f"{name} have shape {values.shape} for {T} actions")
    return values[:, 0]


def _names(key: str, values: npt.NDArray[Any]) -> list[str]:
    width = matrix(values).shape[1]
    return [f"{key}_{i}" for i in range(width)] if width > 1 else [key]
