"""What the `features` of a LeRobotDataset's info.json say about images and vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from episodes.importing.reading import Fault

Features = Mapping[str, Mapping[str, Any]]


def cameras(features: Features) -> dict[str, str]:
    """{camera name: feature key}; the name is what follows `observation.images.`, the key where that is ambiguous.

    Pictures that the dataset itself calls depth are no cameras.
    """
    keys = [key for key, f in features.items() if f["dtype"] in ("image", "video") and not _depth(f)]
    names = [key.removeprefix("observation.").removeprefix("images.") for key in keys]
    return {name if names.count(name) == 1 else key: key for name, key in zip(names, keys, strict=True)}


def _depth(feature: Mapping[str, Any]) -> bool:
    told = [feature, feature.get("info"), feature.get("video_info")]
    return any(isinstance(t, Mapping) and (t.get("is_depth_map") or t.get("video.is_depth_map")) for t in told)


def image_size(feature: Mapping[str, Any]) -> tuple[int, int]:
    """(H, W) of an image feature; axes are (H, W, 3) or (3, H, W), told apart by the 3, else by their names."""
    shape, names = feature["shape"], feature.get("names")
    if not (isinstance(shape, list) and len(shape) == 3 and all(isinstance(n, int) and 0 < n < 2**15 for n in shape)):
        raise Fault("metadata", f"image shape {shape!r} is not three sizes")
    first = shape[0] == 3
    if first and shape[2] == 3 and isinstance(names, list) and names and isinstance(names[0], str):
        first = names[0][:1].lower() == "c"
    H, W, C = (*shape[1:], shape[0]) if first else shape
    if C != 3:
        raise Fault("not_rgb", f"images of shape {shape} are not RGB")
    return H, W


def vectors_in(features: Features) -> list[str]:
    """The features that hold one row of numbers a frame and could be a state or actions."""
    own = ("timestamp", "frame_index", "episode_index", "index", "task_index")
    kinds = ("float32", "float64", "int64", "int32")
    found = [k for k, f in features.items() if f["dtype"] in kinds and k not in own and not k.startswith("next.")]
    return [k for k in found if isinstance(features[k].get("shape"), list) and len(features[k]["shape"]) == 1]


def vector_names(key: str, feature: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a vector's entries, or key_0, key_1, ... where info.json has none that fit."""
    shape, names = feature.get("shape"), feature.get("names")
    if not (isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], int) and 0 < shape[0] < 2**15):
        raise Fault("vector", f"{key} has shape {shape!r}, a vector (n,) is needed")
    if isinstance(names, Mapping):  # {"motors": [...]}
        names = [name for group in names.values() if isinstance(group, list) for name in group]
    elif isinstance(names, list) and len(names) == 1 and isinstance(names[0], list):
        names = names[0]
    fits = isinstance(names, Sequence) and not isinstance(names, str) and len(names) == shape[0]
    if names is not None and fits and all(isinstance(name, str) for name in names) and len(set(names)) == shape[0]:
        return tuple(names)
    return tuple(f"{key.removeprefix('observation.')}_{i}" for i in range(shape[0]))
