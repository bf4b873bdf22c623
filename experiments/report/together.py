"""Several values on one episode, as ViVa's figures 4 to 7 show them: its pictures, and every model's curve below."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from episodes.files import write_atomic
from episodes.store import Episodes
from experiments.loop.run_folder import write_json
from experiments.report.files import listed_pictures
from experiments.report.svg import style
from experiments.report.value_plot import value_figure
from valuefns.bench.annotations import KINDS
from valuefns.bench.scorecard import ModelScores

MODELS = 4  # curves in one figure


def draw_together(run: Path, store: Episodes, results: Sequence[ModelScores]) -> None:
    """Write together/*.png and index.json: of every kind the episode on which the models of `results` differ most.

    Nothing is written for fewer than two models.
    """
    several = list(results)[:MODELS]
    if len(several) < 2:
        return
    position = {row["episode_index"]: i for i, row in enumerate(store.index)}
    entries = []
    for kind in KINDS:
        found = _most_different(several, kind)
        if found is None:
            continue
        number, curves, truth = found
        figure = value_figure(store[position[number]], curves, truth, "")
        content = io.BytesIO()
        with style():
            FigureCanvasAgg(figure)
            figure.savefig(content, format="png", dpi=150, facecolor="white")
        name = f"{kind}-{number}.png"
        write_atomic(run / "together" / name, content.getvalue())
        said = f"{kind.capitalize()}, episode {number}, on which these values differ most; thin: the truth."
        entries.append({"file": name, "title": f"{kind}, episode {number}", "caption": said})
    write_json(run / "together" / "index.json", entries)


def pictures_together(run: Path) -> list[dict[str, Any]]:
    """The figures with their pictures as data URIs; one whose file is gone is left out."""
    rows = []
    for row in listed_pictures(run / "together"):
        path = run / "together" / row["file"]
        if path.is_file():
            source = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
            rows.append({**row, "source": source})
    return rows


def _most_different(results: Sequence[ModelScores], kind: str) -> tuple[int, dict[str, np.ndarray], np.ndarray] | None:
    """The episode of a kind with the largest mean difference between two models: its number, curves and truth."""
    by_model = [{s.annotation.episode: s for s in result.episodes if s.annotation.kind == kind} for result in results]
    common = sorted(set.intersection(*(set(found) for found in by_model)))
    if not common:
        return None

    def spread(number: int) -> float:
        curves = np.stack([found[number].predicted for found in by_model])
        return float(np.nanmean(curves.max(0) - curves.min(0)))

    number = max(common, key=spread)
    curves = {result.model: found[number].predicted for result, found in zip(results, by_model, strict=True)}
    truth = by_model[0][number].truths["simulator" if kind == "failure" else "annotated"]
    return number, curves, truth
