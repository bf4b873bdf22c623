"""PNG bytes from uint8 (H, W, 3) RGB images and back: OpenCV where installed (fast), else Pillow."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

_THREADS = min(4, os.cpu_count() or 1)  # both libraries release the interpreter lock while they work
_FIRST = 33  # bytes of the signature and IHDR
_HEAD = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"  # then width and height
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_CHUNK = struct.Struct(">I4s")  # a chunk's length and type; its data and a CRC follow
_UNREADABLE = "an image is not a readable PNG; encode it with encode_png"
Image = npt.NDArray[np.uint8]


@cache
def _cv2() -> Any:
    try:
        import cv2
    except ImportError:  # not installed, or a system library it needs is missing
        return None
    return cv2


def encode_png(image: Image) -> bytes:
    """Lossless PNG of an RGB image (H, W, 3), at the fastest compression level."""
    cv2 = _cv2()
    if cv2 is not None:
        ok, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
        assert ok, f"PNG encoding failed for shape {image.shape}"
        return bytes(data.tobytes())
    from PIL import Image as pil

    buffer = io.BytesIO()
    pil.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def decode_png(data: bytes, size: tuple[int, int]) -> Image:
    """RGB image uint8 (H, W, 3) from PNG bytes; bytes that are no image of `size` (H, W) are a ValueError."""
    image: Image | None
    head = bytes(data[:24])
    if len(head) < 24 or not head.startswith(_HEAD):
        raise ValueError(_UNREADABLE)
    shape = (*struct.unpack(">II", head[16:24])[::-1], 3)
    if shape != (*size, 3):  # before a decoder makes room for what the file says it holds
        raise ValueError(f"an image is {shape}, expected {(*size, 3)}; encode one of that size")
    still = _still(memoryview(data))
    cv2 = _cv2()
    if cv2 is not None:
        try:
            image = cv2.imdecode(np.frombuffer(still, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            image = None
        if image is not None:
            cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    else:
        from PIL import Image as pil

        try:
            image = np.array(pil.open(io.BytesIO(still), formats=["PNG"]).convert("RGB"))
        except (OSError, SyntaxError, ValueError, EOFError, struct.error, pil.DecompressionBombError):
            image = None  # Pillow's words for a broken PNG
    if image is None or image.shape != shape:
        raise ValueError(_UNREADABLE)
    return image


def _still(data: memoryview) -> memoryview | bytes:
    """The chunks of a PNG that make up its picture: IHDR, PLTE, IDAT and IEND, in the file's order and nothing else.

    A decoder sees no other chunk: text and colour profiles may unfold to any size, an orientation would turn the
    picture, and OpenCV 4.11 trusts the frame sizes of an animation and writes outside its buffers.
    Errors (ValueError): an animation; a chunk cut off, out of place, or needed and unknown; no pixels; no end.
    """
    at, start, pixels = _FIRST, 0, False
    pieces: list[memoryview] = []
    try:
        while True:
            length, kind = _CHUNK.unpack_from(data, at)
            end = at + 12 + length
            if kind == b"IDAT":
                pixels = True
            elif kind == b"IEND":
                break
            elif kind in _ANIMATION:
                raise ValueError("an image is an animated PNG; store one PNG a frame, see encode_png")
            elif kind[0] & 0x20:  # a small first letter: there is a picture without it
                pieces.append(data[start:at])
                start = end
            elif kind != b"PLTE" or pixels:
                raise ValueError(_UNREADABLE)
            at = end
    except struct.error:  # the file ends before its IEND
        raise ValueError(_UNREADABLE) from None
    if length or not pixels or end > len(data):
        raise ValueError(_UNREADABLE)
    return b"".join([*pieces, data[start:end]]) if pieces else data[:end]


def encode_pngs(frames: Sequence[Image] | Image) -> list[bytes]:
    """`encode_png` of every frame, on a few threads."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(encode_png, frames))


def decode_pngs(data: Iterable[bytes], out: Image) -> None:
    """`decode_png` of every item into out (N, H, W, 3), on a few threads; the number must match."""
    size = (out.shape[1], out.shape[2])

    def into(t: int, png: bytes) -> None:
        out[t] = decode_png(png, size)

    pngs = list(data)
    assert len(pngs) == len(out)
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(into, range(len(pngs)), pngs))


def resized(image: Image, size: tuple[int, int]) -> Image:
    """The image at another size (H, W), without aliasing (Lanczos); itself where it has that size."""
    if image.shape[:2] == tuple(size):
        return image
    from PIL import Image as pil

    return np.asarray(pil.fromarray(image).resize((size[1], size[0]), pil.Resampling.LANCZOS), np.uint8)
