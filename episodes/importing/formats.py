"""Which format a source is in, and the one call that imports it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from episodes.importing.actions import converted
from episodes.importing.known import Known
from episodes.importing.lerobot import read_lerobot
from episodes.importing.robomimic import read_robomimic
from episodes.importing.target import write_store
from episodes.lerobot_layout import HEADER_PATH
from episodes.store import EpisodeStore
from episodes.types import EnvSpec, Episode

FORMATS = ("foresight", "lerobot", "robomimic")


def import_dataset(
    source: str | Path, target: str | Path, known: Known | None = None, format: str = "auto"
) -> EpisodeStore:
    """Import a dataset into a new EpisodeStore at `target` and open it for reading; the source is only read.

    A store of ours (also one exported for LeRobot) is copied losslessly. Errors: anything missing, malformed or
    contradictory is a ValueError of one line that names the file and the way out, and leaves no `target`.
    """
    source, known = Path(source), known or Known()
    if not source.exists():
        raise ValueError(f"{source}: does not exist; give a dataset folder or an HDF5 file")
    if format == "auto":
        format = _guess(source)
    if format not in FORMATS:
        raise ValueError(f"format {format!r} is unknown; choose from auto, {', '.join(FORMATS)}")
    if source.resolve() in [Path(target).resolve(), *Path(target).resolve().parents]:
        raise ValueError(f"{target}: lies inside the source; choose a new folder elsewhere")
    spec, episodes = {"foresight": _read_store, "lerobot": read_lerobot, "robomimic": read_robomimic}[format](
        source, known
    )
    if known.becomes:
        spec, episodes = converted(spec, episodes, known.becomes)
    return write_store(target, spec, episodes)


def _guess(source: Path) -> str:
    if source.is_file():
        return "robomimic"
    return "foresight" if (source / HEADER_PATH).exists() else "lerobot"


def _read_store(source: Path, known: Known) -> tuple[EnvSpec, Iterator[Episode]]:
    if known != Known(skip=known.skip):
        raise ValueError(f"{source}: an episode store says everything itself; only skip can be given")
    store = EpisodeStore(source)
    if known.skip and max(known.skip) >= len(store):
        raise ValueError(f"{source}: skip names episode {max(known.skip)}, which is not there; correct it")
    return store.spec, iter(store.select(lambda row: row["episode_index"] not in known.skip))
