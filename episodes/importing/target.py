"""The store that an import makes: built beside its place and renamed there, so that it is whole or absent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from episodes.files import atomic_folder
from episodes.importing.reading import DatasetError
from episodes.store import EpisodeStore
from episodes.types import EnvSpec, Episode

GROUP_BYTES = 256 * 2**20  # raw image bytes after which the next data file begins: about 100 MB of PNG


def write_store(target: str | Path, spec: EnvSpec, episodes: Iterable[Episode]) -> EpisodeStore:
    """Write `episodes`, drawn one at a time, into a new store at `target` and open it for reading.

    Errors: a target that exists and is not an empty folder, or no episodes at all, is a ValueError; after any error
    there is no target.
    """
    source = iter(episodes)
    with atomic_folder(target) as beside:
        with EpisodeStore.create(beside, spec) as store:
            try:
                while store.append(_group(source)):
                    pass
            except DatasetError:
                raise
            except ValueError as error:  # the store names the folder it is in, which is not where the user looks
                raise DatasetError(str(error).replace(str(beside), str(target))) from error
            if not len(store):
                raise DatasetError(f"{target}: no episodes to import; check the source and the skipped ones")
    return EpisodeStore(target)


def _group(source: Iterator[Episode]) -> Iterator[Episode]:
    size = 0
    for episode in source:
        yield episode
        size += sum(frames.nbytes for frames in episode.images.values())
        if size >= GROUP_BYTES:
            return
