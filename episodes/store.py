"""EpisodeStore: an append-only folder of episodes in LeRobotDataset v3 layout."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from episodes import lerobot_layout as layout
from episodes.encoded import EncodedEpisode, remove_videos
from episodes.files import (
    TEMPORARY,
    atomic,
    sha256_file,
    sync,
    write_atomic,
    writer_lock,
    writing,
)
from episodes.store_checks import (
    FORMAT,
    VERSION,
    VERSION_VIDEO,
    WRITTEN,
    check_episode,
    read_header,
    refuse_linked_folders,
    require_there,
    require_unused,
    spec_sha256,
)
from episodes.store_index import Row, file_of, index_row, index_table, instructions, named, read_index
from episodes.types import EnvSpec, Episode

_COLUMNS = {"segments": "segment", "intervention": "intervention", "rewards": "next.reward"}
_COLUMNS |= {"terminated": "next.done", "progress": "progress"}


class Episodes:
    """The read API shared by a store and its views: len, [i], iteration, spec, index, select, content_hash, path."""

    def __init__(self, store: EpisodeStore, rows: list[Row]) -> None:
        self._store, self._rows = store, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        steps, successes = sum(row["length"] for row in self._rows), sum(bool(row["success"]) for row in self._rows)
        return (
            f"{type(self).__name__}({str(self.path)!r}, {len(self)} episodes, {successes} succeed, {steps} steps, "
            f"{self.spec.env_id})"
        )

    def __getitem__(self, i: int) -> Episode:
        """The i-th episode, decoded; its files are verified against their checksums at the first read.

        Errors: IndexError out of range; a missing, changed or malformed file is a ValueError naming it.
        """
        return self._store._read(self._rows[i])

    def __iter__(self) -> Iterator[Episode]:
        return (self._store._read(row) for row in list(self._rows))

    @property
    def spec(self) -> EnvSpec:
        """What the episodes are of, with pictures of the size that they are read at."""
        return self._store._seen

    @property
    def encoding(self) -> str:
        """How pictures are kept: "png", "mp4 lossless" or "mp4" (lossy)."""
        return self._store._encoding

    @property
    def path(self) -> Path:
        """The store's folder."""
        return self._store._path

    @property
    def index(self) -> list[Row]:
        """One row per episode: episode_index, length, success, seed, source, policy, iteration, env_id, variant, ..."""
        return [dict(row) for row in self._rows]

    @property
    def content_hash(self) -> str:
        """SHA-256 over the EnvSpec and every episode's content checksum, in order.

        It does not depend on the folder, on how the episodes were grouped into appends, or on `extra`.
        """
        digest = hashlib.sha256(self.spec.hashed())
        for row in self._rows:
            digest.update(bytes.fromhex(row["content_sha256"]))
        return digest.hexdigest()

    def column(self, name: str) -> list[npt.NDArray[Any]]:
        """One per-step column of every episode, each (T,), no image decoded.

        name: segments, intervention, rewards, terminated or progress (the simulator's, of the T steps' frames).
        """
        if name not in _COLUMNS:
            raise ValueError(f"{self.path}: no column {name!r}; choose from {', '.join(_COLUMNS)}")
        return [self._store._column(row, _COLUMNS[name]) for row in self._rows]

    def select(self, which: Callable[[Row], bool] | Iterable[int]) -> Episodes:
        """A view of the episodes whose index row satisfies a predicate, or of the given positions, in that order."""
        if callable(which):
            return Episodes(self._store, [row for row in self._rows if which(row)])
        positions = [int(i) for i in which]
        for i in positions:
            if not 0 <= i < len(self):
                raise ValueError(f"{self.path}: select {i} of {len(self)} episodes; positions are 0..{len(self) - 1}")
        return Episodes(self._store, [self._rows[i] for i in positions])


