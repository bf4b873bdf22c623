"""The types everything is said in: Observation, EnvSpec, Provenance, Episode.

Shape alphabet of the project: B batch, T time, V views, H W pixels, C channels, F latent frames, L tokens, D width,
K action chunk, A action, P proprioception.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SEGMENTS = ("advance", "hesitation", "retry", "failure", "unlabelled")
"""Names of the per-step segment labels; an episode stores the index into this tuple (int8)."""

WEIGHTINGS = ("loss", "sample")
"""How a batch follows the weights of its steps: in the loss (WVM eq. E.5), or by how often they are drawn."""

GRIPPERS = ("position", "change")
"""What a gripper's action commands."""

_CHANGE_IN_WORDS = "-1 opens by 1.31 rad, +1 closes by 1.31 rad, 0 keeps"

MAX_PIXELS = 8192
"""The largest height or width of an image that anything here reads, draws or makes room for."""


@dataclass(frozen=True, repr=False)
class Observation:
    """One moment as a policy sees it: images {camera: uint8 (H, W, 3)}, proprio float32 (P,), instruction."""

    images: dict[str, npt.NDArray[np.uint8]]
    proprio: npt.NDArray[np.float32]
    instruction: str

    @classmethod
    def from_gym(cls, observation: Mapping[str, npt.NDArray[Any]], instruction: str) -> Observation:
        """Join a flat Gymnasium Dict observation (one uint8 Box per camera and `proprio`) with its instruction.

        A box `state` (what simulators know of their objects) is left out: it is for agents that learn without pictures.
        """
        images = {name: value for name, value in observation.items() if name not in ("proprio", "state")}
        return cls(images, observation["proprio"], instruction)

    def __repr__(self) -> str:
        return f"Observation({_seen(self.images)}, proprio {np.shape(self.proprio)}, {self.instruction!r})"


@dataclass(frozen=True, repr=False)
class EnvSpec:
    """What a store, a checkpoint and an environment must agree on; units are SI, rotations are radians."""

    env_id: str
    cameras: tuple[str, ...]
    image_size: tuple[int, int]  # (H, W) pixels
    proprio_names: tuple[str, ...]
    action_names: tuple[str, ...]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_units: tuple[str, ...]
    rotation: str  # "rotation_vector" or "euler_xyz"
    gripper_close: float  # the gripper action that closes: +1.0 in robosuite and SIMPLER's Google robot, -1.0 on WidowX
    hz: float  # control rate
    max_steps: int  # time limit of one episode
    gripper: str = "position"  # what that action commands: position, or change (from where the gripper is)

    def __post_init__(self) -> None:
        for name in ("cameras", "proprio_names", "action_names"):
            names = getattr(self, name)
            if isinstance(names, str) or not all(isinstance(n, str) for n in names) or len(set(names)) != len(names):
                raise ValueError(f"EnvSpec: {name} is {names!r}; give different names")
        for name in ("action_low", "action_high", "action_units"):
            if len(getattr(self, name)) != len(self.action_names):
                raise ValueError(
                    f"EnvSpec: {name} has {len(getattr(self, name))} entries for {len(self.action_names)} actions; "
                    "give one per action"
                )
        size = self.image_size
        if len(size) != 2 or not all(isinstance(n, int) and 1 <= n <= MAX_PIXELS for n in size):
            raise ValueError(f"EnvSpec: image_size is {size!r}; give (height, width), each 1 to {MAX_PIXELS} pixels")
        if self.gripper not in GRIPPERS:
            raise ValueError(f"EnvSpec: gripper is {self.gripper!r}; choose {' or '.join(GRIPPERS)}")
        if not 0 < self.hz < float("inf") or self.max_steps < 1:
            raise ValueError(f"EnvSpec: hz={self.hz}, max_steps={self.max_steps}; both must be above 0")

    def __repr__(self) -> str:
        views = f"{'+'.join(self.cameras) or 'no cameras'} {self.image_size[0]}x{self.image_size[1]}"
        dims = f"{self.action_dim} actions, {self.proprio_dim} proprio"
        return f"EnvSpec({self.env_id}, {views}, {dims}, {self.hz:g} Hz, at most {self.max_steps} steps)"

    @property
    def action_dim(self) -> int:
        """Numbers in an action (A)."""
        return len(self.action_names)

    @property
    def proprio_dim(self) -> int:
        """Numbers in the proprioception of a frame (P)."""
        return len(self.proprio_names)

    def to_json(self) -> str:
        """The fields as json text, keys sorted; `from_json` reads it."""
        return json.dumps(asdict(self), sort_keys=True)

    def hashed(self) -> bytes:
        """What content hashes are made of: `to_json` without `gripper`, which came after the first of them."""
        return json.dumps({k: v for k, v in asdict(self).items() if k != "gripper"}, sort_keys=True).encode()

    @classmethod
    def from_json(cls, text: str) -> EnvSpec:
        """Read a spec written by `to_json`; a missing, unknown or mistyped field is a ValueError that names it.

        One from before `gripper` was a field said it in the words of its last unit.
        """
        raw = json.loads(text)
        names = {f.name for f in fields(cls)}
        if isinstance(raw, dict) and "gripper" not in raw:
            units = raw.get("action_units")
            raw["gripper"] = "change" if isinstance(units, list) and units[-1:] == [_CHANGE_IN_WORDS] else "position"
        if not isinstance(raw, dict) or set(raw) != names:
            found = set(raw) if isinstance(raw, dict) else {type(raw).__name__}
            raise ValueError(f"EnvSpec: fields {sorted(found ^ names)} are missing or unknown; write it with to_json()")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        for name in names:
            kind = _SPEC_KINDS.get(name, tuple)
            if not isinstance(values[name], kind) or isinstance(values[name], bool):
                raise ValueError(f"EnvSpec: {name} is {values[name]!r}; write it with to_json()")
        for name in ("action_low", "action_high"):
            if not all(isinstance(x, (int, float)) for x in values[name]):
                raise ValueError(f"EnvSpec: {name} is {values[name]!r}; give numbers")
        return cls(**values)

    def require_same(self, other: EnvSpec, what: str) -> None:
        """Raise a ValueError naming the first field in which `what` differs (the time limit may differ)."""
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            if f.name != "max_steps" and mine != theirs:
                raise ValueError(
                    f"{what}: {f.name} is {theirs!r}, expected {mine!r}; use the environment it was made for"
                )


