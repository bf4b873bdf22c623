"""What a policy server reads: one request of one client, checked before the policy sees it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import numpy as np

from episodes.files import one_line
from episodes.frames import fitted
from episodes.types import MAX_PIXELS, EnvSpec, Observation
from episodes.wire import unpack

MAX_PROMPT = 4096  # characters
REMEMBERED = 4096  # first requests


class Refused(Exception):
    """A request that cannot be answered; its text goes to the client."""


def decode(data: str | bytes, spec: EnvSpec, resize: bool = False) -> tuple[Observation, int | None]:
    """The request in one message; Refused or ValueError: what is wrong with it."""
    return read_request(unpack(data), spec, resize)


def read_request(message: Any, spec: EnvSpec, resize: bool = False) -> tuple[Observation, int | None]:
    """The observation of a request, and the seed where an episode begins; Refused: what is missing or wrong.

    resize: fit pictures of another size than the policy's, their shape kept and the rest black.
    """
    if not isinstance(message, dict):
        raise Refused(f"request is {type(message).__name__}, expected a dict")
    images = {}
    for camera in spec.cameras:
        image = message.get(f"observation/{camera}")
        if image is None:
            there = [key for key in message if isinstance(key, str)]
            raise Refused(one_line(f"observation/{camera} is missing, the request has {', '.join(there) or 'nothing'}"))
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise Refused(f"observation/{camera} is {_described(image)}, expected uint8 (H, W, 3)")
        if not 1 <= min(image.shape[:2]) <= max(image.shape[:2]) <= MAX_PIXELS:
            raise Refused(f"observation/{camera} is {_described(image)}; sides of 1 to {MAX_PIXELS} pixels are read")
        if image.shape[:2] != spec.image_size and not resize:
            sizes = [f"{height}x{width}" for height, width in (image.shape[:2], spec.image_size)]
            raise Refused(
                f"observation/{camera} is {sizes[0]}, the policy was made for {sizes[1]}; send that size, or start the "
                "server with resize=true"
            )
        images[camera] = fitted(image[None], spec.image_size)[0]
    state = message.get("observation/state")
    if not isinstance(state, np.ndarray) or state.dtype.kind != "f" or state.shape != (spec.proprio_dim,):
        raise Refused(f"observation/state is {_described(state)}, expected float ({spec.proprio_dim},)")
    with np.errstate(over="ignore"):
        proprio = state.astype(np.float32)
    if not np.isfinite(proprio).all():
        raise Refused("observation/state is not finite in float32")
    prompt, seed = message.get("prompt"), message.get("seed")
    if not isinstance(prompt, str):
        raise Refused(f"prompt is {_described(prompt)}, expected text")
    if len(prompt) > MAX_PROMPT:
        raise Refused(f"prompt has {len(prompt)} characters; at most {MAX_PROMPT} are read")
    if seed is not None and (type(seed) is not int or not 0 <= seed < 2**63):
        raise Refused(one_line(f"seed is {seed!r:.40}, expected a whole number from 0"))
    return Observation(images, proprio, prompt), seed


def _described(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


class FirstSeeds:
    """The noise seeds of clients that send none (openpi's own): from a connection's first request.

    It depends on the request's bytes and on how often the same first request came before, so that what other clients
    send changes nothing, and two that see the same have noise of their own.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    def seed(self, data: str | bytes) -> int:
        """The seed of a connection whose first request is `data`."""
        key = hashlib.sha256(data.encode() if isinstance(data, str) else data).digest()
        times = self._seen.pop(key, 0)
        self._seen[key] = times + 1
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return int.from_bytes(hashlib.sha256(key + times.to_bytes(8, "big")).digest()[:8], "big") >> 1
