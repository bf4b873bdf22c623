"""Writing files so that a reader, or a crash, never sees half of one."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

TEMPORARY = ".writing-"
"""Prefix of files being written; one found by the only writer was left by a crash and may be removed."""


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; on a clean exit it is synced and renamed onto `path`.

    The rename is the commit: before it nobody sees the file, after it the file and its folder entry are on disk. When
    the block raises, the temporary file is removed and `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        yield beside
        _sync(beside)
        os.replace(beside, path)
        _sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


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
        _sync(path.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_atomic(path: str | Path, content: bytes | str | Callable[[Path], object]) -> None:
    """Write bytes, text (UTF-8), or what `content(temporary_path)` writes, to `path` in one step."""
    with atomic(path) as beside:
        if callable(content):
            content(beside)
        else:
            beside.write_bytes(content.encode() if isinstance(content, str) else content)


def writer_lock(path: str | Path, what: str) -> FileLock:
    """Take the lock file at `path` without waiting; it is freed by `.release()` or by the end of the process.

    Errors: a ValueError naming the lock when another writer holds it.
    """
    lock = FileLock(str(path), thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"{what}: another writer holds the lock {path}; wait for it to finish or stop that process "
            "(a dead process holds no lock), or open for reading"
        ) from None
    return lock


def sha256_file(path: str | Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
