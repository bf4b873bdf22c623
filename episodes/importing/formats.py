"""Which format a source is in, and the one call that imports it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from episodes.importing.actions import converted
from episodes.importing.facts import resolved
from episodes.importing.known import Draft, Drafts, Known
from episodes.importing.lerobot import read_lerobot
from episodes.importing.reading import DatasetError, Fault
from episodes.importing.robomimic import read_robomimic
from episodes.importing.target import Progress, Tell, write_store
from episodes.lerobot_layout import ENCODINGS, HEADER_PATH
from episodes.store import EpisodeStore
from episodes.types import EnvSpec

FORMATS = ("foresight", "lerobot", "robomimic")


def _silent(progress: Progress) -> None: ...


def import_dataset(
    source: str | Path,
    target: str | Path,
    known: Known | None = None,
    format: str = "auto",
    encoding: str = "png",
    tell: Tell = _silent,
) -> EpisodeStore:
    """Import a dataset into a new EpisodeStore at `target` and open it for reading; the source is only read.

    A store of ours (also one exported for LeRobot) is copied; losslessly but for `encoding="mp4"` and `image_size`.
    format: "robomimic" reads every HDF5 layout that is known. tell: is called with the Progress now and then. Pictures
    are read and written block by block: memory does not grow with the length of an episode. Errors: anything missing,
    malformed or contradictory is a ValueError of one line that names the file and the way out; all bad episodes are
    named together (`BadEpisodes`), and nothing is left at `target`.
    """
    source, known = Path(source), known or Known()
    if not source.exists():
        raise ValueError(f"{source}: does not exist; give a dataset folder or an HDF5 file")
    if format == "auto":
        format = _guess(source)
    if format not in FORMATS:
        raise ValueError(f"format {format!r} is unknown; choose from auto, {', '.join(FORMATS)}")
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding {encoding!r} is unknown; choose from {', '.join(ENCODINGS)}")
    if source.resolve() in [Path(target).resolve(), *Path(target).resolve().parents]:
        raise ValueError(f"{target}: lies inside the source; choose a new folder elsewhere")
    known = resolved(known)
    readers = {"foresight": _read_store, "lerobot": read_lerobot, "robomimic": read_robomimic}
    spec, count, drafts = readers[format](source, known)
    if known.becomes:
        spec, drafts = converted(spec, drafts, known.becomes)
    return write_store(target, spec, count, drafts, encoding, known.skip_bad, tell)


def _guess(source: Path) -> str:
    if source.is_file():
        return "robomimic"
    return "foresight" if (source / HEADER_PATH).exists() else "lerobot"


def _read_store(source: Path, known: Known) -> tuple[EnvSpec, int, Drafts]:
    if replace(known, skip=frozenset(), skip_bad=False, image_size=None) != Known():
        raise ValueError(f"{source}: an episode store says everything itself; only skip and image_size can be given")
    store = EpisodeStore(source, image_size=known.image_size)
    if known.skip and max(known.skip) >= len(store):
        raise DatasetError(source, Fault("skip", f"skip names episode {max(known.skip)}, which is not there"))
    kept = [i for i in range(len(store)) if i not in known.skip]
    return store.spec, len(kept), (Draft(i, str(source), partial(store.__getitem__, i)) for i in kept)
