"""A model's scores in a run folder: curves.npz (every frame) and scores.json (every episode), written and read back."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from episodes.files import write_atomic
from episodes.settings import from_json
from episodes.store_index import named
from experiments.loop.run_folder import read_json, write_json
from valuefns.bench.annotations import Annotation
from valuefns.bench.scorecard import Drop, Failure, ModelScores, Scored

TRUTHS = ("annotated", "oracle", "simulator")
_WAY_OUT = "delete the model's folder and run the same command again"


def saved(folder: Path) -> bool:
    """Whether a model's scores are there, whole."""
    return (folder / "scores.json").exists()  # the last file that save_scores writes


def save_scores(folder: Path, result: ModelScores) -> None:
    """Write the curves, then the scores; an undefined score is null."""
    scored = result.episodes
    columns = {name: _joined([s.truths[name] for s in scored]) for name in TRUTHS}
    lengths = np.array([len(s.predicted) for s in scored], np.int64)
    content = io.BytesIO()  # a zip file that could not be written complains once more when it is forgotten
    np.savez_compressed(content, lengths=lengths, predicted=_joined([s.predicted for s in scored]), **columns)
    write_atomic(folder / "curves.npz", content.getvalue())
    rows = [{"annotation": asdict(s.annotation), "scores": s.scores, "success": s.success, "hz": s.hz} for s in scored]
    failures = [asdict(f) for f in result.failures]
    head: dict[str, Any] = {"model": result.model, "fps": result.fps, "history": result.history}
    head["pairs"] = [asdict(pair) for pair in result.pairs]
    write_json(folder / "scores.json", head | {"episodes": rows, "failures": failures})


def load_scores(folder: Path) -> ModelScores:
    """Read what `save_scores` wrote; a damaged file is a ValueError that names it."""
    raw = read_json(folder / "scores.json", dict, _WAY_OUT)
    with named(folder / "curves.npz", _WAY_OUT), np.load(folder / "curves.npz", allow_pickle=False) as file:
        ends = np.cumsum(file["lengths"])[:-1]
        curves = {name: np.split(file[name].astype(np.float64), ends) for name in ("predicted", *TRUTHS)}
    with named(folder / "scores.json", _WAY_OUT):
        if len(raw["episodes"]) not in (0, len(curves["predicted"])):
            raise ValueError(f"{len(raw['episodes'])} episodes, curves of {len(curves['predicted'])}")
        scored = [_scored(row, {name: curves[name][i] for name in curves}) for i, row in enumerate(raw["episodes"])]
        failures = [from_json(Failure, f) for f in raw["failures"]]
        pairs = [from_json(Drop, pair) for pair in raw.get("pairs", [])]
        return ModelScores(raw["model"], scored, failures, raw["fps"], raw["history"], pairs)


def _scored(row: dict[str, Any], curves: dict[str, np.ndarray]) -> Scored:
    scores = {name: float("nan") if value is None else float(value) for name, value in row["scores"].items()}
    truths = {name: curves[name] for name in TRUTHS}
    return Scored(
        from_json(Annotation, row["annotation"]), curves["predicted"], truths, scores, row["success"], row["hz"]
    )


def _joined(curves: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.float32), *curves]).astype(np.float32)
