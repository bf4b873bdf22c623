"""The pictures of one camera as a series that need not fit in memory, and pictures fitted to another size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from episodes.images import resized

BLOCK = 16 * 2**20  # raw bytes of the pictures that are in memory at a time
Pictures = npt.NDArray[np.uint8]


class Frames:
    """n pictures uint8 (n, H, W, 3) that are made, in blocks, each time they are drawn.

    An Episode holds it where an array would not fit; a store writes it block by block. `np.asarray` makes all of them.
    Errors: `draw` that gives another number or size of pictures is a ValueError when they are drawn.
    """

    ndim, dtype = 4, np.dtype(np.uint8)

    def __init__(self, n: int, size: tuple[int, int], draw: Callable[[], Iterator[Pictures]]) -> None:
        self.shape = (n, *size, 3)
        self._draw = draw

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes that all pictures take."""
        return int(np.prod(self.shape))

    def blocks(self) -> Iterator[Pictures]:
        """The pictures in order, uint8 (k, H, W, 3) with some k >= 1."""
        drawn = 0
        for block in self._draw():
            if block.dtype != np.uint8 or block.shape[1:] != self.shape[1:]:
                raise ValueError(f"pictures are {block.dtype} {block.shape[1:]}, expected uint8 {self.shape[1:]}")
            drawn += len(block)
            if drawn > len(self):
                break
            yield block
        if drawn != len(self):
            raise ValueError(f"{drawn} pictures, expected {len(self)}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        made = np.empty(self.shape, np.uint8)
        start = 0
        for block in self.blocks():
            made[start : start + len(block)] = block
            start += len(block)
        return made if dtype is None else made.astype(dtype)


def blocks(pictures: Pictures | Frames) -> Iterator[Pictures]:
    """The pictures (n, H, W, 3) of an array or of Frames, block by block."""
    if isinstance(pictures, Frames):
        yield from pictures.blocks()
        return
    step = block_length(pictures.shape[1], pictures.shape[2])
    for start in range(0, len(pictures), step):
        yield pictures[start : start + step]


def block_length(height: int, width: int) -> int:
    """How many pictures of this size make a block."""
    return max(1, BLOCK // (height * width * 3))


def letterbox(size: tuple[int, int], into: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where a picture of `size` (H, W) lies in one of `into`, its shape kept: (top, left, height, width)."""
    share = min(into[0] / size[0], into[1] / size[1])
    h, w = max(1, round(size[0] * share)), max(1, round(size[1] * share))
    return (into[0] - h) // 2, (into[1] - w) // 2, h, w


def fitted(pictures: Pictures, into: tuple[int, int]) -> Pictures:
    """Pictures (k, H, W, 3) at the size `into`, their shape kept and what is left over black; equal sizes: as they are.

    Without aliasing (Lanczos), as `episodes.images.resized`.
    """
    size = (pictures.shape[1], pictures.shape[2])
    if size == into:
        return pictures
    top, left, h, w = letterbox(size, into)
    made = np.zeros((len(pictures), *into, 3), np.uint8)
    for picture, out in zip(pictures, made, strict=True):
        out[top : top + h, left : left + w] = resized(picture, (h, w))
    return made


def fitted_facts(size: tuple[int, int], into: tuple[int, int]) -> dict[str, list[int]]:
    """What an episode's `extra` says of a resizing: the size before, the size after, and (top, left, height, width)."""
    return {"from": list(size), "to": list(into), "at": list(letterbox(size, into))}
