"""Writing files so that a reader, or a crash, never sees half of one, and saying in one line why a place is no use."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

TEMPORARY = ".writing-"
"""Prefix of files being written; one found by the only writer was left by a crash and may be removed."""

_OURS = re.compile(re.escape(TEMPORARY) + "[0-9a-f]{16}-")
_LONGEST = 255  # bytes of a file's name
_PATIENCE = 5.0  # seconds of waiting for a lock before saying so
_tidied: set[Path] = set()

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (
    errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EIO, errno.ELOOP,
    errno.EMFILE, errno.ENFILE,
)  # fmt: skip


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn a full disk or a place that cannot be written into a one-line ValueError naming `path` and the way out."""
    try:
        yield
    except Exception as error:
        if full := disk_full(error, path):
            raise ValueError(full) from error
        if not isinstance(error, OSError):
            raise
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError(f"{one_line(path)}: cannot be written ({reason}); choose shorter names") from error
        if error.errno in _CLOSED:
            raise ValueError(
                f"{one_line(path)}: cannot be written ({reason}); make the folder writable or choose another one"
            ) from error
        raise


def disk_full(error: Exception, path: str | Path | None = None) -> str:
    """What to tell whoever runs into a full disk, "" where that is not what went wrong; libraries say it their way."""
    number = getattr(error, "errno", None)
    reason = next((os.strerror(n) for n in _FULL if number == n or os.strerror(n) in str(error)), "")
    if not reason or isinstance(error, ValueError):
        return ""
    place = path or getattr(error, "filename", None) or "a file of this command"
    return (
        f"{one_line(place)}: cannot be written ({reason}); free some disk space there and run the same command again, "
        "what was finished before is intact"
    )


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
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside, held = _made_beside(path, folder=False)
        try:
            yield beside
            sync(beside)
            os.replace(beside, path)
            sync(path.parent)
        except BaseException:
            remove(beside)
            raise
        finally:
            os.close(held)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a new folder beside `path` to fill; on a clean exit it is renamed to `path`.

    When the block raises, the new folder is removed and `path` is as it was. The files in it must be synced by who
    writes them. Errors: a `path` that exists and is not an empty folder is a ValueError.
    """
    path = Path(path)
    if path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
        raise ValueError(f"{path}: exists already; choose a new folder")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside, held = _made_beside(path, folder=True)
        try:
            yield beside
            os.rename(beside, path)
            sync(path.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            os.close(held)


def copy_folder(source: Path, path: Path, link: bool = False, leave_out: Sequence[str] = ()) -> None:
    """Copy the folder `source` to the new folder `path`, which appears whole or not at all.

    link: as hard links where the disk allows it, for files that never change. leave_out: patterns of names.
    """
    with atomic_folder(path) as beside:
        copy = _linked if link else _copied
        ignored = shutil.ignore_patterns(*leave_out)
        shutil.copytree(source, beside, copy_function=copy, ignore=ignored, dirs_exist_ok=True)


def move_up(folder: Path) -> None:
    """Move what is in a folder into its parent, and remove it; both are part of something that is being made."""
    for part in list(folder.iterdir()):
        os.rename(part, folder.parent / part.name)
    folder.rmdir()


def _copied(source: str, target: str) -> None:
    shutil.copy2(source, target)
    sync(Path(target))


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        _copied(source, target)


def _made_beside(path: Path, folder: bool) -> tuple[Path, int]:
    """Make a temporary file or folder beside `path` that was not there before, and hold it: (place, handle).

    Its name cannot be foreseen, so nobody can have put a link there; it ends like `path`'s name. The handle holds a
    lock on it until it is closed, so that others know a writer lives. What dead writers left in the folder is removed.
    """
    _tidy(path.parent)
    while True:
        head = f"{TEMPORARY}{secrets.token_hex(8)}-"
        beside = path.with_name(head + os.fsencode(path.name)[len(head) - _LONGEST :].decode(errors="ignore"))
        if folder:
            beside.mkdir()
            held = os.open(beside, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        else:
            held = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        if _locked(held, wait=True) is not False and beside.exists():  # else another process thought it was left over
            return beside, held
        os.close(held)


def _locked(handle: int, wait: bool = False) -> bool | None:
    """Lock an open file or folder; false where a living process holds it, None where the disk knows no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _tidy(folder: Path) -> None:
    """Remove what writers that were killed left in a folder; once a process, and never what a living writer holds."""
    folder = folder.absolute()
    if folder in _tidied:
        return
    _tidied.add(folder)
    for name in os.listdir(folder):
        if _OURS.match(name):
            _remove_if_left(folder / name)


def _remove_if_left(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # gone meanwhile, a link that somebody put there, or not ours to open
        if path.is_symlink():
            remove(path)
        return
    try:
        if _locked(handle):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                remove(path)
    finally:
        os.close(handle)


def refuse_special(path: str | Path) -> None:
    """A ValueError where `path` is there and no regular file: a pipe or a device would be read for ever."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError("not a regular file")


def refuse_link(path: str | Path, what: str) -> None:
    """A ValueError where `path` is a symbolic link: writing there would change what lies elsewhere."""
    if os.path.islink(path):
        raise ValueError(
            one_line(
                f"{path}: a link to {os.readlink(path)}; {what} is not written through it: put a copy in its place"
            )
        )


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
    refuse_link(path, what)
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
    Whoever waits longer than a moment says so on stderr, with the lock's name.
    """
    with writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        refuse_link(f"{place}.lock", str(place))
        lock = FileLock(f"{place}.lock")
        try:
            lock.acquire(timeout=_PATIENCE)
        except Timeout:
            print(
                f"{one_line(place)}: waiting for the process that makes it (it holds {place.name}.lock; stop that "
                "process to go on without it)", file=sys.stderr, flush=True,
            )  # fmt: skip
            lock.acquire()
    try:
        remove_temporary(place)
        yield
    finally:
        lock.release()


def make_once(place: Path, done: Callable[[], bool], make: Callable[[], object]) -> None:
    """Make a cache entry unless it is done: look, lock it, look again (another process may have made it), make.

    `done` must be true only of a whole entry: of what `make` writes last, or of a folder that it renames to `place`.
    """
    if done():
        return
    with cache_entry(place):
        if not done():
            make()


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
