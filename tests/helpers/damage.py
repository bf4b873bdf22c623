"""Ways to break a file of a small valid world: each makes a function of the folder that holds it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from agents.make import load_policy
from networks.checkpoint import save_module, save_tensors

HEADER, INDEX = "foresight/header.json", "meta/episodes/chunk-000/file-000.parquet"
DATA, FINAL = "data/chunk-000/file-001.parquet", "foresight/final/chunk-000/file-001.parquet"


def write(name: str, content: bytes | str) -> Callable[[Path], Any]:
    return lambda path: (path / name).write_bytes(content.encode() if isinstance(content, str) else content)


def remove(name: str) -> Callable[[Path], Any]:
    return lambda path: (path / name).unlink()


def replaced(pattern: str, make: Callable[[Path], object]) -> Callable[[Path], Any]:
    """Something else in place of the file that matches."""

    def damage(path: Path) -> None:
        (file,) = path.glob(pattern)
        file.unlink()
        make(file)

    return damage


def safetensors(facts: dict[str, str]) -> bytes:
    """A file without tensors, with facts about them."""
    header = json.dumps({"__metadata__": facts}).encode()
    return len(header).to_bytes(8, "little") + header


def cut(name: str, share: float = 0.5) -> Callable[[Path], Any]:
    return lambda path: (path / name).write_bytes((raw := (path / name).read_bytes())[: int(share * len(raw))])


def flip(name: str, where: float | bytes = 0.5) -> Callable[[Path], Any]:
    """Change one bit at a share of the file's length, or at the first place that holds these bytes."""

    def change(path: Path) -> None:
        raw = bytearray((path / name).read_bytes())
        raw[int(where * len(raw)) if isinstance(where, float) else raw.index(where)] ^= 1
        (path / name).write_bytes(raw)

    return change


def edit_json(name: str, **changes: Any) -> Callable[[Path], Any]:
    def change(path: Path) -> None:
        raw = json.loads((path / name).read_text()) | changes
        (path / name).write_text(json.dumps({k: v for k, v in raw.items() if v is not None}))

    return change


def edit_spec(**changes: Any) -> Callable[[Path], Any]:
    """A header as another program might have written it: without our checksum."""

    def change(path: Path) -> None:
        raw = json.loads((path / HEADER).read_text())
        raw = {"format": raw["format"], "version": raw["version"], "spec": raw["spec"] | changes}
        (path / HEADER).write_text(json.dumps(raw))

    return change


def edit_index(**changes: Any) -> Callable[[Path], Any]:
    def change(path: Path) -> None:
        table = pq.read_table(path / INDEX)
        rows = [row | changes for row in table.to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows, table.schema.remove_metadata()), path / INDEX)

    return change


def edit_labels(head: dict[str, Any] | None = None, **columns: Any) -> Callable[[Path], Any]:
    def change(path: Path) -> None:
        table = pq.read_table(path / "l.parquet")
        kept = json.loads(table.schema.metadata[b"foresight"]) | (head or {})
        if "content_hash" not in (head or {}):
            kept.pop("content_hash")
        data = {name: table[name].to_numpy() for name in table.column_names}
        data |= {name: np.full(len(table), value) for name, value in columns.items()}
        table = pa.table(data).replace_schema_metadata({"foresight": json.dumps(kept)})
        pq.write_table(table, path / "l.parquet")

    return change


def edit_tensors(name: str, edit: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], Any]:
    """Weights of something else, whole and with their own checksum."""

    def change(path: Path) -> None:
        tensors = load_file(path / name)
        edit(tensors)
        save_tensors(path / name, tensors, {})

    return change


def keep(path: Path) -> None:
    """Nothing is broken: the reader is asked for the wrong thing."""


def values(**arrays: Any) -> Callable[[Path], Any]:
    return lambda path: np.savez(path / "values.npz", **arrays)


def npz_member(path: Path) -> None:
    with zipfile.ZipFile(path / "values.npz", "w") as archive:
        archive.writestr("values.npy", b"\x93NUMPY\x01\x00v\x00{'descr': __import__('os')}")


def resave(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """A config.json that fits its weights' checksum, as another version of the program might write it."""
    config = json.loads((path / "config.json").read_text())
    policy: Any = load_policy(path)
    edit(config)
    save_module(path, policy.model, config)


def read_lines(path: Path) -> list[bytes]:
    return (path / "t.jsonl").read_bytes().split(b"\n")


def edit_line(path: Path, number: int, content: bytes) -> None:
    lines = read_lines(path)
    lines[number] = content
    (path / "t.jsonl").write_bytes(b"\n".join(lines))
