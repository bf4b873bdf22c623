"""Reading an HDF5 file that somebody else wrote: arrays of numbers and texts that lie in that very file."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from episodes.importing.reading import Fault

SILENCE = 60.0  # s in which a file's next piece has to come
_TRIAL = Path(__file__).with_name("hdf5_trial.py")


def require_readable(path: Path) -> None:
    """Read the whole file once in another process; a Fault where HDF5's library crashes on it or does not come back."""
    import h5py

    if not h5py.is_hdf5(path):
        raise Fault("format", "is no HDF5 file")
    command = [sys.executable, "-P", str(_TRIAL), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            while select.select([process.stdout], [], [], SILENCE)[0]:
                if not os.read(process.stdout.fileno(), 1 << 16):
                    break
            else:
                raise Fault("damaged", "reading it does not come to an end")
        except BaseException:
            process.kill()
            raise
    if process.returncode < 0:
        raise Fault("damaged", "HDF5's library crashes on it")


def string(value: Any) -> str:
    """An attribute as text; anything else is a Fault."""
    text = value.decode() if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise Fault("metadata", f"an attribute is a {type(value).__name__}, not a text")
    return text


def _member(parent: Any, name: str) -> Any:
    """A member of a group that is in this very file: links to other files are refused."""
    import h5py

    if name not in parent:
        raise KeyError(name)
    if not isinstance(parent.get(name, getlink=True), h5py.HardLink):
        raise Fault("link", f"{name} is a link; only what is in the file itself is read")
    return parent[name]


def group(parent: Any, name: str) -> Any:
    """The member group of a name; what is no group is a Fault."""
    import h5py

    member = _member(parent, name)
    if not isinstance(member, h5py.Group):
        raise Fault("metadata", f"{name} is not a group")
    return member


def dataset(parent: Any, name: str) -> Any:
    """The member array of a name; one without numbers, or with its data in another file, is a Fault."""
    import h5py

    member = _member(parent, name)
    if not isinstance(member, h5py.Dataset) or member.dtype.kind not in "biuf" or member.ndim == 0:
        raise Fault("vector", f"{name} is not an array of numbers")
    if member.is_virtual or member.external:
        raise Fault("link", f"{name} has its data in another file; only what is in the file itself is read")
    return member


def at(parent: Any, path: str) -> Any:
    """The array at a path of groups, none of which is a link."""
    *groups, name = path.split("/")
    for part in groups:
        parent = group(parent, part)
    return dataset(parent, name)


def array(parent: Any, path: str) -> npt.NDArray[Any]:
    """The whole array at a path."""
    values: npt.NDArray[Any] = at(parent, path)[()]
    return values


def matrix(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """float32 (N, width); what overflows becomes infinite, which the store refuses by name."""
    if values.ndim > 2:
        raise Fault("vector", f"an array of shape {values.shape} is not one vector a frame")
    with np.errstate(over="ignore"):
        return values.reshape(len(values), int(np.prod(values.shape[1:]))).astype(np.float32)
