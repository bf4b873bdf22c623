"""The table over seeds that ends a sweep."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments.cli import run as cli
from experiments.loop.over_seeds import table_over_seeds


def made_run(folder: Path, seed: int, bc: float, awr: float, title: str = "Lift") -> Path:
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"title": title, "seed": seed}))
    rows = [
        {"arm": arm, "iteration": 0, "seed": 900 + t, "success": t < share * 20}
        for arm, share in (("bc", bc), ("awr", awr)) for t in np.random.default_rng(0).permutation(20)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "episodes.parquet")
    return folder


def test_every_method_has_its_mean_its_seeds_and_its_difference(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / str(s), s, bc, awr) for s, bc, awr in ((0, 0.5, 0.8), (1, 0.4, 0.9), (2, 0.6, 0.7))]
    other = made_run(tmp_path / "other", 0, 0.1, 0.2, "Stack")
    head, _, bc, awr = table_over_seeds([*runs, other]).splitlines()
    assert head == "Lift, data seeds 0, 1, 2"
    assert bc.split()[:2] == ["bc", "0.50"] and bc.endswith("0.50 0.40 0.60")
    assert awr.split()[:2] == ["awr", "0.80"] and "0.80 0.90 0.70   +0.30 [+" in awr


def test_a_sweep_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def ran(_: object, config: dict) -> Path:
        seed = config["seed"]
        return made_run(tmp_path / str(seed), seed, 0.5, 0.8)

    monkeypatch.setattr(cli, "_work", ran)
    cli.main(["recap", "+sweep=seeds"])
    said = capsys.readouterr().out
    assert "data seeds 0, 1, 2" in said and said.strip().splitlines()[-1].startswith("awr")
