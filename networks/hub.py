"""Where a published model lies: a local folder, or a hub repository at a commit that is known and recorded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from episodes.files import one_line, sha256_file

_COMMIT = re.compile(r"[0-9a-f]{40}")
_CONTENT = re.compile(r"[0-9a-f]{64}")
SAVED = ("config.json", "model.safetensors")
"""What a model that was trained here consists of, in its folder and in the folders below it."""


@dataclass(frozen=True)
class Found:
    """A published model on this machine."""

    source: str  # as the settings name it
    folder: Path
    commit: str  # 40 hexadecimal digits of a hub repository; empty for a local folder
    content: str = ""  # SHA-256 of the files of a local folder, where it was asked for

    @property
    def reference(self) -> str:
        """The source with what it holds, for `find_model`: owner/name@COMMIT or FOLDER@CONTENT."""
        return f"{self.source}@{self.commit or self.content}"

    def facts(self) -> dict[str, str]:
        """What a run records of it: the commit, or for a local folder its path and the hashes of its json files."""
        if self.commit:
            return {"source": self.source, "commit": self.commit}
        if self.content:
            return {"source": str(self.folder.resolve()), "content": self.content}
        described = [p for p in (*self.folder.glob("*.json"), *self.folder.glob("*/*.json")) if p.is_file()]
        hashes = {str(p.relative_to(self.folder)): sha256_file(p) for p in sorted(described)}
        return {"source": str(self.folder.resolve())} | hashes


def locate(
    source: str, revision: str = "main", patterns: Sequence[str] = ("*.json",), what: str = "checkpoint"
) -> Found:
    """Find `source`: a folder as it is, a hub id as a snapshot of the files that match `patterns`, fetched if need be.

    The revision (branch, tag or commit) is turned into the commit it stands for. Errors: a source that is neither a
    folder nor can be fetched is a ValueError of one line that says why and how to go on without a network.
    """
    if Path(source).is_dir():
        return Found(source, Path(source), "")
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise ValueError(one_line(f"{what} {source!r}: no such folder; name a folder or a hub id (owner/name)"))
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(source, revision=revision, allow_patterns=list(patterns)))
    except Exception as error:  # no network, no such repository or revision, a licence not accepted, a full disk
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            one_line(
                f"{what} {source!r} (revision {revision}): {line[:200]}; without a network name a local folder that "
                "holds it, or fetch it elsewhere with `hf download` and copy its cache"
            )
        ) from None
    assert _COMMIT.fullmatch(folder.name), f"{folder} is no snapshot of a commit"
    return Found(source, folder, folder.name)


def model_content(folder: Path) -> str:
    """The hexadecimal SHA-256 of a saved model's settings and weights: equal for models that compute the same."""
    digest = hashlib.sha256()
    for path in sorted(p for name in SAVED for p in folder.rglob(name)):
        digest.update(f"{path.relative_to(folder)} {sha256_file(path)}".encode())
    return digest.hexdigest()


def place_of(source: str | Path) -> tuple[str, str]:
    """A place and what is asked for behind an @: a content or a revision; empty where there is none."""
    place, at, wanted = str(source).rpartition("@")
    return (place, wanted) if at and not Path(source).is_dir() else (str(source), "")


def is_hub_id(source: str) -> bool:
    """Whether a text that names no folder here can be a repository: owner/name, and no folder `owner` is here."""
    place, _ = place_of(source)
    return place.count("/") == 1 and not place.startswith((".", "/", "~")) and not Path(place.split("/")[0]).is_dir()


def find_model(source: str | Path, what: str = "model") -> Found:
    """Find a model that was saved here: FOLDER, FOLDER@CONTENT, owner/name or owner/name@REVISION (of the hub).

    Errors (ValueError): no such place, or a folder whose content is no longer the one that was asked for.
    """
    place, wanted = place_of(source)
    if not Path(place).is_dir():
        return locate(place, wanted or "main", [f"*{name}" for name in SAVED], what)
    if wanted and not _CONTENT.fullmatch(wanted):
        raise ValueError(one_line(f"{what} {source}: of a folder no revision can be asked for; leave out @{wanted}"))
    content = model_content(Path(place))
    if wanted not in ("", content):
        raise ValueError(
            one_line(
                f"{what} {place}: its content is {content[:12]}, not {wanted[:12]}; it was changed since then: restore "
                "it, or begin anew with what is there"
            )
        )
    return Found(place, Path(place), "", content)
