"""Arrays on the disk that are written through a memory map."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def new_array(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> Any:
    """A new npy file as a writable memory map, its disk space taken: one that fills under a map kills the process."""
    open_memmap: Any = np.lib.format.open_memmap  # numpy leaves it untyped
    array = open_memmap(path, "w+", dtype, shape)
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    return array
