"""A stage whose result is kept: it says where, how it is made and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from episodes.files import make_once

T = TypeVar("T")


def cached(place: Path, last: str, make: Callable[[Path], object], load: Callable[[Path], T]) -> T:
    """What `load(place)` reads, after `make(place)` where it was not made before; `last` is the file made last."""
    make_once(place, (place / last).exists, lambda: make(place))
    return load(place)
