"""The types everything is said in: Observation, EnvSpec, Provenance, Episode.

Shape alphabet of the project: B batch, T time, V views, H W pixels, C channels, F latent frames, L tokens, D width,
K action chunk, A action, P proprioception.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

SEGMENTS = ("advance", "hesitation", "retry", "failure", "unlabelled")
"""Names of the per-step segment labels; an episode stores the index into this tuple (int8)."""


@dataclass(frozen=True)
class Observation:
    """One moment as a policy sees it: images {camera: uint8 (H, W, 3)}, proprio float32 (P,), instruction."""

    images: dict[str, npt.NDArray[np.uint8]]
    proprio: npt.NDArray[np.float32]
    instruction: str

    @classmethod
    def from_gym(cls, observation: Mapping[str, npt.NDArray[Any]], instruction: str) -> Observation:
        """Join a flat Gymnasium Dict observation (one uint8 Box per camera and `proprio`) with its instruction."""
        images = {name: value for name, value in observation.items() if name != "proprio"}
        return cls(images, observation["proprio"], instruction)


@dataclass(frozen=True)
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
    gripper_close: float  # the gripper action that closes: +1.0 in robosuite, -1.0 in SIMPLER
    hz: float  # control rate
    max_steps: int  # time limit of one episode

    @property
    def action_dim(self) -> int:
        return len(self.action_names)

    @property
    def proprio_dim(self) -> int:
        return len(self.proprio_names)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> EnvSpec:
        """Read a spec written by `to_json`; a missing or unknown field is a ValueError that names it."""
        raw = json.loads(text)
        names = {f.name for f in fields(cls)}
        if not isinstance(raw, dict) or set(raw) != names:
            found = set(raw) if isinstance(raw, dict) else {type(raw).__name__}
            raise ValueError(f"EnvSpec: fields {sorted(found ^ names)} are missing or unknown; write it with to_json()")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        return cls(**values)

    def require_same(self, other: EnvSpec, what: str) -> None:
        """Raise a ValueError naming the first field in which `what` differs (the time limit may differ)."""
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            if f.name != "max_steps" and mine != theirs:
                raise ValueError(
                    f"{what}: {f.name} is {theirs!r}, expected {mine!r}; use the environment it was made for"
                )


@dataclass(frozen=True)
class Provenance:
    """Where an episode came from; `source` is "oracle", "policy:NAME" or "human", `variant` the oracle's style."""

    env_id: str
    seed: int
    source: str
    variant: str = ""
    policy: str = ""  # content hash of the policy's checkpoint, if one acted
    iteration: int = 0  # RECAP iteration that collected it; 0 is demonstrations


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode of T steps and its final observation, as a struct of arrays.

    images {camera: uint8 (T+1, H, W, 3)}, proprio float32 (T+1, P), actions float32 (T, A), rewards float32 (T,),
    terminated / truncated bool (T,), segments int8 (T,) indices into SEGMENTS, progress float32 (T+1,) the simulator's
    staged task progress (NaN where unknown), intervention bool (T,) true where a corrector acted.
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
        assert T > 0, "an episode has at least one step"
        for name in ("rewards", "terminated", "truncated", "segments", "intervention"):
            assert len(getattr(self, name)) == T, f"{name}: {len(getattr(self, name))} entries for {T} steps"
        for name in ("proprio", "progress"):
            assert len(getattr(self, name)) == T + 1, f"{name}: {len(getattr(self, name))} entries for {T} steps + 1"
        for camera, frames in self.images.items():
            assert frames.shape[0] == T + 1 and frames.dtype == np.uint8, f"{camera}: {frames.shape} {frames.dtype}"

    def __len__(self) -> int:
        return len(self.actions)

    def observation(self, t: int) -> Observation:
        """The observation before step t; t = T is the final one."""
        return Observation({c: v[t] for c, v in self.images.items()}, self.proprio[t], self.instruction)
