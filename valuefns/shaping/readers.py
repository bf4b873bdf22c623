"""What a shaping term reads: a learned value's stream, and the controls beside it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from episodes.types import EnvSpec, Observation
from valuefns.protocol import ValueFunction
from valuefns.shaping.unwrapped import Unwrapped

Floats = npt.NDArray[np.float64]


class Moment(NamedTuple):
    """What an environment returned, and how many steps into the episode that was."""

    observation: Any
    info: Mapping[str, Any]
    step: int


class Reader(ABC):
    """Reads one number per environment. `card` says what it is, `calls`, `frames` and `seconds` what it has cost."""

    views = False  # whether it looks at pictures

    def __init__(self) -> None:
        self.calls, self.frames, self.seconds = 0, 0, 0.0
        self.card: dict[str, Any] = {"value": type(self).__name__}

    def read(self, moments: Sequence[Moment | None], fresh: npt.NDArray[np.bool_]) -> Floats:
        """Values (n,) of the moments, NaN where None; `fresh` (n,) marks first observations of episodes.

        One call for all environments that are asked; the others do not advance.
        """
        asked = sum(m is not None for m in moments)
        if not asked:
            return np.full(len(moments), np.nan)
        started = time.perf_counter()
        values = self._read(moments, fresh)
        self.calls, self.frames, self.seconds = self.calls + 1, self.frames + asked, (
            self.seconds + time.perf_counter() - started
        )  # fmt: skip
        return values

    @abstractmethod
    def _read(self, moments: Sequence[Moment | None], fresh: npt.NDArray[np.bool_]) -> Floats: ...


class StreamReader(Reader):
    """A learned value read online, frozen, on the device it was loaded to.

    `value` must fit the environment `spec` (same cameras, rate and action space; ValueError otherwise) and be causal:
    one that needs a finished episode has no stream.
    """

    views = True

    def __init__(self, value: ValueFunction, spec: EnvSpec, n: int, every: int = 1, space: Any = None) -> None:
        super().__init__()
        require_fit(value, spec, every)
        self.unwrapped = Unwrapped(spec, space)
        freeze(value)
        self.stream = value.stream(n)
        self.card = {"value": value.name, "version": version_of(value), "every": every}

    def _read(self, moments: Sequence[Moment | None], fresh: npt.NDArray[np.bool_]) -> Floats:
        seen = [None if m is None else view(m, self.unwrapped) for m in moments]
        if fresh.any():
            self.stream.reset(fresh, ["" if o is None else o.instruction for o in seen])
        return np.asarray(self.stream.step(seen), np.float64)


class InfoReader(Reader):
    """A number the simulator itself reports, such as its staged progress: the oracle control (privileged)."""

    def __init__(self, key: str = "progress") -> None:
        super().__init__()
        self.key, self.card = key, {"value": f"info[{key!r}]"}

    def _read(self, moments: Sequence[Moment | None], fresh: npt.NDArray[np.bool_]) -> Floats:
        return np.array([np.nan if m is None else self._of(m.info) for m in moments], np.float64)

    def _of(self, info: Mapping[str, Any]) -> float:
        if self.key not in info:
            raise ValueError(f"shaping: info has no {self.key!r}, only {', '.join(sorted(map(str, info)))}")
        return float(info[self.key])


class ClockReader(Reader):
    """t / T, the share of the time limit that has passed: a control that knows nothing of the task."""

    def __init__(self, max_steps: int) -> None:
        super().__init__()
        self.max_steps, self.card = max_steps, {"value": "t/T", "max_steps": max_steps}

    def _read(self, moments: Sequence[Moment | None], fresh: npt.NDArray[np.bool_]) -> Floats:
        return np.array([np.nan if m is None else min(m.step / self.max_steps, 1.0) for m in moments], np.float64)


class ShuffledReader(Reader):
    """A draw from `pool` at every reading: values of the right size that say nothing about the state."""

    def __init__(self, pool: npt.ArrayLike, seed: int = 0) -> None:
        super().__init__()
        self.pool, self.rng = np.asarray(pool, np.float64).ravel(), np.random.default_rng(seed)
        if not self.pool.size:
            raise ValueError("ShuffledReader: the pool is empty; give the values of some episodes")
        self.card = {"value": "shuffled", "pool": self.pool.size}

    def _read(self, moments: Sequence[Moment | None], fresh: npt.NDArray[np.bool_]) -> Floats:
        return np.array([np.nan if m is None else self.rng.choice(self.pool) for m in moments], np.float64)


def view(moment: Moment, unwrapped: Unwrapped | None = None) -> Observation:
    """What the value sees: info["view"] (envs.viewed), else the observation if it is a flat Dict with proprio.

    unwrapped: undoes what wrappers around pictures did to the observation.
    """
    instruction = str(moment.info.get("instruction", ""))
    seen = moment.info.get("view")
    if seen is None:
        seen = moment.observation
        if unwrapped is not None and isinstance(seen, Mapping):
            seen = unwrapped(seen)
    if not isinstance(seen, Mapping) or "proprio" not in seen:
        raise ValueError(
            'shaping: neither info["view"] nor the observation holds what the value sees; wrap each environment in '
            "envs.viewed.Viewed"
        )
    return Observation.from_gym(seen, instruction)


def require_fit(value: ValueFunction, spec: EnvSpec, every: int) -> None:
    """Raise a ValueError saying why `value` cannot be read in an environment of `spec` every `every` steps."""
    if type(value).stream is ValueFunction.stream:
        value.stream(1)  # refuses: it knows how its episodes end
    own = getattr(value, "spec", None)
    if own is None:
        raise ValueError(
            f"value {value.name!r}: it does not say which environment it was fitted for; fit or load a learned one"
        )
    missing = [camera for camera in own.cameras if camera not in spec.cameras]
    if missing:
        raise ValueError(
            f"value {value.name!r}: it sees the cameras {', '.join(own.cameras)}, the environment has "
            f"{', '.join(spec.cameras) or 'none'}; make the environment with cameras={list(own.cameras)}"
        )
    own.require_same(replace(spec, cameras=own.cameras), f"value {value.name!r}")
    if every > 1 and (value.history > 1 or value.fps is not None):
        raise ValueError(
            f"value {value.name!r}: it looks back on {value.history} frames at {value.fps or spec.hz:g} per second, so "
            f"it must see every step; use every=1 instead of {every} (it holds its value between its own frames)"
        )
    if value.fps is not None and value.fps > spec.hz:
        raise ValueError(
            f"value {value.name!r}: it reads {value.fps:g} frames a second, the environment has {spec.hz:g}"
        )


def freeze(value: ValueFunction) -> None:
    """Put the value's networks into inference for good: no gradients, no dropout."""
    for part in value.networks().values():
        if hasattr(part, "requires_grad_") and hasattr(part, "eval"):
            part.eval()
            part.requires_grad_(False)


def version_of(value: ValueFunction) -> str:
    """SHA-256 over the tensors of the value's networks, 16 hexadecimal digits: which checkpoint made a reward."""
    if value.content:
        return value.content[:16]
    from networks.checkpoint import content_sha256  # loads torch

    tensors = {f"{name}.{key}": t for name, part in value.networks().items() for key, t in part.state_dict().items()}
    return content_sha256(tensors, value.name)[:16]
