"""Video files of pictures through PyAV: written whole in one step, read at given moments or all in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from episodes.files import one_line, refuse_special
from episodes.frames import Pictures, block_length
from episodes.images import resized

HALF = 0.5  # of a frame: how far a frame may lie from the wanted moment
_CRF = {"mp4 lossless": "0", "mp4": "18"}  # 18: hardly to be told from the original


class VideoError(ValueError):
    """What is wrong with a video; kind: damaged, moment (no frame near enough) or size."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class VideoWriter:
    """Encodes pictures as H.264: `mp4 lossless` in RGB, bit for bit; `mp4` in YUV 4:2:0 (4:4:4 for odd sizes).

    The file is whole when its `with` block has ended without an error.
    """

    def __init__(self, path: Path, size: tuple[int, int], hz: float, encoding: str) -> None:
        import av

        lossless = encoding == "mp4 lossless"
        rate = Fraction(hz).limit_denominator(1000)
        self._container = av.open(str(path), "w", format="mp4")
        self._stream: Any = self._container.add_stream("libx264rgb" if lossless else "libx264", rate=rate)
        self._stream.height, self._stream.width = size
        odd = size[0] % 2 or size[1] % 2
        self._stream.pix_fmt = "rgb24" if lossless else "yuv444p" if odd else "yuv420p"
        # no reordered frames and short groups: a frame's time is its place, and any frame is near a key frame
        self._stream.options = {"crf": _CRF[encoding], "preset": "veryfast", "g": "10", "bf": "0"}
        self._stream.codec_context.time_base = 1 / rate
        self._base, self._n = 1 / rate, 0

    def add(self, pictures: Pictures) -> None:
        """Encode pictures uint8 (k, H, W, 3) after those before."""
        import av

        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = self._n, self._base
            self._n += 1
            self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:  # FFmpeg crashes when it is given a packet after one that could not be written
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError("damaged", "has no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container
    except av.error.FFmpegError as error:
        raise VideoError("damaged", f"not a readable video ({error.strerror})") from error


def pixel_format(path: Path) -> str:
    """How the first video stream of a file stores its pixels, for instance yuv420p or gray12le."""
    with _opened(path) as container:
        return str(container.streams.video[0].codec_context.pix_fmt)


def all_frames(path: Path, size: tuple[int, int]) -> Iterator[Pictures]:
    """Every frame of a video in order, in blocks."""
    with _opened(path) as container:
        yield from _in_blocks((frame for frame in container.decode(container.streams.video[0])), size)


def pictures_at(path: Path, hz: float, size: tuple[int, int] | None = None) -> Pictures:
    """The pictures of a video at 0, 1/hz, 2/hz, ... seconds, each the frame shown nearest, uint8 RGB (N, H, W, 3).

    size: (H, W) they are made (Lanczos); None: as they are. ValueError, naming the file: it cannot be read, has fewer
    than two pictures at that rate, or shows fewer than `hz` frames a second.
    """
    if not 0 < hz < float("inf"):
        raise ValueError(f"video {path}: hz={hz}; give pictures per second above 0")
    try:
        refuse_special(path)
        with _opened(path) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 0)
            if 0 < rate < hz - 0.01:
                raise ValueError(f"shows {rate:.4g} frames a second, hz={hz:g}; take hz={rate:.4g} or less")
            chosen = [
                picture if size is None else resized(picture, size)
                for picture in (f.to_ndarray(format="rgb24") for f in _each(container, 1 / hz))
            ]
    except (OSError, ValueError) as error:
        said = "no such file" if not path.exists() else str(error)
        raise ValueError(one_line(f"video {path}: {said}")) from error
    if len(chosen) < 2:
        raise ValueError(f"video {path}: {len(chosen)} pictures at {hz:g} Hz; give a longer one, or a higher hz")
    return np.stack(chosen)


def _each(container: Any, period: float) -> Iterator[Any]:
    """The frame nearest to every multiple of `period` seconds, up to the last frame."""
    stream = container.streams.video[0]
    k, before, was, first = 0, None, -np.inf, None
    for frame in container.decode(stream):
        if frame.pts is None:
            continue
        first = frame.pts if first is None else first
        time = float((frame.pts - first) * stream.time_base)
        while k * period <= time + 1e-6:
            yield before if before is not None and k * period - was < time - k * period else frame
            k += 1
        before, was = frame, time


def frames_near(
    path: Path, seconds: npt.NDArray[np.float64], size: tuple[int, int], frame: float, tolerance: float = HALF
) -> Iterator[Pictures]:
    """The frame shown nearest to each of the moments `seconds` (N,), which rise, in blocks uint8 RGB (k, H, W, 3).

    frame: how long one lasts, in seconds; tolerance: the share of it that a frame may lie away. Times are counted from
    the file's first frame. Errors (ValueError): unreadable or cut short, no frame that near, another size.
    """
    if not (np.isfinite(seconds).all() and (np.diff(seconds) > 0).all()):
        raise VideoError("moment", "the wanted timestamps do not increase")
    for seek in (True, False):  # some files seek past the wanted frame: read those from the start
        with _opened(path) as container:
            chosen = _nearest(container, seconds, frame * tolerance + 1e-6, seek)
            first = next(chosen, None)
            if first is None:
                continue
            yield from _in_blocks(_with(first, chosen), size)
            return
    raise VideoError("moment", _lacks(seconds, 0, frame * tolerance))


def _with(first: Any, others: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from others


def _lacks(seconds: npt.NDArray[np.float64], k: int, reach: float) -> str:
    return f"no frame within {reach:.4g} s of {seconds[k]:.4f} s ({k} of {len(seconds)} found)"


def _nearest(container: Any, seconds: npt.NDArray[np.float64], reach: float, seek: bool) -> Iterator[Any]:
    """The frame nearest to each moment; ends at once where the first is missing, a later one is a ValueError."""
    stream = container.streams.video[0]
    base = stream.time_base
    start = float((stream.start_time or 0) * base)
    if seek:
        container.seek(max(0, int((seconds[0] + start - reach) / base)), stream=stream)
    k, before, was = 0, None, -np.inf
    for frame in container.decode(stream):
        if frame.pts is None:
            continue
        time = float(frame.pts * base) - start
        while k < len(seconds) and time >= seconds[k]:
            nearer = before if before is not None and seconds[k] - was < time - seconds[k] else frame
            if abs((was if nearer is before else time) - seconds[k]) > reach:
                if k == 0:
                    return
                raise VideoError("moment", _lacks(seconds, k, reach))
            yield nearer
            k += 1
        if k == len(seconds):
            return
        before, was = frame, time
    if k < len(seconds) and before is not None and abs(was - seconds[k]) <= reach:
        yield before  # the file's last frame lies a little before its moment
        k += 1
    if k < len(seconds) and (k or not seek):
        raise VideoError("moment", _lacks(seconds, k, reach))


def _in_blocks(frames: Iterator[Any], size: tuple[int, int]) -> Iterator[Pictures]:
    step = block_length(*size)
    block: list[Any] = []
    for frame in frames:
        if (frame.height, frame.width) != size:
            said = f"{size[0]}x{size[1]}"
            raise VideoError("size", f"frames are {frame.height}x{frame.width}, the metadata says {said}")
        block.append(frame.to_ndarray(format="rgb24"))
        if len(block) == step:
            yield np.stack(block)
            block = []
    if block:
        yield np.stack(block)
