"""`check_env`: everything that an environment lacks for the loop, said at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from episodes.files import one_line
from episodes.types import EnvSpec

_INFO = ("instruction", "success", "progress")


def check_env(env: Any, seed: int = 0) -> None:
    """Reset and step `env` once, and raise one ValueError (one line) that names all that the loop would miss.

    Wanted of env.unwrapped: `spec_` (EnvSpec); flat Dict observations with a uint8 (H, W, 3) box per camera of the spec
    and `proprio` float32 (P,); a Box of actions within the spec's bounds; info with instruction, success and progress
    in [0, 1]; the same observation from the same seed. Returns None where nothing is missing.
    """
    env = env.unwrapped
    lacks = list(dict.fromkeys(_lacks(env, seed)))
    if lacks:
        raise ValueError(one_line(f"{type(env).__name__} lacks {'; '.join(lacks)}"))


def _lacks(env: Any, seed: int) -> Iterator[str]:
    spec = getattr(env, "spec_", None)
    if not isinstance(spec, EnvSpec):
        yield "spec_, an episodes.EnvSpec (cameras, sizes, names, units, Hz)"
        spec = None
    for name in ("reset", "step", "close", "observation_space", "action_space"):
        if not hasattr(env, name):
            yield f"{name} (derive from gymnasium.Env)"
    yield from _spaces(env, spec)
    try:
        observation, info = env.reset(seed=seed, options=None)
        again, _ = env.reset(seed=seed, options=None)
    except Exception as error:  # whatever a foreign environment raises is what it lacks
        yield f"reset(seed=, options=) -> (observation, info) ({type(error).__name__}: {error})"
        return
    yield from _observation(observation, spec, "reset")
    yield from _told(info, "reset")
    if isinstance(observation, dict) and isinstance(again, dict):
        differs = [k for k in observation if k not in again or not np.array_equal(observation[k], again[k])]
        if differs:
            yield f"seeding: {', '.join(differs)} differ between two reset(seed={seed})"
    if not hasattr(env, "action_space"):
        return
    low, high = getattr(env.action_space, "low", None), getattr(env.action_space, "high", None)
    if low is None or high is None:
        return  # said above
    middle = np.where(np.isfinite(low) & np.isfinite(high), (low + high) / 2, 0).astype(np.float64)
    try:
        observation, reward, terminated, truncated, info = env.step(middle)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        yield f"step(float64 action) -> (observation, reward, terminated, truncated, info) ({said})"
        return
    yield from _observation(observation, spec, "step")
    yield from _told(info, "step")
    if not np.isscalar(reward) and np.ndim(reward):
        yield f"a single reward (step gives shape {np.shape(reward)})"
    for name, value in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(value, (bool, np.bool_)):
            yield f"{name} as a bool (step gives {type(value).__name__})"


def _spaces(env: Any, spec: EnvSpec | None) -> Iterator[str]:
    boxes: Any = getattr(getattr(env, "observation_space", None), "spaces", None)
    if hasattr(env, "observation_space") and not isinstance(boxes, dict):
        yield "a flat Dict observation_space (a uint8 box per camera and proprio)"
    for name in (*(spec.cameras if spec else ()), "proprio") if isinstance(boxes, dict) else ():
        if name not in boxes:
            yield f"observation_space[{name!r}]"
    space = getattr(env, "action_space", None)
    if space is None:
        return
    if getattr(space, "low", None) is None:
        yield f"a Box action_space (it has {type(space).__name__})"
    elif spec is not None and space.shape != (spec.action_dim,):
        yield f"an action_space of shape ({spec.action_dim},) as spec_ says (it has {space.shape})"
    elif spec is not None and not (
        np.allclose(space.low, spec.action_low) and np.allclose(space.high, spec.action_high)
    ):
        yield "the bounds of spec_ in action_space"


def _observation(observation: Any, spec: EnvSpec | None, when: str) -> Iterator[str]:
    if not isinstance(observation, dict):
        yield f"an observation that is a dict ({when} gives {type(observation).__name__})"
        return
    wanted = {camera: (np.uint8, (*spec.image_size, 3)) for camera in spec.cameras} if spec else {}
    proprio: dict[str, Any] = {"proprio": (np.float32, (spec.proprio_dim,) if spec else None)}
    for name, (kind, shape) in (wanted | proprio).items():
        if name not in observation:
            yield f"{name} in the observation of {when}"
            continue
        found = np.asarray(observation[name])
        if found.dtype != kind or (shape is not None and found.shape != shape):
            size = f" {shape}" if shape else ""
            yield f"{name} as {np.dtype(kind)}{size} ({when} gives {found.dtype} {found.shape})"


def _told(info: Any, when: str) -> Iterator[str]:
    if not isinstance(info, dict):
        yield f"an info that is a dict ({when} gives {type(info).__name__})"
        return
    for name in _INFO:
        if name not in info:
            yield f"info[{name!r}] at {when}"
    progress = info.get("progress")
    if progress is not None and not (np.isnan(progress) or 0 <= progress <= 1):
        yield f"progress in [0, 1] (it is {progress} at {when})"
