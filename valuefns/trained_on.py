"""Which episodes a saved value has learned from, and which of a store's are among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from episodes.store import Episodes
from networks.checkpoint import load_config

LENGTH = 16
"""Hexadecimal digits of an episode's content hash that are kept."""


def names_of(store: Episodes) -> tuple[str, ...]:
    """The episodes of a store by content, the same wherever they lie and however they are grouped."""
    return tuple(str(row["content_sha256"])[:LENGTH] for row in store.index)


def trained_on(raw: dict[str, Any]) -> tuple[str, ...] | None:
    """The episodes that a value's config.json names; None where it does not say (saved before, or by others)."""
    names = raw.get("trained_on")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("its trained_on is not a list of episodes")
    return tuple(names)


def seen_episodes(known: tuple[str, ...] | None, store: Episodes) -> list[int] | None:
    """The episode indices of a store that are among the `known`; None where these are not known."""
    if known is None:
        return None
    among = set(known)
    return [row["episode_index"] for row, name in zip(store.index, names_of(store), strict=True) if name in among]


def said_of(folder: Path, store: Episodes) -> str:
    """What the value saved in a folder has to do with the episodes of a store, in words."""
    raw = load_config(folder)
    known = trained_on(raw)
    seen = seen_episodes(known, store)
    if seen is None or known is None:
        return f"what the {raw.get('kind')} value in {folder} was trained on is not known"
    told = f"none of these {len(store)}" if not seen else f"{len(seen)} of these {len(store)} are among them"
    return f"the {raw.get('kind')} value in {folder} was trained on {len(known)} episodes, {told}"
