"""What the person who imports a dataset knows and its files may not say."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy.typing as npt

from episodes.importing.reading import Fault
from episodes.types import EnvSpec, Episode

MOST = 1000
"""Frames that no tolerance reaches."""


@dataclass(frozen=True)
class Known:
    """Facts that stand in for what a dataset leaves out; where a file contradicts them, that is an error.

    spec: EnvSpec fields by name. success: of every episode of which the source does not say it; or what decides for
    each: a column or rule of the source ("@is_success", "@next.reward>0.5"), a csv file (".csv", columns episode and
    success), or {episode: success}. instruction: a text for all, or the same three. source: Provenance.source.
    cameras: the ones to take, by name or key (all of them without it). state: the vectors joined into the
    proprioception. action: the vector of the actions. actions: "absolute" or "delta", where the file does not say
    which. hz: the control rate. image_size: (H, W) all pictures are fitted to, their shape kept, the rest black.
    tolerance: share of a frame by which a video's frames and the rows' timestamps may differ. skip: episode numbers of
    the source to leave out. skip_bad: leave out what cannot be read, too. becomes: EnvSpec fields of the action
    convention to convert to.
    """

    spec: Mapping[str, Any] = field(default_factory=dict)
    success: bool | str | Mapping[int, bool] | None = None
    instruction: str | Mapping[int, str] | None = None
    source: str = "human"
    cameras: tuple[str, ...] | None = None
    state: tuple[str, ...] | None = None
    action: str | None = None
    actions: str | None = None
    hz: float | None = None
    image_size: tuple[int, int] | None = None
    tolerance: float = 0.5
    skip: frozenset[int] = frozenset()
    skip_bad: bool = False
    becomes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.actions not in (None, "absolute", "delta"):
            raise ValueError(f"actions={self.actions!r}: choose absolute or delta")
        if not 0 < self.tolerance < MOST:
            raise ValueError(f"tolerance={self.tolerance}: give a share of a frame above 0, such as 0.5")


@dataclass(frozen=True)
class Draft:
    """One episode of a source that has not been read yet: its number there, the file, and how to read it."""

    number: int
    place: str
    make: Callable[[], Episode]


Drafts = Iterator[Draft]
_COLOURLESS = re.compile("depth|disparity|segmentation|(^|[^a-z])(seg|normals?)([^a-z]|$)", re.IGNORECASE)


def make_spec(known: Known, **found: Any) -> EnvSpec:
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
    given = dict(known.spec) | ({} if known.hz is None else {"hz": known.hz})
    for name, value in given.items():
        if name not in names:
            raise Fault("spec", f"EnvSpec has no field {name!r}; it has {', '.join(sorted(names))}")
        value = tuple(value) if isinstance(value, list) else value
        if isinstance(value, tuple) != (name in lengths) or (name in lengths and len(value) != lengths[name]):
            wanted = f"{lengths[name]} entries" if name in lengths else "one value"
            raise Fault("spec", f"EnvSpec field {name} is {value!r}, the dataset has {wanted}")
        if name in ("cameras", "image_size", "hz") and value != values[name]:
            cause = "hz_contradicts" if name == "hz" else "spec"
            raise Fault(cause, f"EnvSpec field {name} is {value!r}, the dataset has {values[name]!r}")
        values[name] = type(values[name])(value) if name in ("hz", "gripper_close") else value
    if not (isinstance(values["hz"], float) and math.isfinite(values["hz"]) and values["hz"] > 0):
        raise Fault("metadata", f"{values['hz']!r} Hz is not a control rate")
    try:
        spec = EnvSpec(**values)
    except ValueError as error:
        raise Fault("spec" if known.spec else "metadata", str(error)) from None
    return dataclasses.replace(spec, gripper_close=float(spec.gripper_close), max_steps=int(spec.max_steps))


def require_bounds(known: Known, spec: EnvSpec, actions: npt.NDArray[Any]) -> None:
    """A Fault where actions (T, A) lie outside the bounds that `known.spec` gives."""
    if "action_low" not in known.spec and "action_high" not in known.spec:
        return
    for i, name in enumerate(spec.action_names):
        low, high = float(actions[:, i].min()), float(actions[:, i].max())
        if low < spec.action_low[i] - 1e-6 or high > spec.action_high[i] + 1e-6:
            raise Fault(
                "bounds",
                f"actions {name} are {low:.4g}..{high:.4g}, action_low and action_high say "
                f"{spec.action_low[i]:g}..{spec.action_high[i]:g}",
            )


def choose_cameras(known: Known, found: Mapping[str, str]) -> list[str]:
    """The cameras to import, in the dataset's order; a wanted one that is missing, or none at all, is a Fault.

    found: {camera name: its key in the dataset}; either is understood. Those that are no colour pictures by their names
    (depth, segmentation, normals) are imported only where they are wanted by name.
    """
    wanted = None if known.cameras is None else set(known.cameras)
    called = {name: {name, key, key.split("/")[-1]} for name, key in found.items()}
    if wanted is not None and (missing := sorted(wanted.difference(*called.values()))):
        raise Fault("camera" if found else "no_pictures", f"no camera {missing[0]!r}; it has {said(found)}")
    if wanted is None:
        cameras = [name for name in found if not _COLOURLESS.search(name)]
    else:
        cameras = [name for name in found if wanted & called[name]]
    if not cameras and found:
        raise Fault("colourless", f"{said(found)} are no colour pictures by their names")
    if not cameras:
        raise Fault("no_pictures", "no camera images")
    if bad := [name for name in cameras if not name or "/" in name]:
        raise Fault("camera_name", f"camera name {bad[0]!r} is empty or has a '/'")
    return cameras


def said(names: Sequence[str] | Mapping[str, str]) -> str:
    """Names in a row, or "none"."""
    return ", ".join(names) or "none"


def one_size(known: Known, sizes: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """The image size (H, W) of the store: `known.image_size`, or the one all cameras share; several are a Fault."""
    if known.image_size is not None:
        return known.image_size
    if len(set(sizes.values())) != 1:
        told = ", ".join(f"{name} {h}x{w}" for name, (h, w) in sizes.items())
        raise Fault("sizes", f"cameras of different sizes ({told}); a store has one")
    return next(iter(sizes.values()))