class EpisodeStore(Episodes):
    """An append-only folder of episodes that share one EnvSpec, readable as a LeRobotDataset v3.0.

    One append writes one data file and one file of final observations, then renames its episode-index file into place:
    that rename is the commit. Files no index row mentions (a crash in between) are ignored by readers and removed when
    the store is opened for writing; info.json and tasks.parquet are derived and repaired then. One writer at a time
    holds a lock that ends with its process; a reader sees the episodes that were there when it opened the store.
    Differs from LeRobot: `next.done` is Gymnasium's `terminated` alone, and the final observation is a file of ours.
    """

    def __init__(self, path: str | Path, mode: str = "r", image_size: tuple[int, int] | None = None) -> None:
        """Open an existing store, mode "r" to read or "a" to append too.

        image_size: read the pictures at this size (H, W) instead of the stored one, their shape kept and the rest
        black; the EnvSpec and the content hash are those of what is read, and each episode's `extra` says so.
        Errors (ValueError): not a store, a newer format, a malformed or missing file, mode "a" while another writer is.
        """
        if mode not in ("r", "a"):
            raise ValueError(f"{path}: mode is {mode!r}; use 'r' or 'a'")
        if mode == "a" and image_size is not None:
            raise ValueError(f"{path}: image_size is for reading; leave it out to append at the stored size")
        self._path = Path(path)
        self._verified: set[Path] = set()
        self._files: dict[Path, tuple[pq.ParquetFile, list[list[int]]]] = {}
        self._lock: Any = None
        self._spec, self._encoding = read_header(self._path)
        self._seen = (
            self._spec if image_size is None else replace(self._spec, image_size=(image_size[0], image_size[1]))
        )
        if mode == "a":
            refuse_linked_folders(self._path)
            self._lock = writer_lock(self._path / layout.LOCK_PATH, str(self._path))
        try:
            super().__init__(self, read_index(self._path, self._spec, self._encoding))
            self._check_files()
            if mode == "a":
                self._repair()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, path: str | Path, mode: str = "r", image_size: tuple[int, int] | None = None) -> EpisodeStore:
        """The same as EpisodeStore(path, mode, image_size)."""
        return cls(path, mode, image_size)

    @classmethod
    def create(cls, path: str | Path, spec: EnvSpec, encoding: str = "png") -> EpisodeStore:
        """Make an empty store in a new or empty folder and open it for appending; a used folder is a ValueError.

        encoding: how pictures are kept, "png" in the data files, "mp4 lossless" (H.264 in RGB, the same pixels) or
        "mp4" (H.264, close to the same pixels) in a video per camera and episode.
        """
        path = Path(path)
        if encoding not in layout.ENCODINGS:
            raise ValueError(f"encoding {encoding!r}: choose {', '.join(layout.ENCODINGS)}")
        require_unused(path)
        refuse_linked_folders(path)
        with writing(path):
            (path / "foresight").mkdir(parents=True, exist_ok=True)
        lock = writer_lock(path / layout.LOCK_PATH, str(path))
        try:
            require_unused(path)  # two programs may have come here together
            header = {"format": FORMAT, "version": VERSION, "spec": json.loads(spec.to_json())}
            if encoding != "png":  # programs that know nothing of it refuse the version
                header |= {"version": VERSION_VIDEO, "encoding": encoding}
            header["spec_sha256"] = spec_sha256(spec)
            write_atomic(path / layout.HEADER_PATH, json.dumps(header, indent=2) + "\n")
        finally:
            lock.release()
        return cls(path, "a")

    def close(self) -> None:
        """Free the writer's lock and the open files; reading goes on, appending does not."""
        self._files.clear()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> EpisodeStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, episodes: Iterable[Episode], reject: Callable[[Episode, ValueError], None] | None = None) -> range:
        """Add episodes as one commit and return their episode indices; on any error nothing is added.

        Episodes are written as they are drawn from the iterable, and pictures that are Frames block by block, so that
        neither need fit in memory. reject: is told of an episode that cannot be stored and why; it is left out, or the
        append fails with what `reject` raises.
        Errors: an episode that does not fit the EnvSpec, or numbers that are not finite, is a ValueError naming it; so
        is a store that is not open for writing.
        """
        if self._lock is None:
            raise ValueError(f"{self._path}: not open for writing; open it with mode='a'")
        start, rows = len(self), list[Row]()
        drawn = self._encoded(iter(episodes), rows, reject)
        first = next(drawn, None)
        if first is None:
            return range(start, start)
        number = max((file_of(row) for row in self._rows), default=-1) + 1
        data_path = layout.file_path(self._path, layout.DATA_PATH, number)
        final_path = layout.file_path(self._path, layout.FINAL_PATH, number)
        for path in (data_path, final_path):  # left by an append that failed in this process
            self._forget(path)
        tasks = instructions(self._rows)
        with atomic(final_path) as final, atomic(data_path) as data, contextlib.closing(drawn):
            with (
                layout.parquet_writer(data, layout.data_schema(self._spec, self._encoding)) as data_file,
                layout.parquet_writer(final, layout.final_schema(self._spec, self._encoding)) as final_file,
            ):
                for i, made in enumerate(itertools.chain([first], drawn), start):
                    episode = made.episode
                    if episode.instruction not in tasks:
                        tasks.append(episode.instruction)
                    row = index_row(episode, made.content_sha256, i, number, next(reversed(rows or self._rows), None))
                    facts = (i, row["dataset_from_index"], tasks.index(episode.instruction))
                    for begin, end in made.groups():
                        table = layout.data_table(episode, made.pngs(begin, end), self._spec, facts, begin, end)
                        data_file.write_table(table)
                    T = len(episode)
                    final_file.write_table(layout.final_table(episode, made.pngs(T, T + 1), self._spec, i))
                    rows.append(row | made.columns)
            sums = {"data_sha256": sha256_file(data), "final_sha256": sha256_file(final)}
        for row in rows:
            row |= sums
        write_atomic(self._path / layout.TASKS_PATH, lambda p: pq.write_table(layout.tasks_table(tasks), p))
        index_path = layout.file_path(self._path, layout.EPISODES_PATH, number)
        table = index_table(rows, layout.index_schema(self._spec, self._encoding))
        try:
            # soon statistics of fewer episodes: none are better than wrong ones
            with writing(self._path / layout.STATS_PATH):
                (self._path / layout.STATS_PATH).unlink(missing_ok=True)
            write_atomic(index_path, lambda p: pq.write_table(table, p, write_page_checksum=True))  # the commit
        except BaseException:
            self._withdraw(index_path)
            raise
        self._rows.extend(rows)
        with suppress(ValueError, OSError):  # derived: the episodes are in, and the next append or opening repairs it
            self._write_info()
        return range(start, len(self))

    def _encoded(
        self, episodes: Iterator[Episode], rows: list[Row], reject: Callable[[Episode, ValueError], None] | None
    ) -> Generator[EncodedEpisode, None, None]:
        """Each episode that fits, its pictures encoded; `rows` grows by one before the next is drawn."""
        for episode in episodes:
            i = len(self) + len(rows)
            try:
                check_episode(episode, self._spec, f"{self._path}: episode {i} (seed {episode.provenance.seed})")
                made = EncodedEpisode(self._path, episode, self._spec, self._encoding, i)
            except ValueError as error:
                if reject is None:
                    raise
                reject(episode, error)
                continue
            try:
                yield made
            finally:
                made.close()

    def _withdraw(self, index_path: Path) -> None:
        """Take back a commit that failed, perhaps after its rename: the next append writes to the same data file."""
        try:
            index_path.unlink(missing_ok=True)
            sync(index_path.parent)
        except OSError:
            self.close()  # who opens it again sees what is there

    def _read(self, row: Row) -> Episode:
        number = file_of(row)
        group = row["group"]
        path = layout.file_path(self._path, layout.DATA_PATH, number)
        final_path = layout.file_path(self._path, layout.FINAL_PATH, number)
        data = self._group(path, row["data_sha256"], group)
        final = self._group(final_path, row["final_sha256"], group)
        videos = self._videos(row) if self._encoding != "png" else None
        with named(path):
            return layout.read_episode(data, final, row, self._spec, videos, self._seen.image_size)

    def _videos(self, row: Row) -> dict[str, Path]:
        """The video of every camera of an episode, its bytes compared with their checksum once."""
        videos = {}
        for camera in self._spec.cameras:
            path = videos[camera] = layout.video_path(self._path, camera, row["episode_index"])
            with named(path):
                self._verify(path, row[f"videos/{layout.image_key(camera)}/sha256"])
        return videos

    def _column(self, row: Row, name: str) -> npt.NDArray[Any]:
        path = layout.file_path(self._path, layout.DATA_PATH, file_of(row))
        values: npt.NDArray[Any] = self._group(path, row["data_sha256"], row["group"], [name])[name].to_numpy()
        return values

    def _group(self, path: Path, checksum: str, group: int, columns: list[str] | None = None) -> pa.Table:
        """The rows of one episode of a file whose bytes were compared with its checksum once."""
        with named(path):
            self._verify(path, checksum)
            if path not in self._files:
                if len(self._files) >= 32:  # do not run out of file handles in a store of many appends
                    self._files.clear()
                file = pq.ParquetFile(path)
                self._files[path] = file, layout.episode_groups(file)
            file, groups = self._files[path]
            if group >= len(groups):
                raise ValueError(f"has the rows of {len(groups)} episodes, the episode index has more")
            return file.read_row_groups(groups[group], columns)

    def _verify(self, path: Path, checksum: str) -> None:
        if path not in self._verified:
            if sha256_file(path) != checksum:
                raise ValueError("its SHA-256 is not the one in the episode index: the file was changed or damaged")
            self._verified.add(path)

    def _forget(self, path: Path) -> None:
        self._verified.discard(path)
        self._files.pop(path, None)

    def _check_files(self) -> None:
        for number in {file_of(row) for row in self._rows}:
            for pattern in (layout.DATA_PATH, layout.FINAL_PATH):
                path = layout.file_path(self._path, pattern, number)
                require_there(path)
        if self._encoding != "png":
            for row in self._rows:
                for camera in self._spec.cameras:
                    require_there(layout.video_path(self._path, camera, row["episode_index"]))

    def _repair(self) -> None:
        """Remove what a crashed writer left and bring the derived files up to date."""
        known = {-1} | {file_of(row) for row in self._rows}  # -1: not a name of ours
        with writing(self._path):
            for pattern in (layout.DATA_PATH, layout.FINAL_PATH):
                for path in self._path.glob(str(Path(pattern).parent.parent / "*" / "*.parquet")):
                    if layout.file_number(path) not in known:
                        path.unlink()
            remove_videos(self._path, len(self._rows))
            for part in WRITTEN:  # elsewhere somebody may be writing labels
                for path in (self._path / part).rglob(f"{TEMPORARY}*"):
                    path.unlink()
        tasks = layout.tasks_table(instructions(self._rows))
        write_atomic(self._path / layout.TASKS_PATH, lambda p: pq.write_table(tasks, p))
        self._write_info()

    def _write_info(self) -> None:
        frames = sum(row["length"] for row in self._rows)
        content = layout.info(self._spec, len(self), frames, len(instructions(self._rows)), self._encoding)
        write_atomic(self._path / layout.INFO_PATH, json.dumps(content, indent=4) + "\n")
