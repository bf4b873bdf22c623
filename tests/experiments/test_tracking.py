"""A finished run is sent whole: losses, success, value metrics, videos."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from experiments.loop import tracking
from experiments.loop.schemas import RecapSimConfig


def run_folder(path: Path) -> Any:
    (path / "videos").mkdir(parents=True)
    row = {"method": "awr", "success": 0.5, "low": 0.2, "high": 0.8, "per_hour": 90.0, "n": 4}
    (path / "summary.json").write_text(json.dumps({"rows": [row]}))
    metrics = [{"name": "retry_voc", "mean": 0.3}, {"name": "success_gap", "mean": None}]
    (path / "value_metrics.json").write_text(json.dumps({"rows": metrics}))
    lines = [{"stage": "arms/awr", "step": 50, "loss": 0.4}, {"stage": "value/fold-0", "step": 50, "loss": 0.2}]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path / "videos" / "a.mp4").write_bytes(b"")
    index = [{"file": "a.mp4", "title": "Policy awr", "caption": "it succeeds"}]
    (path / "videos" / "index.json").write_text(json.dumps(index))
    return SimpleNamespace(path=path)


@pytest.mark.parametrize("kind", tracking.KINDS)
def test_everything_is_sent_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The calls that both have in common, on a stand-in: neither is needed by the tests."""
    sent: list[Any] = []
    module: Any = ModuleType(kind)
    module.__spec__ = SimpleNamespace(name=kind)
    module.init = lambda **facts: sent.append(facts)
    module.log = sent.append
    module.Video = lambda file, caption, format: (Path(file).name, caption, format)
    module.finish = lambda: sent.append("finished")
    monkeypatch.setitem(sys.modules, kind, module)
    tracking.track_run(run_folder(tmp_path / "run"), RecapSimConfig(track=f"{kind}:study", seed=3))
    first, *points, last = sent
    assert first["project"] == "study" and first["name"] == "run" and first["config"]["seed"] == 3
    assert points[0] == {"arms/awr/step": 50, "arms/awr/loss": 0.4} and len(points) == 4
    assert points[2]["awr/success"] == 0.5 and points[2]["value/retry_voc"] == 0.3
    assert "value/success_gap" not in points[2] and last == "finished"
    assert points[3] == {"videos/Policy awr": ("a.mp4", "it succeeds", "mp4")}


@pytest.mark.parametrize("track", ["trackio", "trackio:", "mlflow:a", ":a"])
def test_another_place_is_refused(track: str) -> None:
    with pytest.raises(ValueError, match=f"track={track}: give trackio:PROJECT"):
        tracking.destination(track)


def test_one_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"track=wandb:a: wandb is not installed; pip install .*\[wandb\]"):
        tracking.destination("wandb:a")
