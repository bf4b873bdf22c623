"""`plot_value`: the values of one episode as curves under its pictures, as a picture or a video."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from episodes.files import atomic
from episodes.types import SEGMENTS, Episode
from experiments.report.plots import WIDTH, shade
from experiments.report.svg import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, RED, SEGMENT_COLOURS, style

PICTURES = 8  # above the curves
COLOURS = (BLUE, RED, PURPLE, GREEN, ORANGE)  # segments are shaded in some of them: the first two differ most
KINDS = (".png", ".svg", ".pdf", ".mp4", ".gif")


def plot_value(
    episode: Episode,
    values: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    out: str | Path,
    *,
    truth: npt.ArrayLike | None = None,
    camera: str = "",
) -> Path:
    """Draw the value of every frame of an episode under its pictures into the file `out`, and return its path.

    values: (T + 1,), or (T,) without the final observation's; several as {name: array}, on one axis. truth: in the
    same units, drawn thin. camera: whose pictures (default: the first). out: .png, .svg, .pdf; or .mp4 or .gif, a video
    of every camera with the first value growing below. ValueError: another length, an unknown camera or kind of file.
    """
    out, T = Path(out), len(episode)
    named = dict(values) if isinstance(values, Mapping) else {"value": values}
    curves = {name: _curve(curve, T, name) for name, curve in named.items()}
    if not curves:
        raise ValueError("plot_value: no values; give (T + 1,), or {name: (T + 1,)}")
    if out.suffix not in KINDS:
        raise ValueError(f"plot_value: {out} is no {', '.join(KINDS)}; give the file one of these endings")
    if camera and camera not in episode.images:
        raise ValueError(f"plot_value: no camera {camera!r}; the episode has {', '.join(episode.images)}")
    thin = None if truth is None else _curve(truth, T, "truth")
    if out.suffix in (".mp4", ".gif"):
        from experiments.report.video import draw_video

        first, curve = next(iter(curves.items()))
        views = [np.asarray(v)[: len(curve)] for v in episode.images.values()]
        return draw_video(out, views, curve, None if thin is None else thin[: len(curve)], first, episode.hz)
    figure = value_figure(episode, curves, thin, camera)
    with atomic(out) as beside, style():
        figure.savefig(beside, format=out.suffix[1:], dpi=160, facecolor="white")
    return out


def value_figure(
    episode: Episode, curves: Mapping[str, npt.NDArray[np.float64]], truth: npt.NDArray[np.float64] | None, camera: str
) -> Figure:
    """The figure of `plot_value`: pictures at equal distances in time, the curves over seconds below them."""
    frames = episode.images[camera or next(iter(episode.images))] if episode.images else None
    hz, T = episode.hz, len(episode)
    with style():
        figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
        below: Any = figure
        if frames is not None:
            parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.9))
            above, below = parts
            moments = np.linspace(0, T, min(PICTURES, T + 1)).round().astype(int)
            for ax, t in zip(above.subplots(1, len(moments), squeeze=False)[0], moments):
                ax.imshow(frames[t])
                ax.set_title(f"{t / hz:.1f} s", fontsize=7.5, color=MUTED, loc="center")
                ax.set_axis_off()
        ax = below.subplots()
        labels = [SEGMENTS[s] for s in episode.segments]
        if set(labels) - {"unlabelled"}:
            shade(ax, np.arange(T) / hz, np.array(labels, object))
            for name in [s for s in SEGMENTS if s in labels]:
                ax.bar(0, 0, color=SEGMENT_COLOURS[name], label=name)
        if truth is not None:
            ax.plot(np.arange(len(truth)) / hz, truth, color=INK, linewidth=0.9, label="truth")
        for i, (name, curve) in enumerate(curves.items()):
            ax.plot(np.arange(len(curve)) / hz, curve, color=COLOURS[i % len(COLOURS)], linewidth=1.7, label=name)
        known = np.concatenate([*curves.values(), truth if truth is not None else np.empty(0)])
        known = known[np.isfinite(known)]
        low, high = (min(0.0, known.min()), max(1.0, known.max())) if len(known) else (0.0, 1.0)
        ax.set(xlim=(0, T / hz), ylim=(low - 0.1 * (high - low), high + 0.04 * (high - low)))
        ax.set(xlabel="seconds", ylabel="value")
        ax.grid(axis="y")
        ax.set_axisbelow(True)
        if len(curves) > 1 or truth is not None or set(labels) - {"unlabelled"}:
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=6, borderaxespad=0.2, handlelength=1.4)
        said = f"{episode.instruction} ({'solved' if episode.success else 'not solved'})"
        if episode.provenance.env_id == "video":
            said = episode.instruction  # nobody said how a video ends
        figure.suptitle(said, x=0.01, ha="left", fontsize=9)
    return figure


def _curve(values: npt.ArrayLike, T: int, name: str) -> npt.NDArray[np.float64]:
    curve = np.asarray(values, float)
    if curve.shape not in ((T,), (T + 1,)):
        raise ValueError(f"plot_value: {name} has shape {curve.shape} for {T} steps; give ({T + 1},) or ({T},)")
    return curve
