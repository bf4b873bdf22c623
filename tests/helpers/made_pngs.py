"""PNG files put together chunk by chunk: whole ones, and ones that lie about themselves."""

from __future__ import annotations

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """One chunk with its length and its right CRC."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(height: int, width: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def pixels(rows: int, width: int, value: int = 65) -> bytes:
    """The IDAT chunk of `rows` rows of RGB, all of one value."""
    return chunk(b"IDAT", zlib.compress((b"\0" + bytes([value]) * (3 * width)) * rows, 9))


def png(*chunks: bytes) -> bytes:
    return SIGNATURE + b"".join(chunks)


def animated(height: int, width: int, rows: int, frames: int = 2) -> bytes:
    """A picture of height x width whose only frame says that it has `rows` rows, and brings them."""
    frame = struct.pack(">IIIIIHHBB", 0, width, rows, 0, 0, 1, 10, 0, 0)
    return png(
        header(height, width),
        chunk(b"acTL", struct.pack(">II", frames, 0)),
        chunk(b"fcTL", frame),
        pixels(rows, width),
        chunk(b"IEND"),
    )


def chunks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """(type, data) of every whole chunk."""
    found, at = [], len(SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        found.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three chunks changed, dropped, repeated, moved, renamed or added, with right CRCs most of the time."""
    parts = chunks_of(data)
    known = [b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"iCCP", b"zTXt", b"eXIf", b"gAMA"]
    for _ in range(int(rng.integers(1, 4))):
        at, what = int(rng.integers(len(parts) or 1)), int(rng.integers(7))
        if not parts:
            break
        kind, body = parts[at]
        if what == 0 and body:
            changed = bytearray(body)
            for place in rng.integers(0, len(body), int(rng.integers(1, 4))):
                changed[place] = int(rng.choice([0, 1, 2, 3, 4, 16, 127, 128, 255, int(rng.integers(256))]))
            parts[at] = (kind, bytes(changed))
        elif what == 1:
            del parts[at]
        elif what == 2:
            parts.insert(int(rng.integers(len(parts) + 1)), parts[at])
        elif what == 3:
            parts.insert(int(rng.integers(len(parts))), parts.pop(at))
        elif what == 4:
            parts[at] = (known[int(rng.integers(len(known)))], body)
        elif what == 5:
            sizes = [int(v) for v in rng.choice([0, 1, 4, 5, 16, 24, 1600, 2**16, 2**31 - 1], 5)]
            body = struct.pack(">I", int(rng.integers(4))) + zlib.compress(bytes(sizes[4] % 9999))
            if rng.integers(2):
                dispose = [int(v) for v in rng.integers(0, 3, 2)]
                body = struct.pack(">IIIIIHHBB", int(rng.integers(3)), *sizes[:4], 1, 10, *dispose)
            parts.insert(at, (known[int(rng.integers(5, 8))], body))
        else:
            parts[at] = (kind, body[: int(rng.integers(len(body) + 1))])
    out = bytearray(png(*(chunk(kind, body) for kind, body in parts)))
    if rng.integers(4) == 0 and len(out) > 40:
        at = int(rng.integers(8, len(out)))
        out[at] ^= 1 << int(rng.integers(8))
    return bytes(out[: int(rng.integers(len(out)))] if rng.integers(8) == 0 else out)
