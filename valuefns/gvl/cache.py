"""Answers kept on disk, addressed by everything that made them; one small json file each."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from episodes.files import write_atomic
from episodes.store_index import named
from valuefns.gvl.questions import Answer

_FORMAT, _VERSION = "foresight-vlm-answer", 1


class AnswerCache:
    """Answers by the SHA-256 of their question and of what answered it; an empty folder name keeps nothing.

    A file is written in one step when its answer arrives, so an interrupted run has every answer it was given. Images
    are stored as hashes. Errors: a damaged file is a ValueError naming it; it is never taken for an answer.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder) if folder else None

    @staticmethod
    def key(asked: dict[str, Any]) -> str:
        """What a question is kept under: the SHA-256 of all it depends on."""
        return hashlib.sha256(json.dumps([_VERSION, asked], sort_keys=True).encode()).hexdigest()

    def get(self, key: str) -> Answer | None:
        """The answer kept under a key; None where there is none."""
        path = self._path(key)
        if path is None or not path.exists():
            return None
        with named(path, "remove this file and the question is asked again"):
            raw = json.loads(path.read_bytes())
            if not isinstance(raw, dict) or (raw.get("format"), raw.get("version")) != (_FORMAT, _VERSION):
                raise ValueError(f"not a {_FORMAT} file of version {_VERSION}")
            if raw.get("key") != key or self.key(raw.get("asked")) != key:  # type: ignore[arg-type]
                raise ValueError("its question is not the one its name says")
            if raw.get("answer_sha256") != _sum(raw.get("answer")):
                raise ValueError("its answer is not what was written: the file was changed or damaged")
            return Answer(**raw["answer"])
        return None

    def put(self, key: str, asked: dict[str, Any], answer: Answer) -> None:
        """Keep an answer with its question."""
        path = self._path(key)
        if path is not None:
            content = asdict(answer)
            record = {"format": _FORMAT, "version": _VERSION, "key": key, "asked": asked, "answer": content}
            write_atomic(path, json.dumps(record | {"answer_sha256": _sum(content)}, indent=1))

    def _path(self, key: str) -> Path | None:
        return self.folder / key[:2] / f"{key}.json" if self.folder else None


def _sum(answer: Any) -> str:
    return hashlib.sha256(json.dumps(answer, sort_keys=True).encode()).hexdigest()
