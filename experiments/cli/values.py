"""A value by where it is, as a word of any command: valuefn=FOLDER, owner/name of the hub, ws://host:port."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from experiments.loop.schemas import CONF

_CHOICE = re.compile(r"(?P<head>[+~]*)valuefn(?:@(?P<package>[\w.]+))?=(?P<value>.+)")


def value_words(words: Sequence[str]) -> list[str]:
    """The words with every value that is a place spelled out: valuefn=saved valuefn.folder=PLACE.

    A place is a folder, or has a slash, as a hub id does; `value=...` and `value.KEY=...` mean valuefn.
    """
    result: list[str] = []
    for word in words:
        word = re.sub(r"^value([.=])", r"valuefn\1", word)
        found = _CHOICE.fullmatch(word)
        if found is None:
            result.append(word)
            continue
        value, key = found["value"].strip("'\""), found["package"] or "valuefn"
        kind, setting = of_place(value)
        if not kind:
            result.append(word)
            continue
        package = f"@{found['package']}" if found["package"] else ""
        result += [f"{found['head']}valuefn{package}={kind}", f"{key}.{setting}='{value}'"]
    return result


def of_place(value: str) -> tuple[str, str]:
    """The value that a place stands for and the setting that takes it; two empty texts where it is a name."""
    if "," in value or (Path(CONF) / "valuefn" / f"{value}.yaml").exists():
        return "", ""
    if value.startswith(("ws://", "wss://")):
        return "served", "url"
    if value.startswith(("http://", "https://")):
        return "reward_server", "url"
    return ("saved", "folder") if "/" in value or Path(value).is_dir() else ("", "")
