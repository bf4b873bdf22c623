"""Messages of the openpi websocket protocol: msgpack, with numpy arrays as maps. Nothing that is read can run code.

An array is {b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [2, 3]} (C order), a numpy scalar
{b"__npgeneric__": True, b"data": number, b"dtype": "<f4"}; keys may be bytes or text. Source: openpi-client.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from episodes.extras import install

REMOTE_EXTRA = install("remote")
KINDS = "biufSU"  # of numpy: numbers, and fixed-length bytes or text; objects and records are refused
MAX_MESSAGE = 64 << 20  # bytes of one message
MAX_VALUES = 10_000  # in one message; an array is five of them, whatever its size
_AFTER = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4,
          0xD3: 8, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}  # fmt: skip
"""Bytes that follow a type of fixed size."""
_LENGTH = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2,
           0xDF: 4}  # fmt: skip
"""Bytes of the length of a type that has one: data, extensions, texts, lists, maps."""


def pack(message: Any) -> bytes:
    """One message as bytes; ValueError: an array of a kind other than numbers and text."""
    return _msgpack().packb(message, default=_encode)  # type: ignore[no-any-return]


def unpack(data: str | bytes) -> Any:
    """The message of `pack` or of an openpi server; ValueError where it is none."""
    if not isinstance(data, bytes) or len(data) > MAX_MESSAGE:
        raise ValueError(f"message is {type(data).__name__} of {len(data)}, expected at most {MAX_MESSAGE} bytes")
    try:
        _count(data)
        return _msgpack().unpackb(data, object_hook=_decode)
    except ValueError as error:
        raise ValueError(f"message of {len(data)} bytes is not msgpack with arrays ({error})") from error
    except Exception as error:  # msgpack's own errors have no common base
        raise ValueError(f"message of {len(data)} bytes is not msgpack ({type(error).__name__}: {error})") from error


def _count(data: bytes) -> None:
    """A ValueError where a message has more than MAX_VALUES values: they are made one by one, and others wait."""
    at, left, seen = 0, 1, 0
    while left and at < len(data):
        kind, left, seen = data[at], left - 1, seen + 1
        at += 1
        if 0x80 <= kind <= 0x9F:
            left += (kind & 15) * (2 if kind <= 0x8F else 1)
        elif 0xA0 <= kind <= 0xBF:
            at += kind & 31
        elif kind in _LENGTH:
            size = _LENGTH[kind]
            n = int.from_bytes(data[at : at + size], "big")
            at += size
            if kind >= 0xDC:
                left += n * (2 if kind >= 0xDE else 1)
            else:
                at += n + (1 if 0xC7 <= kind <= 0xC9 else 0)
        else:
            at += _AFTER.get(kind, 0)
        if left + seen > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES} values")


def _msgpack() -> Any:
    try:
        import msgpack
    except ImportError as error:
        raise ImportError(f"messages need msgpack; install it with: {REMOTE_EXTRA}") from error
    return msgpack


def _encode(value: Any) -> Any:
    if not isinstance(value, (np.ndarray, np.generic)):
        raise ValueError(f"message: cannot send a {type(value).__name__}; send numbers, text, lists, dicts or arrays")
    if value.dtype.kind not in KINDS:
        raise ValueError(f"message: cannot send an array of {value.dtype}; send numbers")
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}


def _decode(raw: dict[Any, Any]) -> Any:
    values = {key.decode() if isinstance(key, bytes) else key: value for key, value in raw.items()}
    if "__ndarray__" not in values and "__npgeneric__" not in values:
        return raw
    dtype, data = _dtype(values.get("dtype")), values.get("data")
    if "__npgeneric__" in values:
        return dtype.type(data)
    shape = values.get("shape")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 32:
        raise ValueError(f"shape of an array is {shape!r}")
    if not isinstance(data, bytes) or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of {dtype} {shape} does not fit its data")
    return np.frombuffer(data, dtype).reshape(shape).copy()


def _dtype(name: Any) -> np.dtype[Any]:
    name = name.decode() if isinstance(name, bytes) else name
    if not isinstance(name, str) or len(name) > 16:
        raise ValueError(f"dtype of an array is {name!r:.40}")
    try:
        dtype = np.dtype(name)
    except TypeError as error:
        raise ValueError(f"dtype of an array is {name!r}") from error
    if dtype.kind not in KINDS or dtype.itemsize < 1:
        raise ValueError(f"dtype of an array is {name!r}; only numbers and text are read")
    return dtype
