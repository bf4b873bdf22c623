"""Where a published model lies: a local folder, or a hub repository at a commit that is known and recorded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from episodes.files import one_line, sha256_file

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Found:
    """A published model on this machine."""

    source: str  # as the settings name it
    folder: Path
    commit: str  # 40 hexadecimal digits of a hub repository; empty for a local folder

    def facts(self) -> dict[str, str]:
        """What a run records of it: the commit, or for a local folder its path and the hashes of its json files."""
        if self.commit:
            return {"source": self.source, "commit": self.commit}
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
