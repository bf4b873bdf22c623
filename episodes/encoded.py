"""How a store keeps pictures: PNG in its data files, or one mp4 file per camera and episode; block by block."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from episodes import lerobot_layout as layout
from episodes.files import TEMPORARY, atomic, sha256_file, writing
from episodes.frames import blocks
from episodes.images import encode_pngs
from episodes.store_index import begin_content, end_content
from episodes.types import EnvSpec, Episode
from episodes.video import VideoWriter, all_frames

SPOOL = 32 * 2**20  # bytes of one camera's PNGs that stay in memory; more lie in a temporary file
GROUP = 64 * 2**20  # bytes of PNGs in one row group of a data file


class Spool:
    """Encoded pictures of one camera, kept in memory up to SPOOL bytes and in a temporary file of `folder` beyond."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.SpooledTemporaryFile(SPOOL, prefix=TEMPORARY, dir=str(folder))  # noqa: SIM115  close()
        self.ends = [0]

    def add(self, pngs: list[bytes]) -> None:
        """Append PNGs."""
        for png in pngs:
            self._file.write(png)
            self.ends.append(self.ends[-1] + len(png))

    def read(self, start: int, stop: int) -> list[bytes]:
        """The PNGs start..stop-1, in order."""
        self._file.seek(self.ends[start])
        return [self._file.read(self.ends[t + 1] - self.ends[t]) for t in range(start, stop)]

    def close(self) -> None:
        """Drop the file."""
        self._file.close()


class EncodedEpisode:
    """One episode whose pictures are encoded: rows for the index, PNGs by camera (none where they lie in videos)."""

    def __init__(self, root: Path, episode: Episode, spec: EnvSpec, encoding: str, index: int) -> None:
        self.episode = episode
        self.spools: dict[str, Spool] = {}
        self.columns: dict[str, Any] = {}
        digest = begin_content(episode)
        with ExitStack() as undo, writing(root):
            for camera in spec.cameras:
                pictures = episode.images[camera]
                digest.update(f"{pictures.dtype}{pictures.shape}".encode())
                if encoding == "png":
                    spool = self.spools[camera] = Spool(root / "foresight")
                    undo.callback(spool.close)
                    for block in blocks(pictures):
                        digest.update(np.ascontiguousarray(block).data)
                        spool.add(encode_pngs(block))
                else:
                    self.columns |= _video(root, episode, spec, encoding, index, camera, digest)
            undo.pop_all()
        self.content_sha256 = end_content(digest, episode)

    def groups(self) -> Iterator[tuple[int, int]]:
        """Ranges of steps whose pictures together take at most GROUP bytes; one range where they lie in videos."""
        T, start = len(self.episode), 0
        size = [sum(ends) for ends in zip(*(s.ends for s in self.spools.values()), strict=True)] or [0] * (T + 1)
        while start < T:
            stop = start + 1
            while stop < T and size[stop + 1] - size[start] <= GROUP:
                stop += 1
            yield start, stop
            start = stop

    def pngs(self, start: int, stop: int) -> dict[str, list[bytes]]:
        """The pictures start..stop of every camera; the final observation's is the last one."""
        return {camera: spool.read(start, stop) for camera, spool in self.spools.items()}

    def close(self) -> None:
        """Drop the files of every camera."""
        for spool in self.spools.values():
            spool.close()


def _video(
    root: Path, episode: Episode, spec: EnvSpec, encoding: str, index: int, camera: str, digest: Any
) -> dict[str, Any]:
    """Write the video of one camera; returns its columns of the index. Lossy ones are hashed as they are read back."""
    path = layout.video_path(root, camera, index)
    lossless = encoding == "mp4 lossless"
    with atomic(path) as beside:
        with VideoWriter(beside, spec.image_size, spec.hz, encoding) as writer:
            for block in blocks(episode.images[camera]):
                if lossless:
                    digest.update(np.ascontiguousarray(block).data)
                writer.add(block)
        if not lossless:
            for block in all_frames(beside, spec.image_size):
                digest.update(np.ascontiguousarray(block).data)
        checksum = sha256_file(beside)
    chunk, file = divmod(index, layout.CHUNK)
    key = layout.image_key(camera)
    values = (chunk, file, 0.0, (len(episode) + 1) / spec.hz, checksum)
    return {f"videos/{key}/{name}": value for name, value in zip(layout.VIDEO_COLUMNS, values, strict=True)}


def remove_videos(root: Path, known: int) -> None:
    """Delete the videos of episodes from number `known` on, which a crashed or failed append left."""
    for path in (root / "videos").glob("*/*/*.mp4"):
        if layout.file_number(path) >= known or path.name.startswith(TEMPORARY):
            os.unlink(path)
