"""Published models through their own library's `from_pretrained`, refused unless every tensor fits.

diffusers and transformers load what fits and warn about the rest, which leaves random or empty weights in a model that
runs. Here a missing, unknown or misshapen tensor is an error. Files are safetensors only, and no code is fetched.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from episodes.files import one_line
from episodes.settings import LAYERS
from networks.hub import locate
from networks.memory import require_memory

_LAYERED = ("layers", "blocks", "depth")  # how the keys of a library's config end that count them

SHOWN = 3
"""Keys of each kind that an error names; the rest are counted."""

STEMS = ("model.safetensors", "diffusion_pytorch_model.safetensors")
"""The files that transformers and diffusers load, alone or as the beginning of an index's name."""

Header = dict[str, tuple[int, ...]]
"""Name of each tensor in the files -> its shape."""


def load_pretrained(
    cls: Any,
    source: str,
    subfolder: str = "",
    revision: str = "main",
    *,
    what: str,
    dtype: torch.dtype = torch.float32,
    unused: Sequence[str] = (),
    **kwargs: Any,
) -> Any:
    """Return `cls` (a diffusers or transformers model class) with the weights of `source`, on the CPU, in eval mode.

    source: a hub id, or a folder in the same layout; subfolder: the model's part of it, as in diffusers' pipelines.
    unused: beginnings of keys of the published files that belong to parts this class leaves out.
    Errors, each one line: a source that cannot be found, an unreadable or missing file, a tensor that is missing,
    unknown or of another shape (ValueError); too little memory, said before loading (MemoryError).
    """
    prefix = f"{subfolder}/" if subfolder else ""
    found = locate(source, revision, [f"{prefix}*.json", f"{prefix}*.safetensors"], what)
    folder = found.folder / subfolder
    named = f"{what} {source}{'/' + subfolder if subfolder else ''}"
    shapes = read_header(folder, named)
    size = sum(math.prod(shape) for key, shape in shapes.items() if not key.startswith(tuple(unused)))
    require_memory(size * dtype.itemsize, "cpu", named, "use a machine with more memory or a smaller checkpoint")
    require_depth(folder, len(shapes), named)
    try:
        model, info = cls.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are listed with the others, and refused below
            **({"dtype": dtype} if cls.__module__.startswith("transformers.") else {"torch_dtype": dtype}),
            **kwargs,
        )
    except MemoryError:
        raise
    except Exception as error:  # a damaged config or file can make its library raise anything
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(one_line(f"{named}: {line[:300]}; name a folder of a {cls.__name__}")) from error
    refuse(info, named, f"name a folder of a {cls.__name__}", unused)
    return model.eval()


def require_depth(folder: Path, tensors: int, named: str) -> None:
    """A ValueError where the config asks for more layers than there are tensors: the library would build them first."""
    path = folder / "config.json"
    if not path.is_file():
        return  # the library says so
    try:
        waiting = [json.loads(path.read_bytes())]
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(one_line(f"{named}: config.json cannot be read ({error}); copy it again")) from None
    while waiting:
        value = waiting.pop()
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inside in items:
            if str(key).endswith(_LAYERED) and type(inside) is int and inside > max(tensors, LAYERS):
                told = f"{key}={inside}, there are {tensors} tensors"
                raise ValueError(one_line(f"{named}: config.json says {told}; copy it again"))
            waiting.append(inside)


def refuse(info: dict[str, Any], named: str, remedy: str, unused: Sequence[str] = ()) -> None:
    """Raise a ValueError listing what a library's loading info says did not fit; keys of unused parts may be left."""
    extra = sorted(k for k in info["unexpected_keys"] if not k.startswith(tuple(unused)))
    shapes = sorted(f"{k} is {tuple(a)}, expected {tuple(b)}" for k, a, b in info["mismatched_keys"])
    faults = [
        f"{len(keys)} {word} ({', '.join(keys[:SHOWN])}{', ...' if len(keys) > SHOWN else ''})"
        for word, keys in (("missing", sorted(info["missing_keys"])), ("unknown", extra), ("of another shape", shapes))
        if keys
    ] + [str(m).splitlines()[0] for m in info.get("error_msgs") or ()]
    if faults:
        raise ValueError(one_line(f"{named}: tensors {'; '.join(faults)}; {remedy}"))


def read_header(folder: Path, named: str) -> Header:
    """The tensors of the safetensors files in `folder`, whole or in shards named by an index; reads no tensor.

    A folder without such files, a shard that is missing or damaged, and an index that disagrees with its shards are
    ValueErrors that name the file.
    """
    from safetensors import SafetensorError, safe_open

    stem = next((s for s in STEMS for end in ("", ".index.json") if (folder / (s + end)).is_file()), None)
    if stem is None:
        there = ", ".join(sorted(p.name for p in folder.glob("*"))[:SHOWN]) or "nothing"
        raise ValueError(
            one_line(f"{named}: no {' or '.join(STEMS)} in {folder} (there: {there}); other formats are not loaded")
        )
    placed, files = None, [stem]
    if not (folder / stem).is_file():
        index = f"{stem}.index.json"
        try:
            placed = json.loads((folder / index).read_text())["weight_map"]
            files = sorted(set(placed.values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(one_line(f"{named}: {index} is no index ({error}); copy it again")) from None
        if not all(Path(f).name == f and f.endswith(".safetensors") for f in files):
            raise ValueError(f"{named}: {index} names files that are no safetensors beside it; copy it again")
    shapes: Header = {}
    for name in files:
        path = folder / name
        if not path.is_file():
            raise ValueError(one_line(f"{named}: the shard {name} is missing from {folder}; copy it again"))
        try:
            with safe_open(path, "pt") as file:
                inside = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118  no dict
        except (SafetensorError, OSError) as error:
            raise ValueError(one_line(f"{named}: {name} is no readable safetensors file ({error})")) from None
        if placed is not None and (lost := [k for k, f in placed.items() if f == name and k not in inside]):
            raise ValueError(one_line(f"{named}: {name} lacks {lost[0]}, which the index places there; copy it again"))
        shapes |= inside
    return shapes
