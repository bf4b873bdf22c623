"""`draw_video`: the cameras of an episode side by side, its value curve growing below them (numpy, Pillow, PyAV)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from episodes.files import atomic
from episodes.types import SEGMENTS
from experiments.report.svg import SEGMENT_COLOURS

COLOURS, REST = 128, 1500  # of a gif: its palette, and milliseconds on the last picture
CAMERA, GAP, TITLE, CURVE, STRIP = 256, 4, 26, 108, 8  # pixels
PAGE, INK, MUTED, RULE, BLUE = "#ffffff", "#1b1d21", "#6b7079", "#d5d8dd", "#0173b2"
LEFT, RIGHT = 34, 58  # margins of the curve: axis labels, the current value


def draw_video(
    path: Path,
    frames: npt.NDArray[np.uint8] | Sequence[npt.NDArray[np.uint8]],
    value: npt.NDArray[np.floating] | Sequence[float],
    truth: npt.NDArray[np.floating] | Sequence[float] | None = None,
    title: str = "",
    fps: float = 10.0,
    segments: npt.NDArray[np.integer] | Sequence[str] | None = None,
    limits: tuple[float, float] | None = None,
) -> Path:
    """Write an episode as an mp4 (H.264, yuv420p) or gif: cameras, below them the value up to now and, thin, the truth.

    frames uint8 (T, H, W, 3), or one such array per camera; value (T,) on any scale; truth (T,) on the same scale, NaN
    where unknown; segments (T,) names or indices of SEGMENTS, a strip in the report's colours; fps frames per second;
    limits (low, high) of the value's axis, one for the videos of a page (default: what these curves need).
    Each camera is 256 px high. The file appears whole or not at all. ValueError where lengths or shapes differ.
    """
    cameras = [frames] if isinstance(frames, np.ndarray) else list(frames)
    value = np.asarray(value, float)
    truth = None if truth is None else np.asarray(truth, float)
    T = len(value)
    if T == 0 or not cameras:
        raise ValueError(f"draw_video {path}: {T} values and {len(cameras)} cameras; give at least one of each")
    for i, camera in enumerate(cameras):
        if camera.ndim != 4 or camera.shape[0] != T or camera.shape[3] != 3 or camera.dtype != np.uint8:
            found = f"{camera.dtype} {camera.shape}"
            raise ValueError(f"draw_video {path}: camera {i} is {found}, expected uint8 ({T}, H, W, 3)")
    for name, curve in (("truth", truth), ("segments", segments)):
        if curve is not None and len(curve) != T:
            raise ValueError(f"draw_video {path}: {name} has {len(curve)} entries for {T} values; give one per frame")
    if not fps > 0:
        raise ValueError(f"draw_video {path}: fps is {fps}; give frames per second above 0")
    widths = [max(2, round(CAMERA * c.shape[2] / c.shape[1])) for c in cameras]
    width = max(sum(widths) + GAP * (len(cameras) - 1), 320)
    width += width % 2  # yuv420p halves both sides
    canvas, x, y = _background(width, value, truth, title, segments, limits)
    with atomic(path) as beside:
        pictures = _pictures(canvas, cameras, widths, value, x, y)
        if Path(path).suffix == ".gif":
            _animate(beside, pictures, fps)
        else:
            _encode(beside, pictures, canvas.size, fps)
    return Path(path)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)  # travels with Pillow: every machine draws the same letters


def _background(
    width: int,
    value: npt.NDArray[np.float64],
    truth: npt.NDArray[np.float64] | None,
    title: str,
    segments: npt.NDArray[np.integer] | Sequence[str] | None,
    limits: tuple[float, float] | None,
) -> tuple[Image.Image, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Everything that stays the same from frame to frame, and the pixel coordinates (T,), (T,) of the value."""
    T = len(value)
    strip = STRIP + 22 if segments is not None else 0
    height = TITLE + CAMERA + CURVE + strip
    canvas = Image.new("RGB", (width, height + height % 2), PAGE)
    draw = ImageDraw.Draw(canvas)
    small = _font(11)
    font = _font(13)
    while title and draw.textlength(title, font) > width - 12:
        title = title.rstrip("…")[:-1].rstrip() + "…" if len(title) > 2 else ""
    draw.text((6, 5), title, INK, font)
    top, bottom = TITLE + CAMERA + 12, TITLE + CAMERA + CURVE - 8
    low, high = limits or axis_limits([value] if truth is None else [value, truth])
    x = np.linspace(LEFT, width - RIGHT, T) if T > 1 else np.array([float(LEFT)])

    def to_y(v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return bottom - (v - low) / (high - low) * (bottom - top)

    for tick in (low, 0.0, high) if low < 0 < high else (low, high):
        line = float(to_y(np.array(tick)))
        draw.line((LEFT, line, width - RIGHT, line), RULE)
        draw.text((LEFT - 5, line), f"{tick:.3g}", MUTED, small, anchor="rm")
    if truth is not None:
        _curve(draw, x, to_y(truth), INK, 1)
    if segments is not None:
        names = [s if isinstance(s, str) else SEGMENTS[int(s)] for s in segments]
        edges = np.concatenate([x[:1], (x[1:] + x[:-1]) / 2, x[-1:]])
        for t, name in enumerate(names):
            draw.rectangle((edges[t], bottom + 10, edges[t + 1], bottom + 9 + STRIP), fill=SEGMENT_COLOURS[name])
        at = float(LEFT)
        for name in [s for s in SEGMENTS if s in names]:
            draw.rectangle((at, bottom + STRIP + 16, at + 7, bottom + STRIP + 23), fill=SEGMENT_COLOURS[name])
            draw.text((at + 11, bottom + STRIP + 20), name, MUTED, small, anchor="lm")
            at += 22 + draw.textlength(name, small)
    return canvas, x, to_y(value)


def axis_limits(curves: Sequence[npt.NDArray[np.floating]]) -> tuple[float, float]:
    """The axis (low, high) on which all of these curves fit: 0 is on it, and [0, 1] where none leaves that."""
    known = np.concatenate([np.ravel(curve) for curve in curves])
    known = known[np.isfinite(known)]
    low, high = (min(0.0, float(known.min())), max(float(known.max()), 0.0)) if len(known) else (0.0, 1.0)
    if low == 0.0 and high <= 1.0:
        high = 1.0
    return low, high if high > low else low + 1.0


def _curve(
    draw: ImageDraw.ImageDraw, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], colour: str, width: int
) -> None:
    """Join the finite points; a NaN leaves a gap."""
    finite = np.isfinite(y)
    for run in np.split(np.arange(len(y)), np.flatnonzero(~finite)):
        points = [(float(x[i]), float(y[i])) for i in run if finite[i]]
        if len(points) > 1:
            draw.line(points, colour, width, joint="curve")


