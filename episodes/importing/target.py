"""The store that an import makes: built beside its place and renamed there, so that it is whole or absent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

from episodes.files import atomic_folder, one_line
from episodes.frames import Frames, Pictures, blocks
from episodes.importing.known import Draft, Drafts
from episodes.importing.reading import DatasetError, Fault
from episodes.importing.remedies import REMEDIES
from episodes.store import EpisodeStore
from episodes.types import EnvSpec, Episode

GROUP_BYTES = 256 * 2**20  # raw image bytes after which the next data file begins: about 100 MB of PNG
_STORED = re.compile(r"^.*?: episode \d+ \(seed -?\d+\): ")  # how a store begins a refusal
_TOLD = 10  # bad episodes of which one line says what is wrong; all of them are in `bad`
_WHOLE = ("csv", "success_column", "success", "instruction", "bounds", "conversion")
"""Causes that are of the command or of the whole source: leaving episodes out does not fix them."""


@dataclass(frozen=True)
class Progress:
    """How far an import is: episodes done and left out, of how many, and pictures read of the present one."""

    done: int
    bad: int
    of: int
    pictures: int


Tell = Callable[[Progress], None]


def write_store(
    target: str | Path, spec: EnvSpec, count: int, drafts: Drafts, encoding: str, skip_bad: bool, tell: Tell
) -> EpisodeStore:
    """Read the drafts one at a time, pictures block by block, into a new store and open it for reading.

    Every episode that cannot be read is found before the import ends: they are left out where `skip_bad`, else one
    error names them all, with the source's file and number. Errors: a target that exists and is not an empty folder, no
    episodes at all; after any error there is no target.
    """
    writer = _Writer(count, tell)
    with atomic_folder(target) as beside:
        with EpisodeStore.create(beside, spec, encoding) as store:
            while store.append(writer.group(drafts), writer.reject) or writer.more:
                pass
            if writer.bad and (not skip_bad or not len(store)):
                raise BadEpisodes(target, writer.bad, count)
            if not len(store):
                raise DatasetError(target, Fault("no_episodes", "no episodes to import"))
    return EpisodeStore(target)


class BadEpisodes(ValueError):
    """Every episode of a source that cannot be imported: `bad` is [(number, what is wrong, where, and the way out)]."""

    def __init__(self, target: str | Path, bad: list[tuple[int, str]], count: int) -> None:
        self.bad = bad
        some = f"{len(bad)} of {count} episodes cannot be imported: " if count > 1 else ""
        told = "; ".join(message for _, message in bad[:_TOLD])
        if len(bad) > _TOLD:
            told += f"; and {len(bad) - _TOLD} more"
        numbers = ",".join(str(number) for number, _ in bad)
        also = f"; or leave {'them' if len(bad) > 1 else 'it'} out: skip=[{numbers}], or skip=[bad]"
        super().__init__(one_line(f"{some}{told}{also if count > len(bad) else ''}"))


class _Writer:
    """Makes drafts into episodes for one append after the other, and keeps what is wrong with those that fail."""

    def __init__(self, count: int, tell: Tell) -> None:
        self.bad: list[tuple[int, str]] = []
        self.count, self.tell, self.done, self.more = count, tell, 0, True
        self._draft: Draft | None = None

    def group(self, drafts: Drafts) -> Iterator[Episode]:
        """Episodes until their pictures make a data file."""
        size = 0
        for draft in drafts:
            self._draft = draft
            try:
                episode = draft.make()
            except DatasetError as error:
                self._failed(error)
                continue
            counted = {c: partial(self._counted, frames) for c, frames in episode.images.items()}
            images = {c: Frames(len(episode) + 1, spec_size(episode, c), draw) for c, draw in counted.items()}
            yield replace(episode, images=cast("dict[str, Pictures]", images))
            self.done += 1
            self.tell(Progress(self.done - len(self.bad), len(self.bad), self.count, 0))
            size += sum(frames.nbytes for frames in images.values())
            if size >= GROUP_BYTES:
                return
        self.more = False

    def reject(self, episode: Episode, error: ValueError) -> None:
        """An episode that the store refuses, or whose pictures cannot be read."""
        if not isinstance(error, DatasetError) and isinstance(error.__cause__, OSError):
            raise error  # the place that is written to, not the source
        self._failed(error)

    def _failed(self, error: ValueError) -> None:
        draft = self._draft
        assert draft is not None
        if isinstance(error, DatasetError):
            if error.causes & set(_WHOLE):
                raise error
            message = str(error)
        else:
            said = _STORED.sub("", str(error)).split("; ")[0]
            message = f"{draft.place}: episode {draft.number}: {said}; {REMEDIES['not_finite']}"
        self.bad.append((draft.number, one_line(message)))
        self.tell(Progress(self.done - len(self.bad), len(self.bad), self.count, 0))

    def _counted(self, frames: Pictures | Frames) -> Iterator[Pictures]:
        seen = 0
        for block in blocks(frames):
            seen += len(block)
            yield block
            self.tell(Progress(self.done - len(self.bad), len(self.bad), self.count, seen))


def spec_size(episode: Episode, camera: str) -> tuple[int, int]:
    """(H, W) of the pictures of one camera."""
    return episode.images[camera].shape[1], episode.images[camera].shape[2]
