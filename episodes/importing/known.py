"""What the person who imports a dataset knows and its files may not say."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from episodes.types import EnvSpec


@dataclass(frozen=True)
class Known:
    """Facts that win over what a dataset says, or stand in for what it leaves out.

    spec: EnvSpec fields by name. success: of every episode. instruction: of every episode. source: Provenance.source.
    cameras: the ones to take, by name (all of them without it). state: the vectors joined into the proprioception.
    skip: episode numbers of the source to leave out. becomes: EnvSpec fields of the action convention to convert to.
    """

    spec: Mapping[str, Any] = field(default_factory=dict)
    success: bool | None = None
    instruction: str | None = None
    source: str = "human"
    cameras: tuple[str, ...] | None = None
    state: tuple[str, ...] | None = None
    skip: frozenset[int] = frozenset()
    becomes: Mapping[str, Any] = field(default_factory=dict)


def make_spec(known: Known, what: str, **found: Any) -> EnvSpec:
    """The EnvSpec of a dataset: `found` in it, then `known.spec`; unknown bounds are infinite, unknown words "unknown".

    gripper_close 0.0 means unknown. Errors: a field that does not exist or does not fit the dataset's arrays.
    """
    A = len(found["action_names"])
    values: dict[str, Any] = {
        "action_low": (-math.inf,) * A,
        "action_high": (math.inf,) * A,
        "action_units": ("unknown",) * A,
        "rotation": "unknown",
        "gripper_close": 0.0,
        **found,
    }
    lengths = {name: len(value) for name, value in values.items() if isinstance(value, tuple)}
    names = {f.name for f in fields(EnvSpec)}
    for name, value in known.spec.items():
        if name not in names:
            raise ValueError(f"{what}: EnvSpec has no field {name!r}; it has {', '.join(sorted(names))}")
        value = tuple(value) if isinstance(value, list) else value
        if isinstance(value, tuple) != (name in lengths) or (name in lengths and len(value) != lengths[name]):
            wanted = f"{lengths[name]} entries" if name in lengths else "one value"
            raise ValueError(f"{what}: EnvSpec field {name} is {value!r}, the dataset has {wanted}; correct the spec")
        if name in ("cameras", "image_size", "hz") and value != values[name]:
            raise ValueError(
                f"{what}: EnvSpec field {name} is {value!r}, the dataset has {values[name]!r}; leave it out"
            )
        values[name] = type(values[name])(value) if name in ("hz", "gripper_close") else value
    spec = EnvSpec(**values)
    if not (isinstance(spec.hz, float) and math.isfinite(spec.hz) and spec.hz > 0):
        raise ValueError(f"{what}: {spec.hz!r} Hz is not a control rate; correct the dataset's metadata")
    return dataclasses.replace(spec, gripper_close=float(spec.gripper_close), max_steps=int(spec.max_steps))


def choose_cameras(known: Known, found: Sequence[str], what: str) -> list[str]:
    """The cameras to import, in the dataset's order; a wanted one that is missing, or none at all, is a ValueError."""
    if missing := sorted(set(known.cameras or ()) - set(found)):
        raise ValueError(f"{what}: no camera {missing[0]!r}; it has {', '.join(found) or 'none'}")
    cameras = [name for name in found if known.cameras is None or name in known.cameras]
    if not cameras:
        raise ValueError(f"{what}: no camera images; import a dataset that has some")
    if bad := [name for name in cameras if not name or "/" in name]:
        raise ValueError(f"{what}: camera name {bad[0]!r} is empty or has a '/'; rename it or leave it out (cameras)")
    return cameras


def one_size(sizes: Mapping[str, tuple[int, int]], what: str) -> tuple[int, int]:
    """The image size (H, W) that all cameras share; several sizes are a ValueError."""
    if len(set(sizes.values())) != 1:
        said = ", ".join(f"{name} {h}x{w}" for name, (h, w) in sizes.items())
        raise ValueError(f"{what}: cameras of different sizes ({said}); a store has one: choose with cameras")
    return next(iter(sizes.values()))
