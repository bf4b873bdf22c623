"""Frames of a video file at given moments, through PyAV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from episodes.importing.reading import reading

TOLERANCE = 1e-4  # seconds between a wanted moment and its frame; LeRobot's own default


def frames_at(path: Path, seconds: npt.NDArray[np.float64], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The frames of the first video stream shown at `seconds` (N,), increasing: uint8 RGB (N, H, W, 3).

    Errors (ValueError): unreadable or truncated, no frame within TOLERANCE of a moment, frames of another size.
    """
    import av

    with reading(path):
        if not path.is_file():
            raise FileNotFoundError(path)
        if not (np.isfinite(seconds).all() and (np.diff(seconds) > 0).all()):
            raise ValueError("the wanted timestamps do not increase")
        frames = np.empty((len(seconds), *size, 3), np.uint8)
        try:
            with av.open(str(path)) as container:
                if not container.streams.video:
                    raise ValueError("has no video stream")
                found = _collect(container, seconds, frames, seek=True)
                if found == 0:  # some files seek past the wanted frame: read them from the start
                    container.seek(0)
                    found = _collect(container, seconds, frames, seek=False)
        except av.error.FFmpegError as error:
            raise ValueError(f"not a readable video ({error.strerror})") from error
        if found < len(seconds):
            raise ValueError(
                f"no frame within {TOLERANCE} s of {seconds[found]:.4f} s ({found} of {len(seconds)} found)"
            )
        return frames


def _collect(container: Any, seconds: npt.NDArray[np.float64], out: npt.NDArray[np.uint8], seek: bool) -> int:
    """Fill `out` from the front and return how many moments were found before one was missing."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    if seek:
        container.seek(max(0, int((seconds[0] - TOLERANCE) / stream.time_base)), stream=stream)
    k = 0
    for frame in container.decode(stream):
        if frame.pts is None:
            continue
        time = float(frame.pts * stream.time_base)
        if time > seconds[k] + TOLERANCE:
            break
        if abs(time - seconds[k]) <= TOLERANCE:
            image = frame.to_ndarray(format="rgb24")
            if image.shape != out.shape[1:]:
                raise ValueError(f"frames are {image.shape}, info.json says {out.shape[1:]}")
            out[k] = image
            k += 1
            if k == len(seconds):
                break
    return k