_SPEC_KINDS: dict[str, Any] = {"env_id": str, "rotation": str, "gripper": str, "max_steps": int}  # the rest are tuples
_SPEC_KINDS |= {"gripper_close": (int, float), "hz": (int, float)}


@dataclass(frozen=True)
class Provenance:
    """Where an episode came from; `source` is "oracle", "policy:NAME" or "human", `variant` the oracle's style."""

    env_id: str
    seed: int
    source: str
    variant: str = ""
    policy: str = ""  # content hash of the policy's checkpoint, if one acted
    iteration: int = 0  # RECAP iteration that collected it; 0 is demonstrations


_KINDS = {"fiu": "numbers", "iu": "whole numbers", "b": "bool"}
_PER_STEP = {"actions": "fiu", "rewards": "fiu", "segments": "iu"} | dict.fromkeys(
    ("terminated", "truncated", "intervention"), "b"
)
_PER_FRAME = {"proprio": "fiu", "progress": "fiu"}


@dataclass(frozen=True, eq=False, repr=False)
class Episode:
    """One episode of T steps and its final observation, as a struct of arrays.

    images {camera: uint8 (T+1, H, W, 3)}, proprio float32 (T+1, P), actions float32 (T, A), rewards float32 (T,),
    terminated / truncated bool (T,), segments int8 (T,) indices into SEGMENTS, progress float32 (T+1,) the simulator's
    staged task progress (NaN where unknown), intervention bool (T,) true where a corrector acted. An array of another
    length or kind is a ValueError that names it; numbers are checked where they are stored.
    """

    images: dict[str, npt.NDArray[np.uint8]]
    proprio: npt.NDArray[np.float32]
    actions: npt.NDArray[np.float32]
    rewards: npt.NDArray[np.float32]
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    success: bool
    segments: npt.NDArray[np.int8]
    progress: npt.NDArray[np.float32]
    intervention: npt.NDArray[np.bool_]
    instruction: str
    provenance: Provenance
    hz: float
    extra: dict[str, Any] = field(default_factory=dict)  # facts for humans (json-able); nothing computes with it

    def __post_init__(self) -> None:
        T = len(self.actions)
        if T < 1:
            raise ValueError(f"{self._name}: no steps; record at least one")
        for name in (*_PER_STEP, *_PER_FRAME):
            n, kind = T + (name in _PER_FRAME), _PER_STEP.get(name) or _PER_FRAME[name]
            values = getattr(self, name)
            if not isinstance(values, np.ndarray) or values.dtype.kind not in kind:
                found = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
                raise ValueError(f"{self._name}: {name} are {found}; give an array of {_KINDS[kind]}")
            if len(values) != n or (name not in ("actions", "proprio") and values.ndim != 1):
                raise ValueError(
                    f"{self._name}: {name} have shape {values.shape} for {T} steps; give {n} entries, "
                    + ("one per step and the final observation's" if n > T else "one per step")
                )
        for camera, frames in self.images.items():
            if frames.ndim != 4 or frames.shape[0] != T + 1 or frames.dtype != np.uint8:
                raise ValueError(
                    f"{self._name}: images of {camera} are {frames.dtype} {frames.shape}; "
                    f"give uint8 ({T + 1}, H, W, 3), the final observation's included"
                )

    @classmethod
    def from_video(
        cls,
        path: str | Path | Mapping[str, str | Path],
        instruction: str,
        hz: float,
        *,
        camera: str = "video",
        image_size: tuple[int, int] | None = None,
        proprio: npt.NDArray[Any] | None = None,
        success: bool = False,
    ) -> Episode:
        """An episode to be scored from a video: `hz` pictures a second of it, and nothing that it does not show.

        path: a video file, of the view `camera`, or one file per camera {camera: path}, which begin together.
        image_size: (H, W) the pictures are made (Lanczos); None: the video's own. proprio (T+1, P): the state at the
        same moments, for models that read it. Actions are (T, 0), progress NaN, segments unlabelled; success is what
        you say. ValueError: a video that cannot be read, shorter than two pictures, or slower than `hz`.
        """
        from episodes.video import pictures_at  # PyAV only where it is needed

        paths = dict(path) if isinstance(path, Mapping) else {camera: path}
        if not paths:
            raise ValueError("from_video: no camera; give one file, or {camera: path}")
        seen = {name: pictures_at(Path(file), hz, image_size) for name, file in paths.items()}
        n = min(len(frames) for frames in seen.values())
        if proprio is not None and len(proprio) != n:
            raise ValueError(
                f"from_video: proprio has {len(proprio)} rows for {n} pictures at {hz:g} Hz; give one each"
            )
        T = n - 1
        last = np.arange(T) == T - 1
        return cls(
            images={name: frames[:n] for name, frames in seen.items()},
            proprio=np.zeros((n, 0), np.float32) if proprio is None else np.asarray(proprio, np.float32),
            actions=np.zeros((T, 0), np.float32),
            rewards=np.zeros(T, np.float32),
            terminated=last & success,
            truncated=last & (not success),
            success=success,
            segments=np.full(T, SEGMENTS.index("unlabelled"), np.int8),
            progress=np.full(n, np.nan, np.float32),
            intervention=np.zeros(T, np.bool_),
            instruction=instruction,
            provenance=Provenance("video", 0, "human"),
            hz=hz,
            extra={"video": ", ".join(str(file) for file in paths.values())},
        )

    def __repr__(self) -> str:
        ending = "success" if self.success else "no success"
        what = f"{len(self)} steps at {self.hz:g} Hz, {ending}, {_seen(self.images)}, proprio {self.proprio.shape[-1]}"
        return f"Episode({self.provenance.env_id} seed {self.provenance.seed}, {what}, {self.instruction!r})"

    @property
    def _name(self) -> str:
        return f"Episode (seed {self.provenance.seed})"

    def __len__(self) -> int:
        return len(self.actions)

    def observation(self, t: int) -> Observation:
        """The observation before step t; t = T is the final one."""
        return Observation({c: v[t] for c, v in self.images.items()}, self.proprio[t], self.instruction)


def _seen(images: Mapping[str, npt.NDArray[Any]]) -> str:
    """The cameras and their sizes, in few words."""
    return ", ".join(f"{name} {v.shape[-3]}x{v.shape[-2]}" for name, v in images.items()) or "no cameras"
