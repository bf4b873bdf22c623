"""What the `features` of a LeRobotDataset's info.json say about images and vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Features = Mapping[str, Mapping[str, Any]]


def cameras(features: Features) -> dict[str, str]:
    """{camera name: feature key}; the name is what follows `observation.images.`; equal names are a ValueError."""
    found: dict[str, str] = {}
    for key, feature in features.items():
        if feature["dtype"] in ("image", "video"):
            name = key.removeprefix("observation.").removeprefix("images.")
            if name in found:
                raise ValueError(f"features {found[name]!r} and {key!r} give two cameras of the name {name!r}")
            found[name] = key
    return found


def image_size(feature: Mapping[str, Any]) -> tuple[int, int]:
    """(H, W) of an image feature; axes are (H, W, 3) or (3, H, W), told apart by their names, else by the 3."""
    shape, names = feature["shape"], feature.get("names")
    if not (isinstance(shape, list) and len(shape) == 3 and all(isinstance(n, int) and 0 < n < 2**15 for n in shape)):
        raise ValueError(f"image shape {shape!r} is not three sizes")
    first = shape[0] == 3 and shape[2] != 3
    if isinstance(names, list) and len(names) == 3 and all(isinstance(name, str) and name for name in names):
        first = names[0][0].lower() == "c"
    H, W, C = (*shape[1:], shape[0]) if first else shape
    if C != 3:
        raise ValueError(f"images of shape {shape} are not RGB; leave the camera out (cameras)")
    return H, W


def vector_names(key: str, feature: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a vector's entries, or key_0, key_1, ... where info.json has none that fit."""
    shape, names = feature.get("shape"), feature.get("names")
    if not (isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], int) and 0 < shape[0] < 2**15):
        raise ValueError(f"{key} has shape {shape!r}, a vector (n,) is needed")
    if isinstance(names, Mapping):  # {"motors": [...]}
        names = [name for group in names.values() if isinstance(group, list) for name in group]
    fits = isinstance(names, Sequence) and not isinstance(names, str) and len(names) == shape[0]
    if names is not None and fits and all(isinstance(name, str) for name in names) and len(set(names)) == shape[0]:
        return tuple(names)
    return tuple(f"{key.removeprefix('observation.')}_{i}" for i in range(shape[0]))