def _pictures(
    canvas: Image.Image,
    cameras: list[npt.NDArray[np.uint8]],
    widths: list[int],
    value: npt.NDArray[np.float64],
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
) -> Iterator[Image.Image]:
    """The frames of the video: the cameras, and the value up to now."""
    left = (canvas.width - sum(widths) - GAP * (len(widths) - 1)) // 2
    number = _font(15)
    for t in range(len(value)):
        picture = canvas.copy()
        at = left
        for camera, width in zip(cameras, widths, strict=True):
            picture.paste(Image.fromarray(camera[t]).resize((width, CAMERA), Image.Resampling.LANCZOS), (at, TITLE))
            at += width + GAP
        draw = ImageDraw.Draw(picture)
        draw.line((x[t], TITLE + CAMERA + 8, x[t], TITLE + CAMERA + CURVE - 4), MUTED)
        _curve(draw, x[: t + 1], y[: t + 1], BLUE, 3)
        if np.isfinite(y[t]):
            draw.ellipse((x[t] - 4, y[t] - 4, x[t] + 4, y[t] + 4), fill=BLUE)
        said = f"{value[t]:.2f}" if np.isfinite(value[t]) else "-"  # its font has no dash
        draw.text((canvas.width - RIGHT + 12, TITLE + CAMERA + CURVE // 2), said, BLUE, number, anchor="lm")
        yield picture


def _encode(path: Path, pictures: Iterator[Image.Image], size: tuple[int, int], fps: float) -> None:
    """Write an mp4 of pictures (width, height)."""
    from fractions import Fraction

    import av

    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.options = {"crf": "23", "preset": "veryfast"}
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_image(picture)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _animate(path: Path, pictures: Iterator[Image.Image], fps: float) -> None:
    """Write a looping gif of pictures that rests on the last one; one palette for all: nothing flickers."""
    frames = list(pictures)
    palette = frames[len(frames) // 2].quantize(COLOURS, Image.Quantize.MEDIANCUT)
    first, *others = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [*[round(1000 / fps)] * len(others), REST]
    first.save(path, "GIF", save_all=True, append_images=others, duration=times, loop=0, optimize=True)
