"""The page of the reward-shaping study: learning curves, the value's cost and mistakes, videos of hacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from episodes.aggregate import stratified_iqm
from episodes.files import write_atomic
from experiments.report import facts
from experiments.report.files import listed_videos
from experiments.report.page import embedded_videos
from experiments.report.plots import WIDTH
from experiments.report.svg import BLUE, GREEN, GREY, INK, MUTED, ORANGE, PURPLE, RED, inline_svg, style
from experiments.report.templates import render
from experiments.studies.shaping.levels import pooled
from experiments.studies.shaping.rewards import ARMS

COLOURS = {
    "sparse": INK, "dense": ORANGE, "oracle": GREEN, "value": BLUE, "value_delta": PURPLE, "value_raw": RED,
    "value_gated": ORANGE, "shuffled": GREY, "clock": MUTED,
}  # fmt: skip
DASHED = ("value_delta", "value_raw", "value_gated", "clock")
VIDEO_LIMIT = 12  # videos laid into the page


def write_page(folder: Path, cells: Mapping[Any, Any], rows: Sequence[Any], answers: Sequence[Any]) -> None:
    """Write `folder`/report.html from the cells; the videos of folder/videos are laid into it."""
    pairs = list(dict.fromkeys((task, algorithm) for task, algorithm, _ in cells))
    figures, followed = {}, {}
    for task, algorithm in pairs:
        mine = {arm: group for (t, a, arm), group in cells.items() if (t, a) == (task, algorithm)}
        said = "; ".join(
            f"{r['arm']} {facts.percent(r['success'])}"
            for r in rows
            if (r["task"], r["algorithm"]) == (task, algorithm)
        )
        figures[task, algorithm] = inline_svg(
            curves(mine),
            f"curves-{task}-{algorithm}",
            f"Success while learning {task} with {algorithm}; at the end {said}",
        )
        followed[task, algorithm] = inline_svg(
            tracks(mine),
            f"tracks-{task}-{algorithm}",
            "The learned value against the simulator's progress, on held-out demonstrations and on the agents' trials",
        )
    filters: dict[str, Any] = {"percent": facts.percent, "number": facts.number, "duration": facts.duration}
    html = render(
        "shaping.html", filters, interval=facts.interval, pairs=pairs, figures=figures, followed=followed, rows=rows,
        answers=answers, arms=ARMS, accuracy=_accuracy(cells), said=outcome(rows, answers),
        videos=embedded_videos(folder, listed_videos(folder / "videos")[:VIDEO_LIMIT]),
    )  # fmt: skip
    write_atomic(folder / "report.html", html)


def outcome(rows: Sequence[Any], answers: Sequence[Any]) -> list[str]:
    """Plain sentences: what the oracle and the learned potential do against the sparse reward, and why if nothing."""
    said = []
    for answer in answers:
        if answer["arm"] not in ("oracle", "value"):
            continue
        where = f"{answer['task']}, {answer['algorithm']}"
        name = {"oracle": "the simulator's progress", "value": "the learned value"}[answer["arm"]]
        span = "" if np.isnan(answer["low"]) else f" [{answer['low']:+.0f}, {answer['high']:+.0f}]"
        verdict = {
            "fewer": "it learns faster", "more": "it learns more slowly", "not shown": "no difference shown",
        }[answer["answer"]]  # fmt: skip
        by_arm = {r["arm"]: r for r in rows if (r["task"], r["algorithm"]) == (answer["task"], answer["algorithm"])}
        row, sparse = by_arm[answer["arm"]], by_arm["sparse"]
        if row["reached"] or sparse["reached"]:
            said.append(
                f"{where}: a potential of {name} needs {answer['steps']:+.0f}{span} environment steps to the threshold "
                f"against the sparse reward: {verdict} ({answer['seeds']} seeds)."
            )
        else:
            said.append(
                f"{where}: neither a potential of {name} nor the sparse reward reaches the threshold within "
                f"{row['steps_to_threshold']:.0f} environment steps ({answer['seeds']} seeds)."
            )
        if answer["arm"] == "value" and answer["answer"] != "fewer":
            failed = row["claimed_failures"]
            share = (
                "no trial failed"
                if failed is None
                else f"of its failed trials the value calls {100 * failed:.0f} % a success"
            )
            said.append(f"{where}: the learned value does not beat sparse here; {share}.")
            far = (
                f"{row['progress']:.2f} of the way (highest progress of a trial), {sparse['progress']:.2f} with sparse"
            )
            span = "" if np.isnan(answer["progress_low"]) else (
                f" [{answer['progress_low']:+.2f}, {answer['progress_high']:+.2f}]"
            )  # fmt: skip
            said.append(f"{where}: its agents get {far}: {answer['progress']:+.2f}{span}.")
            if row["rank"] is not None and row["held_out_rank"] is not None:
                said.append(
                    f"{where}: it follows the simulator's progress on held-out demonstrations (rank correlation "
                    f"{row['held_out_rank']:.2f}), on the trials of its own agents {row['rank']:.2f}."
                )
    return said


def tracks(groups: Mapping[str, Sequence[Any]]) -> Figure:
    """The learned value's potential against the simulator's progress, mean and standard deviation over frames."""
    first = next(iter(groups.values()))[0]
    lines = [("held-out demonstrations", INK, [first["held_out"]])]
    own = [c["levels"] for c in groups.get("value", ())]
    lines += [("agents of the value", BLUE, own)] if own else []
    others = [c["levels"] for arm, group in groups.items() if arm != "value" for c in group]
    lines += [("other agents", ORANGE, others)] if others else []
    with style():
        figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
        ax = figure.subplots()
        for label, colour, several in lines:
            at, mean, spread = pooled(several)
            phi, band = (mean - first["low"]) / (first["high"] - first["low"]), spread / (first["high"] - first["low"])
            ax.plot(at, phi, "o-", markersize=3, color=colour, label=label)
            ax.fill_between(at, phi - band, phi + band, color=colour, alpha=0.12, linewidth=0)
        ax.plot([0, 1], [0, 1], ":", color=MUTED, linewidth=0.6)
        ax.set(xlim=(0, 1), xlabel="progress (simulator)", ylabel="potential (learned)")
        ax.grid(axis="y")
        ax.set_axisbelow(True)
        figure.legend(loc="outside right upper")
    return figure


def _accuracy(cells: Mapping[Any, Any]) -> dict[str, float]:
    """Balanced accuracy of "the model says success" on held-out demonstrations, by task."""
    return {key[0]: group[0]["claim_accuracy"] for key, group in cells.items()}


def curves(groups: Mapping[str, Sequence[Any]]) -> Figure:
    """Success against environment steps: the IQM over seeds and its stratified bootstrap interval, one line an arm."""
    with style():
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        ax = figure.subplots()
        for arm, group in groups.items():
            points = min(len(cell["curve"]) for cell in group)
            steps = [group[0]["curve"][k]["step"] for k in range(points)]
            spread = np.array(
                [stratified_iqm([c["curve"][k]["success"] for c in group], resamples=2000) for k in range(points)]
            )
            colour = COLOURS.get(arm, GREY)
            ax.plot(steps, spread[:, 0], "--" if arm in DASHED else "-", color=colour, label=arm.replace("_", " "))
            if not np.isnan(spread[:, 1]).any():
                ax.fill_between(steps, spread[:, 1], spread[:, 2], color=colour, alpha=0.12, linewidth=0)
        ax.axhline(next(iter(groups.values()))[0]["threshold"], color=MUTED, linewidth=0.6, linestyle=":")
        ax.set(ylim=(-0.02, 1.02), xlabel="environment steps", ylabel="success (environment)")
        ax.grid(axis="y")
        ax.set_axisbelow(True)
        figure.legend(loc="outside right upper")
    return figure
