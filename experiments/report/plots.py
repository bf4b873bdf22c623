"""The figures of a run's report; every function returns a matplotlib Figure, `svg.inline_svg` puts it on the page."""

from __future__ import annotations

import math
from itertools import pairwise, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from episodes.types import SEGMENTS
from experiments.report.facts import Outcomes, baseline, duration, percent, wrong
from experiments.report.files import Columns
from experiments.report.svg import BLUE, GREY, INK, MUTED, RED, RULE, SEGMENT_COLOURS, style

WIDTH = 7.9  # inches; the text column of the page


def _shorten(text: str, length: int = 34) -> str:
    """Leave out the middle: the ends of a name tell arms and iterations apart."""
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


def _grid(count: int, columns: int, height: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in rows of at most `columns`; unused places stay empty."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(WIDTH, rows * height), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05))
    axes = figure.subplots(rows, columns, squeeze=False, **shared).ravel().tolist()
    for ax in axes[count:]:
        ax.remove()
    return figure, axes[:count]


def success_bars(rows: list[dict[str, Any]]) -> Figure:
    """Success share of each method with its 95 % interval; the dashed line is plain behaviour cloning."""
    with style():
        figure = Figure(figsize=(WIDTH, 0.55 + 0.3 * len(rows)), layout="constrained")
        ax = figure.subplots()
        y = np.arange(len(rows))
        share, low, high = (np.array([row[k] for row in rows], float) for k in ("success", "low", "high"))
        ax.barh(y, share, height=0.58, color=BLUE, alpha=0.32, linewidth=0)
        ax.hlines(y, low, high, color=INK, linewidth=1.5)
        ax.plot(share, y, "o", color=BLUE, markersize=5)
        for i, row in enumerate(rows):
            ax.text(1.03, i, percent(share[i]), va="center", ha="left", transform=ax.get_yaxis_transform())
            count = "" if math.isnan(row["n"]) else f"n = {row['n']:.0f}"
            ax.text(1.17, i, count, va="center", ha="left", transform=ax.get_yaxis_transform(), color=MUTED)
        plain = baseline(rows)
        if plain is not None:
            ax.axvline(plain["success"], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        ax.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6), xlabel="episodes solved")
        ax.set_yticks(y, [_shorten(row["method"]) for row in rows])
        ax.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        ax.grid(axis="x")
        ax.set_axisbelow(True)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    return figure


def paired_matrix(lines: list[Outcomes]) -> Figure:
    """Methods x trials, the trial most methods solve at the left; a cell is filled to the share of its tries solved."""
    keys = list(dict.fromkeys(key for line in lines for key in line.keys))
    column = {key: i for i, key in enumerate(keys)}
    tries, solved = np.zeros((2, len(lines), len(keys)))
    for i, line in enumerate(lines):
        for key, success in zip(line.keys, line.success, strict=True):
            tries[i, column[key]] += 1
            solved[i, column[key]] += success
    order = np.argsort(-solved.sum(0), kind="stable")
    tries, solved = tries[:, order], solved[:, order]
    with style():
        figure = Figure(figsize=(WIDTH, 0.5 + 0.17 * len(lines)), layout="constrained")
        ax = figure.subplots()
        boxes: dict[str, list[Path]] = {"all": [], "solved": []}
        for i, j in zip(*np.nonzero(tries), strict=True):
            boxes["all"].append(_box(j, i, 1.0))
            if solved[i, j]:
                boxes["solved"].append(_box(j, i, solved[i, j] / tries[i, j]))
        # One path for all cells: hundreds of small elements would make the page slow.
        for name, colour in (("all", RULE), ("solved", BLUE)):
            if boxes[name]:
                ax.add_patch(PathPatch(Path.make_compound_path(*boxes[name]), facecolor=colour, linewidth=0))
        ax.set(xlim=(-0.6, len(keys) - 0.4), ylim=(len(lines) - 0.45, -0.55), xticks=[], xlabel=f"{len(keys)} trials")
        ax.set_yticks(range(len(lines)), [_shorten(line.label) for line in lines])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    return figure


def _box(x: float, y: float, fill: float) -> Path:
    top, bottom = y + 0.42 - 0.84 * fill, y + 0.42
    return Path([(x - 0.4, bottom), (x - 0.4, top), (x + 0.4, top), (x + 0.4, bottom), (x - 0.4, bottom)], closed=True)


