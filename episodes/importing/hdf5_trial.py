"""Reads everything in an HDF5 file and writes a dot after each piece: hdf5.require_readable runs it on a file.

The library that reads HDF5 can crash on a damaged file, or never come back: that happens to this process then. What is
wrong in other ways is for the importer to say, and passed over here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import h5py

BLOCK = 16 << 20  # bytes that are read at a time
DENSEST = 1100  # times its size in the file that compressed data can have; what is more is not in the file


def read_all(file: Any) -> None:
    """Walk every group, attribute and array of numbers that lies in the file itself."""
    waiting, known = [file], set()
    while waiting:
        found = waiting.pop()
        place = tried(h5py.h5o.get_info, found.id)
        if place is None or place.addr in known:  # groups may contain one another
            continue
        known.add(place.addr)
        for name in tried(list, found.attrs) or ():
            tried(found.attrs.__getitem__, name)
        if isinstance(found, h5py.Group):
            members = [tried(own, found, name) for name in tried(list, found) or ()]
            waiting += [member for member in members if member is not None]
        elif isinstance(found, h5py.Dataset):
            for rows in tried(blocks, found) or ():
                tried(found.__getitem__, rows)


def own(group: Any, name: str) -> Any:
    """A member of a group, None where it is a link."""
    return group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None


def blocks(array: Any) -> list[slice]:
    """The rows of an array in pieces of BLOCK bytes; of one that is mostly not there, the first and the last row."""
    if array.is_virtual or array.external or array.dtype.kind not in "biuf" or array.ndim == 0 or array.size == 0:
        return []
    row = array.nbytes // len(array)
    stored = min(array.id.get_storage_size(), os.path.getsize(array.file.filename))
    if array.nbytes > DENSEST * stored:
        return [slice(0, 1), slice(len(array) - 1, None)] if row <= BLOCK else []
    step = max(1, BLOCK // row)
    return [slice(start, start + step) for start in range(0, len(array), step)]


def tried(read: Callable[..., Any], *of: Any) -> Any:
    """What `read` gives, None where it fails; a dot either way."""
    try:
        return read(*of)
    except Exception:
        return None
    finally:
        os.write(1, b".")


if __name__ == "__main__":
    with h5py.File(sys.argv[1], "r") as opened:
        read_all(opened)
