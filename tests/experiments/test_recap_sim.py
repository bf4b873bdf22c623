"""The main job through every stage, at the smallest size: real physics, real models, the real report."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from agents.make import policy_content
from episodes.labels import POSITIVE, Labels
from episodes.store import EpisodeStore
from tests.helpers.recap_command import command


@pytest.mark.slow
def test_every_stage_leaves_its_files_and_a_second_run_uses_the_cache(tmp_path: Path) -> None:
    first = command(tmp_path, "corrections=true")
    assert first.returncode == 0, first.stderr[-3000:]
    (run,) = (tmp_path / "runs" / "recap_sim").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    assert [r["method"] for r in summary["rows"]] == ["bc", "bc@2", "recap", "recap@2"]
    assert all(
        set(r) == {"method", "arm", "iteration", "success", "low", "high", "per_hour", "n"} and r["n"] == 2
        for r in summary["rows"]
    )
    assert "recap_sim.py" in summary["command"] and summary["seed"] == 99
    episodes = pq.read_table(run / "episodes.parquet").to_pylist()
    seeds = {(e["arm"], e["iteration"]): [] for e in episodes}
    for e in episodes:
        seeds[e["arm"], e["iteration"]].append(e["seed"])
    assert len({tuple(s) for s in seeds.values()}) == 1  # every method is tested on the same seeds
    frames = pq.read_table(run / "frames.parquet")
    assert {"value", "progress", "oracle", "segment", "advantage", "indicator", "weight"} <= set(frames.column_names)
    used = Labels.load(run / "arms" / "recap" / "labels-0.parquet").columns["indicator"]
    assert frames["indicator"].to_pylist() == used.tolist(), "the page shows the labels that the policy learned from"
    assert not list(run.rglob("rows.json")), "a trial is in its ledger and in episodes.parquet"
    facts = json.loads((run / "run.json").read_text())
    assert facts["finished"] and set(facts["stages"]) == {"collect", "labels", "value", "policies", "report"}
    page = (run / "report.html").read_text()
    assert "recap@2" in page and "patch_pca" in page and "<video" in page and "Does the value look?" in page
    sight = json.loads((run / "sight.json").read_text())
    measured = {row["name"]: row["n"] for row in sight["rows"]}
    assert measured["black_change"] == 8 and measured["left_lower"] == 6 and sight["looks"] in ("yes", "partly", "no")
    assert list((run / "checkpoints").rglob("*.safetensors")) and not list(run.rglob("*.pkl"))

    own = EpisodeStore.open(run / "arms" / "recap" / "store")
    corrected = [episode for episode in own if episode.provenance.iteration == 1]
    assert {e.provenance.policy for e in corrected} == {policy_content(run / "arms" / "recap" / "policy-0")}
    assert len(corrected) == 2 and all(episode.intervention[-1] for episode in corrected)  # six steps teach nothing
    labels = Labels.load(run / "arms" / "recap" / "labels-1.parquet")
    assert (labels.column("indicator", len(own) - 1)[corrected[-1].intervention] == POSITIVE).all()

    again = command(tmp_path, "corrections=true")
    assert again.returncode == 0, again.stderr[-3000:]
    runs = sorted((tmp_path / "runs" / "recap_sim").iterdir())
    assert len(runs) == 2  # a finished run is not continued
    assert json.loads((runs[1] / "run.json").read_text())["stages"]["collect"] < facts["stages"]["collect"] / 3
    assert json.loads((runs[1] / "summary.json").read_text())["rows"] == summary["rows"]  # same seed, same numbers
