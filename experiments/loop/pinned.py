"""The published checkpoints a run reads, each at the commit that its revision stands for when the run begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from agents.registry import POLICIES
from networks.hub import Found, find_model, locate
from networks.saved import found_policy, found_value
from networks.settings import LatentsConfig
from valuefns.registry import reads_latents
from valuefns.settings import SavedConfig, ServedConfig

NAMED = {
    "checkpoint": "revision",
    "tokenizer": "tokenizer_revision",
    "vision_checkpoint": "vision_revision",
    "language_checkpoint": "language_revision",
    "model": "revision",
}
"""Setting that names a published model -> the setting beside it that holds its revision."""

Facts = dict[str, dict[str, str]]
"""Where each checkpoint is named in the settings -> its source and commit, or the hashes of a local folder."""


def pin(settings: Any, known: Mapping[str, dict[str, str]] | None = None) -> tuple[Any, Facts]:
    """Return the settings with every hub revision replaced by its commit, and what the run records of them.

    known: the facts of an earlier part of the same run, whose commits are kept although a branch may have moved.
    A source that cannot be found is a ValueError of one line. Only what the settings use is looked up.
    """
    facts: Facts = {}
    return _pinned(settings, "", facts, known or {}), facts


def _pinned(value: Any, where: str, facts: Facts, known: Mapping[str, dict[str, str]]) -> Any:
    if isinstance(value, dict):
        return {k: _pinned(v, f"{where}.{k}".lstrip("."), facts, known) for k, v in value.items()}
    if not is_dataclass(value) or isinstance(value, type):
        return value
    names = {f.name for f in fields(value)}
    changes: dict[str, Any] = {}
    for name in names:
        if name == "latents" and "valuefn" in names and not reads_latents(getattr(value, "valuefn")):  # noqa: B009
            continue
        if isinstance(value, LatentsConfig) and name == "vae" and value.name != "wan_vae":
            continue
        changes[name] = _pinned(getattr(value, name), f"{where}.{name}".lstrip("."), facts, known)
    for name, revision in NAMED.items():
        remote = getattr(value, "kind", "local") != "local"  # a backend's model is the endpoint's own name then
        if name not in names or revision not in names or remote or not (source := getattr(value, name)):
            continue
        place, wanted = f"{where}.{name}".lstrip("."), getattr(value, revision)
        before = known.get(place, {})
        if before.get("source") == source and before.get("commit"):
            wanted = before["commit"]
        facts[place] = locate(source, wanted, what=place).facts()
        changes[revision] = facts[place].get("commit", getattr(value, revision))
    for name in ("init", *(("folder",) if isinstance(value, SavedConfig) else ())):
        if name in names and (source := getattr(value, name)):
            find = found_policy if isinstance(value, tuple(POLICIES.own.values())) else found_value
            find = find_model if isinstance(value, LatentsConfig) else find
            changes[name] = _saved(source, f"{where}.{name}".lstrip("."), facts, known, find)
    if isinstance(value, ServedConfig) and value.url:
        place = f"{where}.url".lstrip(".")
        wanted = value.content or known.get(place, {}).get("content", "")
        changes["content"] = _served(replace(value, content=wanted))
        facts[place] = {"source": value.url, "content": changes["content"]}
    changes = {k: v for k, v in changes.items() if v is not getattr(value, k)}
    return replace(value, **changes) if changes else value


def _saved(
    source: str, place: str, facts: Facts, known: Mapping[str, dict[str, str]], find: Callable[[str, str], Found]
) -> str:
    """A saved model with what it holds now, or held when the run began: FOLDER@CONTENT, owner/name@COMMIT."""
    before = known.get(place, {})
    name = source.partition("@")[0]
    if before.get("commit") and before.get("source") == name:
        source = f"{name}@{before['commit']}"
    elif before.get("content") and "@" not in source:
        source = f"{source}@{before['content']}"
    found = find(source, place)
    facts[place] = found.facts()
    return found.reference


def _served(config: ServedConfig) -> str:
    """The content of the value that a server has now; another than the run began with is a ValueError."""
    from valuefns.served import ServedValue

    return ServedValue(config).content
