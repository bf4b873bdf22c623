"""Messages of the openpi websocket protocol: msgpack, with numpy arrays as maps. Nothing that is read can run code.

An array is {b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [2, 3]} (C order), a numpy scalar
{b"__npgeneric__": True, b"data": number, b"dtype": "<f4"}; keys may be bytes or text. Source: openpi-client.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

REMOTE_EXTRA = "pip install -e .[remote]"
KINDS = "biufSU"  # of numpy: numbers, and fixed-length bytes or text; objects and records are refused
MAX_MESSAGE = 64 << 20  # bytes of one message


def pack(message: Any) -> bytes:
    """One message as bytes; ValueError: an array of a kind other than numbers and text."""
    return _msgpack().packb(message, default=_encode)  # type: ignore[no-any-return]


def unpack(data: str | bytes) -> Any:
    """The message of `pack` or of an openpi server; ValueError where it is none."""
    if not isinstance(data, bytes) or len(data) > MAX_MESSAGE:
        raise ValueError(f"message is {type(data).__name__} of {len(data)}, expected at most {MAX_MESSAGE} bytes")
    try:
        return _msgpack().unpackb(data, object_hook=_decode)
    except ValueError as error:
        raise ValueError(f"message of {len(data)} bytes is not msgpack with arrays ({error})") from error
    except Exception as error:  # msgpack's own errors have no common base
        raise ValueError(f"message of {len(data)} bytes is not msgpack ({type(error).__name__}: {error})") from error


def _msgpack() -> Any:
    try:
        import msgpack
    except ImportError as error:
        raise ImportError(f"remote policies need msgpack; install it with: {REMOTE_EXTRA}") from error
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
