"""What a run of the loop leaves for its page and later readers, and what it says at the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agents.extraction import labeller
from agents.summary import summarise
from episodes.files import copy_folder, write_atomic
from episodes.intervals import paired_bootstrap
from episodes.labels import Labels
from episodes.store import EpisodeStore
from episodes.store_index import named
from experiments.bench.sight import make_pairs, measure_sight
from experiments.loop.applied import said_of_applied
from experiments.loop.run_folder import RunFolder, write_json
from experiments.loop.schemas import RecapSimConfig
from experiments.loop.value_report import episode_facts, value_metrics, write_frames
from experiments.loop.videos import draw_run_videos

SIGHT_EPISODES, SIGHT_PAIRS = 8, 6  # demonstrations a fold, and pairs, on which the value's sight is probed: seconds


def write_results(
    run: RunFolder,
    settings: RecapSimConfig,
    store: EpisodeStore,
    values: Sequence[np.ndarray],
    value_folder: Path,
    rows: list[dict[str, Any]],
) -> None:
    """Write every file the report and later readers need: episodes, frames, metrics, videos, summary."""
    table = pa.Table.from_pylist(rows)
    write_atomic(run.path / "episodes.parquet", lambda beside: pq.write_table(table, beside))
    facts = episode_facts(store)
    made = [_labels(run.path, settings, store, values, method) for method in ("awr", "recap")]
    write_frames(run.path / "frames.parquet", facts, values, made)
    metrics = value_metrics(facts, values)
    held_out = "by models that had not seen the episode" if settings.folds > 1 else "on the episodes it was fitted on"
    if told := said_of_applied(settings.valuefn, store):
        held_out = f"by a saved value: {told}"
    write_json(
        run.path / "value_metrics.json",
        {
            "rows": metrics,
            "latents": settings.latents.name,
            "note": f"Values of {len(store)} episodes, scored {held_out}.",
        },
    )
    if not hasattr(settings.valuefn, "backend"):  # every answer of a vision-language model costs
        pairs = make_pairs(settings, SIGHT_PAIRS)
        progress = [fact["progress"] for fact in facts]
        sight = measure_sight(settings, store, values, progress, value_folder, SIGHT_EPISODES, pairs)
        write_json(run.path / "sight.json", sight)
    training = {f"value, {p.parent.name}": p for p in sorted(value_folder.glob("fold-*/metrics.jsonl"))}
    for source in sorted(run.path.glob("arms/*/train-*/metrics.jsonl")):
        k = int(source.parent.name.removeprefix("train-"))
        training[f"policy, {_row_name(source.parent.parent.name, k)}"] = source
    write_atomic(run.path / "metrics.jsonl", "".join(_staged(name, source) for name, source in training.items()))
    for fold in sorted(value_folder.glob("fold-*/config.json")):
        kept = run.path / "checkpoints" / "value" / fold.parent.name
        if not kept.exists():  # a run that was stopped after it
            copy_folder(fold.parent, kept)
    summary = [
        summarise(_row_name(name, k), part) | {"arm": name, "iteration": k} for (name, k), part in _by_arm(rows).items()
    ]
    best = sorted((row for row in summary if row["iteration"] == 0), key=lambda row: -(row["success"] or 0.0))
    draw_run_videos(
        run.path,
        settings,
        store,
        values,
        facts,
        value_folder,
        [(str(row["arm"]), row["success"] or 0.0) for row in best],
    )
    write_json(run.path / "summary.json", {"command": run.facts["command"], "seed": settings.seed, "rows": summary})


def _labels(
    run: Path, settings: RecapSimConfig, store: EpisodeStore, values: Sequence[np.ndarray], method: str
) -> Labels:
    """The labels that a method of the run was trained on; of one that was not run, those it would have been."""
    used = run / "arms" / method / "labels-0.parquet"
    return Labels.load(used, store) if used.exists() else labeller(method)(store, values, settings.labeller)


def _by_arm(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], list[dict[str, Any]]]:
    arms: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        arms.setdefault((row["arm"], row["iteration"]), []).append(row)
    return arms


def _row_name(arm: str, iteration: int) -> str:
    return arm if iteration == 0 else f"{arm}@{iteration + 1}"


def _staged(stage: str, source: Path) -> str:
    """The lines of a training's metrics.jsonl, each with the name of the stage it belongs to."""
    with named(source, "remove it, the report is written without its curve"):
        rows = [json.loads(line) for line in source.read_text().splitlines()]
        return "".join(json.dumps(row | {"stage": stage}) + "\n" for row in rows)


def sentence(row: dict[str, Any]) -> str:
    """One method's result as a line of text."""
    return (
        f"{row['method']:<14} {row['success']:.2f} [{row['low']:.2f}, {row['high']:.2f}]  "
        f"{row['per_hour']:6.0f} per hour  n={row['n']}"
    )


def gains(folder: Path) -> list[tuple[dict[str, Any], tuple[float, float, float] | None]]:
    """Each row of a run's summary with its paired difference to bc, mean, low and high; None where there is none."""
    rows = json.loads((folder / "summary.json").read_text())["rows"]
    episodes = _by_arm(pq.read_table(folder / "episodes.parquet").to_pylist())
    base = episodes.get(("bc", 0))
    found: list[tuple[dict[str, Any], tuple[float, float, float] | None]] = []
    for row, part in zip(rows, episodes.values(), strict=True):
        gain = None
        if base and part is not base and len(part) > 1:
            gain = paired_bootstrap([r["success"] for r in part], [r["success"] for r in base])
        found.append((row, gain))
    return found


def table(folder: Path) -> str:
    """The results of a run as text, with each method's paired difference to bc."""
    lines = [f"{'method':<14} {'success':>8} {'low':>6} {'high':>6} {'per_hour':>9} {'n':>4}   minus bc (paired, 95 %)"]
    for row, gain in gains(folder):
        line = f"{row['method']:<14} {row['success']:8.2f} {row['low']:6.2f} {row['high']:6.2f} "
        line += f"{row['per_hour']:9.0f} {row['n']:4d}"
        if gain is not None:
            line += f"   {gain[0]:+.2f} [{gain[1]:+.2f}, {gain[2]:+.2f}]"
        lines.append(line)
    return "\n".join(lines)
