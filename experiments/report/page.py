"""`write_report`: one self-contained report.html from the files of a run folder, without the model or the simulator."""

from __future__ import annotations

import base64
import io
import math
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from episodes.files import write_atomic
from experiments.report import facts, plots
from experiments.report.files import RunFiles, read_run
from experiments.report.labels import kept_figure
from experiments.report.sight import sight_table
from experiments.report.svg import inline_svg
from experiments.report.templates import render

INLINE_BYTES = 8_000_000  # videos put into the page itself; those past it are linked beside it
LOSS_PANELS = 24


def write_report(run_dir: Path) -> Path:
    """Build `run_dir`/report.html from the files of the run folder alone and return its path.

    A file that is not there leaves a sentence in its section; the same files give the same bytes. Raises ValueError,
    one line that names the file, where one is malformed.
    """
    files = read_run(Path(run_dir))
    filters: dict[str, Any] = {"percent": facts.percent, "number": facts.number, "duration": facts.duration}
    filters["count"] = _count
    html = render("page.html", filters, interval=facts.interval, between=facts.between, **_context(files))
    path = files.folder / "report.html"
    write_atomic(path, html)
    return path


def _context(files: RunFiles) -> dict[str, Any]:
    run = files.run or {}
    rows = facts.ranked(files.summary or [])
    plain = facts.baseline(rows)
    stages = {str(name): float(seconds) for name, seconds in run.get("stages", {}).items()}
    environment = {k: v for k, v in (files.environment or {}).items() if k != "packages" and v not in ({}, [], "")}
    return {
        "title": str(run.get("title") or files.folder.resolve().parent.name or "run"),
        "stamp": files.folder.resolve().name,
        "run": run,
        "files": files,
        "seconds": sum(stages.values()),
        "headline": facts.headline(rows, files.episodes) if rows else None,
        "rows": rows,
        "best": facts.best(rows),
        "plain": plain,
        "pairs": [facts.pair(row, plain, files.episodes) if plain else None for row in rows],
        "variants": facts.variants(files.frames) if files.frames else [],
        "environment": environment,
        "packages": sorted((files.environment or {}).get("packages", {}).items()),
        "value": files.value_metrics,
        "starved": [row for row in files.label_report or [] if row["starved"]],
        "sight": sight_table(files.sight),
        "videos": embedded_videos(files.folder, files.videos),
        "steps": next_steps(files, facts.best(rows)),
        "total_frames": len(files.frames["frame"]) if files.frames else 0,
        **_figures(files, rows, stages),
    }


def next_steps(files: RunFiles, best: facts.Row | None) -> list[tuple[str, str]]:
    """What a reader may do next: (wish, command or line of Python)."""
    run, command = files.folder, str((files.run or {}).get("command") or "foresight recap")
    steps = [("see whether it holds for other seeds", f"{command} +sweep=seeds")] if "+sweep" not in command else []
    if best is not None:
        policy = run / "arms" / str(best.get("arm", best["method"])) / f"policy-{best.get('iteration', 0)}"
        steps += [
            ("act with the best policy", f'policy = foresight.load_policy("{run}")'),
            ("serve it to a robot or simulator", f"foresight serve {policy}"),
            ("give it to others", f"foresight share {policy} folder=NEW_FOLDER"),
        ]
    steps += [
        ("score a video with the value", f'value = foresight.load_value("{run}")'),
        ("measure the value by itself", "foresight bench models=[viva,constant,clock,oracle]"),
        ("compare every method on every value", "foresight study"),
    ]
    return steps


