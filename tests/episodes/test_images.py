"""Pictures that somebody else encoded: decoded whole, or refused in one line before a decoder sees them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest

import episodes.images as images
from episodes.images import decode_png, encode_png
from tests.helpers.made_pngs import animated, chunk, header, mutated, pixels, png

H, W = 16, 24
WHOLE = png(header(H, W), pixels(H, W), chunk(b"IEND"))
BROKEN = "an image is not a readable PNG"


@pytest.fixture(params=["OpenCV", "Pillow"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "Pillow":
        monkeypatch.setattr(images, "_cv2", lambda: None)


@pytest.fixture
def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No decoder may be reached: the pinned OpenCV writes outside its buffers on some of these."""

    def decoder() -> None:
        raise AssertionError("a decoder was asked")

    monkeypatch.setattr(images, "_cv2", decoder)


def between(*more: bytes) -> bytes:
    return png(header(H, W), *more, pixels(H, W), chunk(b"IEND"))


@pytest.mark.parametrize("rows", [1, H, H + 1, 40, 1600])
def test_an_animation_is_refused_before_it_is_decoded(rows: int, undecoded: None) -> None:
    with pytest.raises(ValueError, match="animated PNG; store one PNG a frame"):
        decode_png(animated(H, W, rows), (H, W))


REFUSED: dict[str, bytes] = {
    "only the frame's chunk": between(chunk(b"fcTL", bytes(26))),
    "animation data after the picture": png(header(H, W), pixels(H, W), chunk(b"fdAT", b"\0" * 9), chunk(b"IEND")),
    "a second header": between(header(H * 99, W * 99)),
    "a palette after the pixels": png(header(H, W), pixels(H, W), chunk(b"PLTE", b"abc"), chunk(b"IEND")),
    "an unknown chunk that the picture needs": between(chunk(b"ABCD", b"x")),
    "no pixels": png(header(H, W), chunk(b"IEND")),
    "no end": WHOLE[:-12],
    "cut inside the end": WHOLE[:-1],
    "cut inside the pixels": WHOLE[:60],
    "only a header": WHOLE[:33],
    "half a header": WHOLE[:26],
    "a length past the end": WHOLE[:33] + b"\x7f\xff\xff\xff" + WHOLE[37:],
    "a length of 4 GB": WHOLE[:33] + b"\xff" * 4 + WHOLE[37:],
    "an end with data": png(header(H, W), pixels(H, W), chunk(b"IEND", b"x")),
    "another file after eight bytes": WHOLE[:8] + b"GIF89a" * 20,
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_inconsistent_is_refused_before_it_is_decoded(data: bytes, undecoded: None) -> None:
    with pytest.raises(ValueError, match=r"an image is (not a readable|an animated) PNG"):
        decode_png(data, (H, W))


BAD_PIXELS: dict[str, Callable[[], bytes]] = {
    "half the rows": lambda: png(header(H, W), pixels(H // 2, W), chunk(b"IEND")),
    "no compressed data": lambda: png(header(H, W), chunk(b"IDAT"), chunk(b"IEND")),
    "other data": lambda: png(header(H, W), chunk(b"IDAT", b"abcdefg" * 9), chunk(b"IEND")),
    "a filter that there is not": lambda: png(
        header(H, W), chunk(b"IDAT", zlib.compress(b"\x09" * H * 73)), chunk(b"IEND")
    ),
    "three bits a sample": lambda: png(header(H, W, depth=3), pixels(H, W), chunk(b"IEND")),
    "a palette that is not there": lambda: png(header(H, W, colour=3), pixels(H, W), chunk(b"IEND")),
    "a flipped bit": lambda: WHOLE[:50] + bytes([WHOLE[50] ^ 1]) + WHOLE[51:],
}


@pytest.mark.parametrize("make", BAD_PIXELS.values(), ids=BAD_PIXELS.keys())
def test_pixels_that_are_not_all_there_are_refused(make: Callable[[], bytes]) -> None:
    with pytest.raises(ValueError, match=BROKEN):
        decode_png(make(), (H, W))


def test_what_belongs_to_no_picture_is_left_out(either: None) -> None:
    """Text, profiles, a note that turns the picture, bytes after the end: the pixels alone count."""
    bomb = zlib.compress(bytes(20 << 20), 9)
    turned = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # Exif: rotated by 90 degrees
    more = [(b"zTXt", b"a\0\0" + bomb), (b"iCCP", b"a\0\0" + bomb), (b"eXIf", turned), (b"gAMA", struct.pack(">I", 1))]
    rng = np.random.default_rng(0)
    square = rng.integers(0, 256, (H, H, 3)).astype(np.uint8)
    plain = encode_png(square)
    dressed = plain[:33] + b"".join(chunk(*part) for part in more) + plain[33:-12] + chunk(b"tEXt", b"a\0b")
    np.testing.assert_array_equal(decode_png(dressed + plain[-12:] + b"trailing" * 9, (H, H)), square)


def test_other_kinds_of_png_decode_to_the_same_rgb(either: None) -> None:
    """Grey, palette, alpha and interlaced files as other programs write them."""
    from io import BytesIO

    from PIL import Image

    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (H, W, 3)).astype(np.uint8)
    grey = rgb[..., 0]
    alpha = np.concatenate([rgb, grey[..., None]], -1)
    few = Image.fromarray(rgb).quantize(8)
    for picture, wanted in (
        (Image.fromarray(grey), np.stack([grey] * 3, -1)),
        (Image.fromarray(alpha), rgb),
        (few, np.asarray(few.convert("RGB"))),
    ):
        out = BytesIO()
        picture.save(out, "PNG", optimize=True)
        np.testing.assert_array_equal(decode_png(out.getvalue(), (H, W)), wanted)


def test_mutated_pictures_decode_or_are_refused() -> None:
    rng = np.random.default_rng(0)
    sources = [WHOLE, animated(H, W, 40), encode_png(rng.integers(0, 256, (H, W, 3)).astype(np.uint8))]
    for case in range(600):
        try:
            assert decode_png(mutated(sources[case % 3], rng), (H, W)).shape == (H, W, 3)
        except ValueError as error:
            assert str(error).startswith("an image is ") and "\n" not in str(error)
