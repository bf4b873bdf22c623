"""`write_bench_report`: the value benchmark's page from the files of its run folder alone, and its videos."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from episodes.files import write_atomic
from episodes.store import Episodes
from experiments.bench.files import load_scores
from experiments.loop.run_folder import write_json
from experiments.report import bench_plots, facts, plots
from experiments.report.files import listed_videos
from experiments.report.page import embedded_videos
from experiments.report.svg import inline_svg
from experiments.report.templates import render
from experiments.report.together import draw_together, pictures_together
from experiments.report.video import axis_limits, draw_video
from valuefns.bench.annotations import KINDS
from valuefns.bench.scorecard import ModelScores, Scored, worst

PROBES = ("constant", "clock", "random", "oracle")  # not what the page's curves and videos are about


def shown_models(results: Sequence[ModelScores]) -> list[ModelScores]:
    """The models that are no probes, or all where there are only probes."""
    return [r for r in results if r.model not in PROBES] or list(results)


def worst_of_each_kind(result: ModelScores, each: int) -> list[tuple[float, Scored]]:
    """The `each` worst episodes of every kind, kinds in the order of KINDS."""
    ranked = worst(result)
    return [pair for kind in KINDS for pair in [p for p in ranked if p[1].annotation.kind == kind][:each]]


def segments_of(scored: Scored) -> list[str]:
    """The annotated segments as one label per frame (T,)."""
    a, T = scored.annotation, len(scored.predicted)
    names = ["advance"] * T
    for s in a.segments:
        names[s.m : s.n + 1] = [s.type] * len(names[s.m : s.n + 1])
    return names


def _truth(scored: Scored) -> np.ndarray:
    """WVM's curve; for failures, which have none, the simulator's progress."""
    return scored.truths["simulator" if scored.annotation.kind == "failure" else "annotated"]


def _panel(scored: Scored) -> tuple[str, dict[str, np.ndarray]]:
    a, T = scored.annotation, len(scored.predicted)
    said = f"{a.task.removeprefix('pick_place_')} {a.group or a.kind}".strip()
    columns: dict[str, Any] = {
        "episode": [a.episode] * T, "frame": np.arange(T), "variant": [said] * T, "success": [scored.success] * T,
        "segment": segments_of(scored), "value": scored.predicted, "oracle": scored.truths["annotated"],
        "progress": scored.truths["simulator"],
    }  # fmt: skip
    return a.kind, {name: np.array(column) for name, column in columns.items()}


def draw_bench_videos(run: Path, store: Episodes, results: Sequence[ModelScores], count: int) -> None:
    """Write videos/*.mp4 and index.json: the worst episodes of each kind under the first models, value over truth."""
    entries = []
    models = shown_models(results)[:2]
    chosen = [s for r in models for _, s in worst_of_each_kind(r, 1 + count // (len(models) * len(KINDS)))]
    limits = axis_limits([curve for s in chosen for curve in (s.predicted, _truth(s))]) if chosen else None
    position = {row["episode_index"]: i for i, row in enumerate(store.index)}
    for result in models:
        pairs = worst_of_each_kind(result, 1 + count // (len(models) * len(KINDS)))[: max(1, count // len(models))]
        for error, scored in pairs if count else []:
            a = scored.annotation
            episode = store[position[a.episode]]
            name = f"{result.model}-{a.episode}.mp4"
            frames = [images[: len(episode)] for images in episode.images.values()]
            title = f"{result.model}: {a.task} {a.group or a.kind}, episode {a.episode}"
            draw_video(
                run / "videos" / name,
                frames,
                scored.predicted,
                _truth(scored),
                title,
                scored.hz,
                segments_of(scored),
                limits,
            )
            against = "the simulator's progress" if a.kind == "failure" else "WVM's curve"
            caption = f"Error {error:.2f}. Blue: {result.model}; thin: {against}."
            entries.append({"file": name, "title": title, "caption": caption})
    write_json(run / "videos" / "index.json", entries)
    several = shown_models(results)
    if len(several) < 2:  # a single model beside what it must beat
        several = [*several, *(r for r in results if r not in several and r.model in ("constant", "clock"))]
    draw_together(run, store, several)


def write_bench_report(run: Path) -> Path:
    """Build `run`/report.html from the files of a value benchmark's run folder and return its path."""
    facts_of_run = json.loads((run / "run.json").read_text())
    heads = json.loads((run / "summary.json").read_text())["rows"]
    measures = json.loads((run / "metrics.json").read_text())["rows"]
    results = [load_scores(run / "models" / row["model"]) for row in heads]
    names = list(dict.fromkeys(m["name"] for m in measures))
    what = {m["name"]: m["what"] for m in measures}
    cells = {(m["model"], m["name"]): m for m in measures}
    curves: list[tuple[str, Markup]] = []
    for result in shown_models(results):
        panels = [_panel(scored) for _, scored in worst_of_each_kind(result, 4)]
        if panels:
            figure = plots.value_curves(panels, "WVM's curve", same_units=True)
            alt = f"Value of {result.model} against truth in its worst episodes"
            curves.append((result.model, inline_svg(figure, f"curves-{len(curves)}", alt)))
    lengths = [len(s.predicted) / s.hz for s in results[0].episodes] if results else []
    kinds = {k: sum(s.annotation.kind == k for s in results[0].episodes) for k in KINDS} if results else {}
    html = render(
        "bench.html",
        {"number": _number, "duration": facts.duration},
        run=facts_of_run,
        stamp=run.resolve().name,
        heads=heads,
        names=names,
        what=what,
        cells=cells,
        card=inline_svg(bench_plots.scorecard(heads), "card", "Headline measures of every model with 95 % intervals"),
        curves=curves,
        failures=[f for result in results for f in result.failures],
        together=pictures_together(run),
        videos=embedded_videos(run, listed_videos(run / "videos")),
        environment=json.loads((run / "environment.json").read_text()),
        seconds=float(np.mean(lengths)) if lengths else 0.0,
        kinds=kinds,
    )
    write_atomic(run / "report.html", html)
    return run / "report.html"


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
