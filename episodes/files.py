"""Writing files so that a reader, or a crash, never sees half of one, and saying in one line why a place is no use."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

TEMPORARY = ".writing-"
"""Prefix of files being written; one found by the only writer was left by a crash and may be removed."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (
    errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EIO,
    errno.ELOOP, errno.EMFILE, errno.ENFILE,
)  # fmt: skip


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn a full disk or a place that cannot be written into a one-line ValueError naming `path` and the way out."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in _FULL:
            raise ValueError(
                f"{one_line(path)}: cannot be written ({reason}); free some disk space there and run the same command "
                "again, what was finished before is intact"
            ) from error
        if error.errno in _CLOSED:
            raise ValueError(
                f"{one_line(path)}: cannot be written ({reason}); make the folder writable or choose another one"
            ) from error
        raise


def one_line(text: object) -> str:
    """The text with every line break and other control character made visible, so that it stays one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in str(text))


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; on a clean exit it is synced and renamed onto `path`.

    The rename is the commit: before it nobody sees the file, after it the file and its folder entry are on disk. When
    the block raises, the temporary file is removed and `path` is as it was. Errors: a full disk or a folder that cannot
    be written is a ValueError naming `path`.
    """
    path = Path(path)
    beside = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield beside
            sync(beside)
            os.replace(beside, path)
            sync(path.parent)
        except BaseException:
            remove(beside)
            raise


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give the path of a new folder beside `path` to fill; on a clean exit it is renamed to `path`.

    When the block raises, the new folder is removed and `path` is as it was. The files in it must be synced by who
    writes them. Errors: a `path` that exists and is not an empty folder is a ValueError.
    """
    path = Path(path)
    if path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
        raise ValueError(f"{path}: exists already; choose a new folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        yield beside
        os.rename(beside, path)
        sync(path.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_atomic(path: str | Path, content: bytes | str | Callable[[Path], object]) -> None:
    """Write bytes, text (UTF-8), or what `content(temporary_path)` writes, to `path` in one step."""
    with atomic(path) as beside:
        if callable(content):
            content(beside)
        else:
            beside.write_bytes(content.encode() if isinstance(content, str) else content)


def remove(path: Path) -> bool:
    """Delete a file that may be gone already; false where that is not possible."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def remove_temporary(folder: Path) -> None:
    """Delete what crashed writers left under `folder`; only for a process that holds the folder's writer lock."""
    for path in folder.rglob(f"{TEMPORARY}*"):
        remove(path)


def writer_lock(path: str | Path, what: str) -> FileLock:
    """Take the lock file at `path` without waiting; it is freed by `.release()` or by the end of the process.

    Errors: a ValueError naming the lock when another writer holds it, or when it cannot be made there.
    """
    lock = FileLock(str(path), thread_local=False)
    try:
        with writing(path):
            lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"{what}: another writer holds the lock {path}; wait for it to finish or stop that process "
            "(a dead process holds no lock), or open for reading"
        ) from None
    return lock


@contextmanager
def cache_entry(place: Path) -> Iterator[None]:
    """Hold the lock of a cache entry, waiting while another process makes it; then look again whether it is there.

    What a crashed process left half-written in the folder `place` is removed first. The lock is the file <place>.lock.
    """
    with writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{place}.lock")
        lock.acquire()
    try:
        remove_temporary(place)
        yield
    finally:
        lock.release()


def sha256_file(path: str | Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
