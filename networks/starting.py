"""Training that starts from a saved model: whether the model that is asked for is the same but for its training."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from episodes.files import one_line

_SOURCE = re.compile(r"(\w+_)?(checkpoint|revision)")
"""Settings that say where weights once came from: a saved model has them in its own folder."""


def require_same_model(saved: Any, asked: Any, free: Collection[str], what: str) -> None:
    """A ValueError naming the first setting in which the saved model and the one that is asked for differ.

    saved, asked: two settings of one dataclass. free: the names of those that only a training reads.
    """
    old, new = asdict(saved), asdict(asked)
    found = _first({k: v for k, v in old.items() if k not in free}, {k: v for k, v in new.items() if k not in free}, "")
    if found:
        name, was, now = found
        raise ValueError(
            one_line(f"{what}: it was made with {name}={was}, asked for is {name}={now}; set {name}={was}")
        )


def _first(old: Any, new: Any, name: str) -> tuple[str, Any, Any] | None:
    if isinstance(old, dict) and isinstance(new, dict):
        parts = (_first(old[k], new[k], f"{name}.{k}".lstrip(".")) for k in old if not _SOURCE.fullmatch(k))
        return next((part for part in parts if part), None)
    return None if old == new else (name, old, new)
