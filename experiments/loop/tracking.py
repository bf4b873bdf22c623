"""A finished run where people look: Trackio on this machine, or Weights & Biases; both speak the same few calls."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from episodes.extras import install
from experiments.loop.run_folder import RunFolder
from experiments.loop.schemas import RecapSimConfig

KINDS = ("trackio", "wandb")


def destination(track: str) -> tuple[str, str]:
    """(module, project) of `track=trackio:PROJECT` or `track=wandb:PROJECT`; anything else is a ValueError."""
    kind, _, project = track.partition(":")
    if kind not in KINDS or not project:
        raise ValueError(f"track={track}: give trackio:PROJECT (a dashboard on this machine) or wandb:PROJECT")
    if find_spec(kind) is None:
        raise ValueError(f"track={track}: {kind} is not installed; {install(kind)}")
    return kind, project


def track_run(run: RunFolder, settings: RecapSimConfig) -> None:
    """Send losses, value metrics, success of every method and videos of a run that has its results.

    It happens once, at the end, so that a run that is continued is not there twice. No key is in the settings.
    """
    kind, project = destination(settings.track)
    module: Any = import_module(kind)
    module.init(project=project, name=run.path.name, config=_settings(settings))
    for line in (run.path / "metrics.jsonl").read_text().splitlines():
        point = json.loads(line)
        stage = point.pop("stage")
        module.log({f"{stage}/{name}": number for name, number in point.items()})
    module.log(final_numbers(run.path))
    videos = json.loads((run.path / "videos" / "index.json").read_text())
    for video in videos:
        file = str(run.path / "videos" / video["file"])
        module.log({f"videos/{video['title']}": module.Video(file, caption=video["caption"], format="mp4")})
    module.finish()


def final_numbers(run: Path) -> dict[str, float]:
    """What a run comes to: success with its interval and per hour of every method, and the value's metrics."""
    numbers: dict[str, float] = {}
    for row in json.loads((run / "summary.json").read_text())["rows"]:
        numbers |= {f"{row['method']}/{name}": row[name] for name in ("success", "low", "high", "per_hour", "n")}
    for row in json.loads((run / "value_metrics.json").read_text())["rows"]:
        if row["mean"] is not None:
            numbers[f"value/{row['name']}"] = row["mean"]
    return numbers


def _settings(settings: RecapSimConfig) -> dict[str, Any]:
    plain = json.loads(json.dumps(asdict(settings), default=str))
    assert isinstance(plain, dict)
    return plain
