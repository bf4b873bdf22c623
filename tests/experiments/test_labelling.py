"""Labels that are taken up where they were left: what lies there may be damaged, or somebody else's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from episodes.labels import Labels
from episodes.registry import Named
from episodes.store import EpisodeStore
from experiments.data.label_report import named_labels
from experiments.data.labelling import chosen_value, label
from tests.helpers.made_lift import made_store

HEADS = [b"", b"[1]", b"{}", b'{"failed": 1}', b'{"failed": {"x": "y"}}', b"[" * 100_000, b'{"failed": {"0": "x"}}']
PARTS = [[], [1], [None], [[1]], [[[1]]], [{"a": 1}], "nan", "inf", "1e300", "short"]


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    return made_store(tmp_path / "store", 2, 1)


@pytest.mark.parametrize("content", HEADS)
def test_a_damaged_head_of_labels_is_refused_by_name(store: EpisodeStore, content: bytes) -> None:
    value, value_hash = chosen_value(Named("clock"), 0, "cpu")
    _, path, failed = label(store, value, value_hash)
    assert not failed
    head = path.with_suffix(".json")
    head.write_bytes(content)
    with pytest.raises(ValueError, match=path.stem) as refused:
        label(store, value, value_hash)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=f"{path.stem}.json: .*label the store again"):
        list(named_labels(path, Labels.load(path, store), store, ["awr"]))


@pytest.mark.parametrize("content", PARTS, ids=str)
def test_a_damaged_part_of_labels_is_refused_by_name(store: EpisodeStore, content: Any) -> None:
    value, value_hash = chosen_value(Named("clock"), 0, "cpu")
    _, path, _ = label(store, value, value_hash)
    path.unlink()
    lengths = [row["length"] for row in store.index]
    if isinstance(content, str):
        numbers = {"nan": "NaN", "inf": "Infinity", "1e300": "1e300", "short": "0.5"}[content]
        content = [[0.5] * (n - (content == "short")) for n in lengths]
        text = json.dumps(content).replace("0.5", numbers)
    else:
        text = json.dumps(content)
    part = path.with_suffix(".part-00000.json")
    part.write_text(text)
    with pytest.raises(ValueError, match=f"{part.name}: .*delete it and label again") as refused:
        label(store, value, value_hash)
    assert "\n" not in str(refused.value)
    part.unlink()
    label(store, value, value_hash)