def value_curves(
    shown: list[tuple[str, Columns]], truth_name: str = "oracle return", same_units: bool = False
) -> Figure:
    """Value (left axis) against oracle return and simulator progress; one panel per (style, frames of an episode).

    `truth_name` names what the column `oracle` holds; with `same_units` one axis serves all, whatever their range.
    """
    columns = 2 if len(shown) <= 4 else 4
    with style():
        figure, axes = _grid(len(shown), columns, 1.8, sharey=True)
        scores = np.concatenate([np.concatenate([e["value"], e["oracle"]]) for _, e in shown])
        scores = scores[np.isfinite(scores)]
        low, high = (scores.min(), scores.max()) if len(scores) else (0.0, 1.0)
        own_axis = not same_units and (
            low < -0.05 or high > 1.25
        )  # a scale other than [0, 1]: progress gets the right axis
        low, high = (low, high) if own_axis else (min(0.0, low) if same_units else 0.0, max(1.0, high))
        margin = 0.08 * max(high - low, 1e-6)
        columns = min(len(axes), columns)
        for i, (ax, (kind, episode)) in enumerate(zip(axes, shown, strict=True)):
            t = episode["frame"]
            shade(ax, t, episode["segment"])
            right = ax.twinx() if own_axis else ax
            right.plot(t, episode["progress"], color=MUTED, linewidth=1.0, linestyle=(0, (1, 1.2)))
            ax.plot(t, episode["oracle"], color=INK, linewidth=0.9)
            ax.plot(t, episode["value"], color=BLUE, linewidth=1.7)
            ax.set_ylim(low - 1.6 * margin, high + margin)
            if own_axis:
                right.set_ylim(-0.128, 1.08)
                right.set_yticks([0, 1], ["0", "1"] if (i + 1) % columns == 0 else ["", ""])
            outcome = "solved" if episode["success"][0] else "not solved"
            bad = not same_units and bool(wrong(episode["value"], bool(episode["success"][0])))
            ax.set_title(f"{_shorten(episode['variant'][0] or kind, 22)}\n", fontsize=8, color=RED if bad else INK)
            said = f"episode {episode['episode'][0]}, {outcome}{': value wrong' if bad else ''}"
            ax.text(0, 1.04, said, transform=ax.transAxes, fontsize=7, color=RED if bad else MUTED)
            ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            ax.set_xlim(t[0], max(t[-1], t[0] + 1))
            if i % columns == 0:
                ax.set_ylabel("value")
            if i + columns >= len(axes):
                ax.set_xlabel("frame")
        present = [s for s in SEGMENTS if any((e["segment"] == s).any() for _, e in shown)]
        truth = "simulator progress (right axis)" if own_axis else "simulator progress"
        handles: list[Any] = [
            Line2D([], [], color=BLUE, linewidth=1.7, label="value"),
            Line2D([], [], color=INK, linewidth=0.9, label=truth_name),
            Line2D([], [], color=MUTED, linewidth=1.0, linestyle=(0, (1, 1.2)), label=truth),
        ]
        patches: list[Any] = [Patch(facecolor=SEGMENT_COLOURS[s], label=s) for s in present]
        # A legend fills column by column: curves in its first row, segment labels in its second.
        blank = Line2D([], [], alpha=0, label=" ")
        both = [h for pair in zip_longest(handles, patches, fillvalue=blank) for h in pair]
        figure.legend(handles=both, loc="outside upper left", ncols=len(both) // 2, handlelength=1.5)
    return figure


def shade(ax: Axes, t: npt.NDArray[Any], segment: npt.NDArray[Any]) -> None:
    """Each run of one label: a faint band, and at its foot a full-colour strip so that no label rests on tint alone."""
    edges = [0, *(np.flatnonzero(segment[1:] != segment[:-1]) + 1).tolist(), len(t)]
    for a, b in pairwise(edges):
        colour = SEGMENT_COLOURS[segment[a]]
        left, end = t[a], t[b] if b < len(t) else t[-1]
        if segment[a] != "advance":
            ax.axvspan(left, end, facecolor=colour, alpha=0.16, linewidth=0)
        ax.axvspan(left, end, ymax=0.055, facecolor=colour, linewidth=0)


def advantage_histograms(frames: Columns) -> Figure:
    """Advantages by segment label, as a share of the label's frames; frames labelled positive are filled."""
    present = [s for s in SEGMENTS if (frames["segment"] == s).any()]
    finite = frames["advantage"][np.isfinite(frames["advantage"])]
    low, high = np.percentile(finite, [0.5, 99.5]) if len(finite) else (-1.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, 31)
    with style():
        figure, axes = _grid(len(present), 5, 1.5, sharex=True)
        for ax, label in zip(axes, present, strict=True):
            mask = frames["segment"] == label
            advantage = np.clip(frames["advantage"][mask], edges[0], edges[-1])
            positive = frames["indicator"][mask] == 1
            each = np.full(mask.sum(), 1 / mask.sum())
            colour = SEGMENT_COLOURS[label]
            ax.hist(
                [advantage[positive], advantage[~positive]], edges.tolist(), weights=[each[positive], each[~positive]],
                stacked=True, color=[colour, colour], linewidth=0,
            )  # fmt: skip
            for bar in ax.containers[1]:
                bar.set_alpha(0.3)
            ax.axvline(0, color=INK, linewidth=0.7)
            ax.set_title(f"{label}\n", fontsize=8)
            said = f"{percent(float(positive.mean()), 0)} positive, n = {mask.sum()}"
            ax.text(0, 1.04, said, transform=ax.transAxes, fontsize=7, color=MUTED)
            ax.set_yticks([])
            ax.spines["left"].set_visible(False)
            ax.xaxis.set_major_locator(MaxNLocator(3))
            ax.set_xlabel("advantage")
    return figure


def losses(stages: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> Figure:
    """Training loss of each stage {name: (steps, loss)}: faint as logged, bold smoothed; logarithmic past a decade."""
    with style():
        figure, axes = _grid(len(stages), 4, 1.4)
        for i, (ax, (name, (steps, loss))) in enumerate(zip(axes, stages.items(), strict=True)):
            ok = np.isfinite(loss)
            steps, loss, lost = steps[ok], loss[ok], int((~ok).sum())
            logarithmic = len(loss) > 0 and 0 < 10 * loss.min() <= loss.max()  # within a decade too few ticks to read
            if len(loss) > 400:  # bins keep the page small
                bins = np.array_split(np.arange(len(loss)), 400)
                steps, loss = np.array([steps[b[-1]] for b in bins]), np.array([loss[b].mean() for b in bins])
            ax.plot(steps, loss, color=BLUE, linewidth=0.7, alpha=0.35)
            ax.plot(steps, _smooth(loss, logarithmic), color=BLUE, linewidth=1.4)
            if logarithmic:
                ax.set_yscale("log")
                ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                ax.yaxis.set_minor_formatter(NullFormatter())
            ax.set_title(_shorten(name, 24) + (f" ({lost} not finite)" if lost else ""), fontsize=8)
            ax.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            ax.grid(axis="y")
            ax.set_xlabel("gradient step")
            if i % 4 == 0:
                ax.set_ylabel("loss")
    return figure


def _smooth(loss: npt.NDArray[Any], geometric: bool) -> npt.NDArray[Any]:
    """Centred mean over about a twentieth of the curve, of the logarithm where the axis shows one."""
    width = len(loss) // 20
    x = np.log(loss) if geometric else loss
    kernel = np.ones(2 * width + 1)
    mean = np.convolve(x, kernel, "same") / np.convolve(np.ones(len(x)), kernel, "same") if len(x) > len(kernel) else x
    return np.exp(mean) if geometric else mean


def stage_times(stages: dict[str, float]) -> Figure:
    """Seconds of each stage, in the order they ran."""
    with style():
        figure = Figure(figsize=(WIDTH, 0.4 + 0.22 * len(stages)), layout="constrained")
        ax = figure.subplots()
        y, seconds = np.arange(len(stages)), np.array(list(stages.values()), float)
        ax.barh(y, seconds, height=0.62, color=GREY, linewidth=0)
        for i, s in enumerate(seconds):
            ax.annotate(duration(s), (s, i), (4, 0), textcoords="offset points", va="center", fontsize=7.5)
        ax.set(ylim=(len(stages) - 0.4, -0.6), xlim=(0, max(seconds.max() * 1.15, 1e-3)), xlabel="seconds")
        ax.set_yticks(y, [_shorten(name) for name in stages])
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x")
        ax.set_axisbelow(True)
    return figure
