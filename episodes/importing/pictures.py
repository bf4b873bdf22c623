"""One encoded picture of somebody else's, PNG or JPEG: checked before a decoder makes room for it, colour alone."""

from __future__ import annotations

import io
import struct
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from episodes.images import decode_png
from episodes.importing.reading import Fault, inside_path

_GREY = {0: "grey", 4: "grey with alpha"}
_OTHERS = {b"RIFF": "WebP", b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
PNG = b"\x89PNG\r\n\x1a\n"


def decoded(data: bytes, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """RGB uint8 (H, W, 3) of PNG or JPEG bytes; grey or 16-bit pictures, another size or damage are a Fault."""
    if data.startswith(PNG):
        if len(data) >= 26 and data[25] in _GREY:
            raise Fault("not_rgb", f"a picture is {data[24]}-bit {_GREY[data[25]]}")
        if len(data) >= 26 and data[24] == 16:
            raise Fault("codec", "a picture has 16 bits a colour")
        if len(data) >= 24 and struct.unpack(">II", data[16:24]) != size[::-1]:
            raise Fault("video_size", _size(struct.unpack(">II", data[16:24])[::-1], size))
        try:
            return decode_png(data, size)
        except ValueError:
            raise Fault("picture", "a picture is not a readable PNG") from None
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data, size)
    if kind := next((kind for start, kind in _OTHERS.items() if data.startswith(start)), ""):
        raise Fault("codec", f"a picture is {kind}, neither PNG nor JPEG")
    raise Fault("picture", "a picture is neither PNG nor JPEG" if data else "a picture is missing")


def _jpeg(data: bytes, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            if picture.size != size[::-1]:  # before a decoder makes room for what the file says it holds
                raise Fault("video_size", _size(picture.size[::-1], size))
            if picture.mode != "RGB":
                raise Fault("not_rgb", f"a picture is {'grey' if picture.mode == 'L' else picture.mode}")
            return np.asarray(picture.convert("RGB"))
    except Fault:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # Pillow's words for a broken JPEG
        raise Fault("picture", "a picture is not a readable JPEG") from None


def _size(found: tuple[int, ...], said: tuple[int, int]) -> str:
    return f"a picture is {found[0]}x{found[1]}, the metadata says {said[0]}x{said[1]}"


def from_path(root: Path, text: str, key: str, episode: int) -> bytes:
    """The bytes of a picture that a row names by its path: in the dataset, or where LeRobot keeps an episode's.

    Of an absolute path (of the machine that recorded) the file's name counts alone.
    """
    if not text:
        return b""
    name = PurePosixPath(text).name
    no_path = Fault("codec", f"a picture is the text {text[:20]!r}, not bytes or a path")
    if max(map(len, PurePosixPath(text).parts)) > 255:
        raise no_path
    episodes = (f"{key}/episode_{episode:06d}", f"{key}/episode-{episode:06d}", f"{key}_episode_{episode:06d}")
    places = [inside_path(root, f"images/{folder}/{name}") for folder in episodes]
    if not PurePosixPath(text).is_absolute():
        places.insert(0, inside_path(root, text))
    for place in places:
        if place.is_file():
            return place.read_bytes()
    raise Fault("missing", f"the picture {name} is missing") if PurePosixPath(name).suffix else no_path
