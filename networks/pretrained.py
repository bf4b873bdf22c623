"""from_pretrained, save_pretrained and push_to_hub, as Hugging Face's models have them, for values and policies."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Self

from networks.hub import find_model


class Pretrained:
    """What is saved with `save(folder)` and read back with the class method `load(folder, device)`.

    Usage: ViVa.from_pretrained("owner/name", revision="v1"). Any kind: `load_value` and `load_policy`.
    """

    @classmethod
    def from_pretrained(cls, source: str | Path, revision: str = "", device: str = "cpu") -> Self:
        """Load from a folder or from a repository of the hub (owner/name, at a branch, tag or commit).

        Errors (ValueError): no such place, no key or no network, another kind, a damaged folder.
        """
        place = f"{source}@{revision}" if revision else str(source)
        load: Any = getattr(cls, "load", None)
        if getattr(cls, "__abstractmethods__", None):
            raise ValueError(f"{cls.__name__} is no kind of its own; load_value or load_policy takes any")
        if load is None:
            raise ValueError(f"{cls.__name__} has no weights of its own; make it from its settings")
        loaded: Self = load(find_model(place, cls.__name__).folder, device)
        return loaded

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs."""
        raise NotImplementedError

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write a new folder that others can load, whole and checked, with a model card; returns it."""
        from networks.sharing import CardFacts, save_pretrained

        folder = Path(folder)
        with tempfile.TemporaryDirectory(prefix="foresight-") as work:
            self.save(Path(work) / "model")
            return save_pretrained(Path(work) / "model", folder, CardFacts(title=folder.name))

    def push_to_hub(self, repo_id: str, private: bool = True, api: Any = None) -> str:
        """Upload as the hub repository owner/name, made if need be; returns the URL of its commit.

        The key is the hub library's own (`hf auth login`). Errors (ValueError): no network, no key, no right to write.
        """
        from networks.sharing import push_to_hub

        with tempfile.TemporaryDirectory(prefix="foresight-") as work:
            folder = self.save_pretrained(Path(work) / repo_id.rpartition("/")[2])
            return push_to_hub(folder, repo_id, private, api)
