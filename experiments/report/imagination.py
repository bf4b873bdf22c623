"""Imagined beside executed motion: a video of an episode, and similarity against success over trials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from episodes.files import write_atomic
from episodes.types import Episode
from experiments.models.imagination import Dream
from experiments.report.video import draw_video


def draw(path: Path, episode: Episode, dreams: Sequence[Dream], scores: Sequence[Any], view: str, stride: int) -> None:
    """What happened and, of the same moment, what was last imagined; below, the similarity of that plan."""
    T = len(episode)
    latest = [max(k for k, d in enumerate(dreams) if d.step <= t) for t in range(T)]
    imagined = np.stack([dreams[k].video[(t - dreams[k].step) // stride] for t, k in enumerate(latest)])
    known = {step: score for step, score, _ in scores}
    curve = [known.get(dreams[k].step, np.nan) for k in latest]
    ending = "succeeds" if episode.success else "fails"
    draw_video(
        path, [episode.images[view][:T], imagined], curve, title=f"happened | imagined; it {ending}", fps=episode.hz
    )


def plot(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A point per trial, and the success rate of each third of them in order of similarity."""
    from matplotlib.figure import Figure

    known = sorted((r["similarity"], r["success"]) for r in rows if r["similarity"] is not None)
    figure = Figure(figsize=(5, 3), dpi=150)
    axes = figure.subplots()
    rng = np.random.default_rng(0)
    for success, colour in ((True, "#029e73"), (False, "#d55e00")):
        x = [s for s, won in known if won == success]
        axes.scatter(x, success + rng.uniform(-0.04, 0.04, len(x)), color=colour, s=18, alpha=0.7, linewidths=0)
    for part in np.array_split(np.array(known, float).reshape(-1, 2), 3):
        if len(part):
            axes.plot([part[0, 0], part[-1, 0]], [part[:, 1].mean()] * 2, color="#0173b2", linewidth=2)
    axes.set_xlabel("similarity of imagined and executed motion (mean cosine)")
    axes.set_yticks([0, 1], ["fails", "succeeds"])
    axes.set_ylim(-0.15, 1.15)
    axes.set_xlim(-1.05, 1.05)
    axes.set_title(f"{len(known)} of {len(rows)} trials are defined; blue: success rate by thirds", fontsize=8)
    figure.tight_layout()
    write_atomic(path, lambda beside: figure.savefig(beside, format="png"))
