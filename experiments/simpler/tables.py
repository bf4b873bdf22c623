"""Tables of a SIMPLER sweep in the papers' form: success per task, Visual Matching and Variant Aggregation apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from envs.simpler.protocol import groups, trials
from episodes.intervals import wilson

NAMES = {
    "pick_coke_can": "Pick Coke Can",
    "move_near": "Move Near",
    "open_close_drawer": "Open/Close Drawer",
    "place_apple": "Open Drawer, Place Apple",
    "widowx_spoon_on_towel": "Spoon on Towel",
    "widowx_carrot_on_plate": "Carrot on Plate",
    "widowx_stack_cube": "Stack Block",
    "widowx_eggplant_in_basket": "Eggplant in Basket",
}
BLOCKS = (  # what is averaged together in the papers
    ("Google robot, Visual Matching", "visual_matching", False),
    ("Google robot, Variant Aggregation", "variant_aggregation", False),
    ("WidowX, Visual Matching", "visual_matching", True),
)


@lru_cache
def protocol_trials(task: str, setting: str) -> int:
    """How many trials the protocol has of a task and setting."""
    return len(trials(task, setting))


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Success at the last step and at any step, per task and setting, with 95 % Wilson intervals.

    A task's rate is the mean over its variants, and of open and close drawer their mean, as in SIMPLER; `n`, `low` and
    `high` are those of the pooled trials. `trials` is the protocol's number, `errors` that of trials without a result.
    """
    found = []
    for task, setting in dict.fromkeys((r["task"], r["setting"]) for r in rows):
        every = [r for r in rows if (r["task"], r["setting"]) == (task, setting)]
        own = [r for r in every if not r.get("error")]
        k, n = sum(r["final"] for r in own), len(own)
        low, high = wilson(k, n) if n else (0.0, 1.0)
        found.append(
            {
                "task": task,
                "setting": setting,
                "n": n,
                "trials": protocol_trials(task, setting),
                "errors": len(every) - n,
                "final": _mean_of_variants(own, "final"),
                "low": low,
                "high": high,
                "any": _mean_of_variants(own, "any"),
            }
        )
    return found


def _mean_of_variants(rows: Sequence[dict[str, Any]], column: str) -> float | None:
    names = dict.fromkeys(r["variant"] for r in rows)
    rates = [float(np.mean([r[column] for r in rows if r["variant"] == name])) for name in names]
    return float(np.mean(rates)) if rates else None


def show(rows: Sequence[dict[str, Any]]) -> str:
    """The summary as text; unfinished tasks say how many of the protocol's trials they rest on."""
    head = f"{'task':26s} {'setting':20s} {'n':>9s} {'final':>6s}  {'95 %':11s} {'any':>6s}"
    lines = [head]
    for r in rows:
        n = str(r["n"]) if r["n"] == r["trials"] else f"{r['n']} of {r['trials']}"
        rates = f"{'-':>6s}  {'':11s} {'-':>6s}"
        if r["n"]:
            rates = f"{r['final']:6.3f}  {r['low']:.2f} - {r['high']:.2f} {r['any']:6.3f}"
        lines.append(f"{r['task']:26s} {r['setting']:20s} {n:>9s} {rates}" + _errors(r))
    for title, average, count in averages(rows):
        lines.append(f"{title}: average {average:.3f} over {count} tasks")
    return "\n".join(lines)


def _errors(row: dict[str, Any]) -> str:
    return f"  {row['errors']} without a result" if row["errors"] else ""


def _block(rows: Sequence[dict[str, Any]], setting: str, widowx: bool) -> list[dict[str, Any]]:
    return [r for r in rows if r["setting"] == setting and r["task"].startswith("widowx") == widowx]


def averages(rows: Sequence[dict[str, Any]]) -> list[tuple[str, float, int]]:
    """Mean over a block's tasks, only where each has a result: (title, mean of `final`, tasks)."""
    found = []
    for title, setting, widowx in BLOCKS:
        own = _block(rows, setting, widowx)
        wanted = [t for t, settings in groups().items() if setting in settings and t.startswith("widowx") == widowx]
        if {r["task"] for r in own if r["n"]} == set(wanted):
            found.append((title, float(np.mean([r["final"] for r in own])), len(own)))
    return found


def markdown(policy: str, rows: Sequence[dict[str, Any]]) -> str:
    """One table per robot and setting: tasks across; success of the last step, its interval, n, success at any step."""
    means = {title: average for title, average, _ in averages(rows)}
    parts = [f"# SIMPLER: {policy}\n"]
    for title, setting, widowx in BLOCKS:
        own = _block(rows, setting, widowx)
        if not own:
            continue
        cells = [[NAMES[r["task"]] for r in own]]
        cells += [[_percent(r["final"]) for r in own], [_percent(r["any"]) for r in own]]
        cells += [[f"{100 * r['low']:.0f}-{100 * r['high']:.0f}" if r["n"] else "-" for r in own]]
        cells += [[str(r["n"]) if r["n"] == r["trials"] else f"{r['n']} of {r['trials']}" for r in own]]
        cells += [[str(r["errors"]) for r in own]]
        average = ["Average", _percent(means.get(title)), *["" for _ in cells[2:]]]
        names = [title, "success at the last step, %", "success at any step, %", "95 % (Wilson, pooled)", "n", "errors"]
        lines = [f"| {name} | {' | '.join(row)} | {last} |" for name, row, last in zip(names, cells, average)]
        lines.insert(1, "|---" * (len(own) + 2) + "|")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f}"
