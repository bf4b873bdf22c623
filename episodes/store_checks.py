"""What a store refuses: a folder that is none, links, files that are gone, episodes its EnvSpec does not allow."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from episodes import lerobot_layout as layout
from episodes.files import one_line, refuse_link
from episodes.store_index import named
from episodes.types import SEGMENTS, EnvSpec, Episode

FORMAT, VERSION, VERSION_VIDEO = "foresight-episodes", 1, 2
_DTYPES = dict.fromkeys(("proprio", "actions", "rewards", "progress"), "float32") | {"segments": "int8"}
_DTYPES |= dict.fromkeys(("terminated", "truncated", "intervention"), "bool")
WRITTEN = ("data", "meta", "foresight", "videos")  # folders


def require_there(path: Path) -> None:
    """A ValueError where a file that the episode index mentions is gone."""
    if not path.exists():
        raise ValueError(f"{path}: missing, but the episode index mentions it; restore it from a copy")


def require_unused(path: Path) -> None:
    """A ValueError where a new store would fall into a folder that is in use."""
    if (path / layout.HEADER_PATH).exists():
        raise ValueError(f"{path}: already an episode store; open it with mode='a' or choose another folder")
    used = {p.name for p in path.iterdir()} - {"foresight"} if path.is_dir() else set()
    if used:
        raise ValueError(f"{path}: not empty ({sorted(used)[0]}); choose a new folder for the store")


def refuse_linked_folders(path: Path) -> None:
    """A ValueError where a folder of the store is a link: orphans would be deleted, and episodes written, elsewhere."""
    for part in WRITTEN:
        refuse_link(path / part, f"the store {path}")
        for folder, inner, _ in os.walk(path / part):
            for name in inner:
                refuse_link(Path(folder) / name, f"the store {path}")


def read_header(path: Path) -> tuple[EnvSpec, str]:
    """The EnvSpec of a store and how it keeps pictures."""
    file = path / layout.HEADER_PATH
    if not file.exists():
        raise ValueError(
            one_line(
                f"{path}: not an episode store ({layout.HEADER_PATH} is missing); make one with EpisodeStore.create"
            )
        )
    with named(file):
        header = json.loads(file.read_text())
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        version = header.get("version")
        if type(version) is not int:
            raise ValueError(f"its format version is {version!r}, expected a number")
        if version in (VERSION, VERSION_VIDEO):
            encoding = header.get("encoding", "png")
            if (version == VERSION) != (encoding == "png") or encoding not in layout.ENCODINGS:
                raise ValueError(f"version {version} with encoding {encoding!r}")
            spec = EnvSpec.from_json(json.dumps(header.get("spec")))
            if header.get("spec_sha256", spec_sha256(spec)) != spec_sha256(spec):
                raise ValueError("its EnvSpec is not the one that was written: the file was changed or damaged")
            return spec, encoding
    known = f"{VERSION} and {VERSION_VIDEO}"
    raise ValueError(f"{file}: format version {version}, this program reads {known}; update the program")


def spec_sha256(spec: EnvSpec) -> str:
    """The SHA-256 of an EnvSpec as it is written."""
    return hashlib.sha256(spec.hashed()).hexdigest()


_OTHER = "keep the episodes of another EnvSpec in a store of their own"


def check_episode(episode: Episode, spec: EnvSpec, what: str) -> None:
    """Raise a ValueError naming the first thing about an episode that the store's EnvSpec does not allow."""
    if set(episode.images) != set(spec.cameras):
        raise ValueError(
            f"{what}: cameras are {sorted(episode.images)}, the store has {sorted(spec.cameras)}; {_OTHER}"
        )
    for camera, frames in episode.images.items():
        if frames.shape[1:] != (*spec.image_size, 3):
            raise ValueError(
                f"{what}: images of {camera} are {frames.shape[1:]}, the store has {(*spec.image_size, 3)}; {_OTHER}"
            )
    for name, width in (("proprio", spec.proprio_dim), ("actions", spec.action_dim)):
        values = getattr(episode, name)
        if values.ndim != 2 or values.shape[1] != width:
            raise ValueError(f"{what}: {name} have shape {values.shape}, the store has {width} per frame; {_OTHER}")
    for name in ("proprio", "actions", "rewards"):
        bad = ~np.isfinite(getattr(episode, name)).reshape(len(getattr(episode, name)), -1).all(axis=1)
        if bad.any():
            raise ValueError(f"{what}: {name} of frame {int(bad.argmax())} are not finite; leave the episode out")
    for name, dtype in _DTYPES.items():
        if getattr(episode, name).dtype != np.dtype(dtype):
            raise ValueError(f"{what}: {name} are {getattr(episode, name).dtype}, must be {dtype}; convert them first")
    provenance = episode.provenance
    for name in ("env_id", "source", "variant", "policy"):
        _check_text(getattr(provenance, name), f"{what}: {name}")
    _check_text(episode.instruction, f"{what}: instruction")
    for name in ("seed", "iteration"):
        value = getattr(provenance, name)
        if not isinstance(value, (int, np.integer)) or not -(2**63) <= value < 2**63:
            raise ValueError(f"{what}: {name} is {value!r}; use a whole number of 64 bits")
    try:
        json.dumps(episode.extra)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: extra cannot be written as json ({error}); use plain values") from None
    if episode.segments.min() < 0 or episode.segments.max() >= len(SEGMENTS):
        raise ValueError(f"{what}: segments lie outside 0..{len(SEGMENTS) - 1}; use indices into SEGMENTS")
    if episode.hz != spec.hz:
        raise ValueError(f"{what}: {episode.hz} Hz, the store has {spec.hz} Hz; {_OTHER}")


def _check_text(text: str, what: str) -> None:
    if not isinstance(text, str):
        raise ValueError(f"{what} is {text!r}; use a string")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} is {text!r}, which has no UTF-8 form; use plain text") from None