def _figures(files: RunFiles, rows: list[facts.Row], stages: dict[str, float]) -> dict[str, Any]:
    """The figures that the files allow, as inline SVG; None (or "") for the others."""

    def draw(name: str, figure: Figure, alt: str) -> Markup:
        return inline_svg(figure, name, alt)

    out: dict[str, Any] = dict.fromkeys(("success", "paired", "curves", "kept", "advantages", "loss", "times"))
    out["more_losses"] = 0
    if rows:
        said = "; ".join(f"{r['method']} {facts.percent(r['success'])}" for r in rows)
        out["success"] = draw("success", plots.success_bars(rows), f"Episodes solved with 95 % intervals: {said}")
    if files.episodes is not None and len(files.episodes["seed"]):
        order = [row["method"] for row in rows]
        lines = facts.outcomes(files.episodes)
        lines.sort(key=lambda line: order.index(line.label) if line.label in order else len(order))
        said = "; ".join(f"{a.label} {a.success.sum()} of {len(a.keys)}" for a in lines)
        out["paired"] = draw("paired", plots.paired_matrix(lines), f"Trials solved by each method: {said}")
    if files.frames is not None and len(files.frames["frame"]):
        shown = facts.shown_episodes(files.frames)
        said = ", ".join(f"{e['episode'][0]} ({e['variant'][0] or kind})" for kind, e in shown)
        out["curves"] = draw("curves", plots.value_curves(shown), f"Value against truth in episodes {said}")
        out["advantages"] = draw(
            "advantages", plots.advantage_histograms(files.frames), "Histograms of the advantage by segment label"
        )
    curves = _loss_curves(files.metrics or [])
    if files.label_report:
        said = "; ".join(f"{r['labels']} {facts.percent(r['kept'], 0)}" for r in files.label_report if r["by"] == "all")
        out["kept"] = draw("kept", kept_figure(files.label_report), f"Share of all steps kept: {said}")
    if curves:
        first = dict(list(curves.items())[:LOSS_PANELS])
        out["loss"] = draw("loss", plots.losses(first), f"Training loss of {', '.join(first)}")
        out["more_losses"] = len(curves) - len(first)
    if stages:
        said = ", ".join(f"{name} {facts.duration(s)}" for name, s in stages.items())
        out["times"] = draw("times", plots.stage_times(stages), f"Time of each stage: {said}")
    return out


def _loss_curves(lines: list[dict[str, Any]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Steps and losses by stage; a step logged twice (a run that was continued) keeps its last loss."""
    curves: dict[str, dict[float, float]] = {}
    for line in lines:
        if isinstance(line.get("loss"), (int, float)):
            curve = curves.setdefault(str(line.get("stage", "training")), {})
            step = line.get("step")
            curve[step if isinstance(step, (int, float)) else len(curve)] = line["loss"]
    return {
        stage: (np.array(sorted(curve), float), np.array([curve[s] for s in sorted(curve)], float))
        for stage, curve in curves.items()
    }


def embedded_videos(folder: Path, rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Each video with its source: a data URI up to INLINE_BYTES in all, then a relative link; None for a lost file."""
    left, out = INLINE_BYTES, []
    for row in rows:
        path = folder / "videos" / row["file"]
        source, poster, size = None, None, (1, 1)
        if path.exists():
            poster, size = _poster(path)
            content = path.read_bytes()
            if len(content) <= left:
                left -= len(content)
                source = "data:video/mp4;base64," + base64.b64encode(content).decode()
            else:
                source = f"videos/{row['file']}"
        out.append(
            {**row, "source": source, "poster": poster, "size": size, "inline": (source or "").startswith("data:")}
        )
    return out


def _poster(path: Path) -> tuple[str, tuple[int, int]]:
    """The last picture, its value curve complete, as a JPEG data URI (what print shows), and its (width, height)."""
    import av

    try:
        with av.open(str(path)) as container:
            last = deque(container.decode(video=0), maxlen=1)
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"{path}: not readable as a video ({' '.join(str(error).split())}); remove it") from error
    if not last:
        raise ValueError(f"{path}: a video without a picture; remove it")
    buffer = io.BytesIO()
    image = last[0].to_image()
    image.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), image.size


def _count(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.0f}"
