"""What the report says in words and tables: the headline, pairs of methods, the data, the episodes it shows."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.report.files import Columns

Row = dict[str, Any]
REFERENCE = re.compile(r"(oracle|expert|scripted|random|demonstrations)(\b|_)", re.I)  # rows that are no learned method
STYLES = ("expert", "hesitation", "retry", "failure")  # the kinds of episode shown against truth


def percent(share: float, digits: int = 1) -> str:
    """A share as per cent, or a dash."""
    return "–" if math.isnan(share) else f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def interval(low: float, high: float) -> str:
    """An interval of shares in per cent, or a dash."""
    return (
        "–"
        if math.isnan(low) or math.isnan(high)
        else f"{100 * low:.1f} to {100 * high:.1f} %".replace(" ", "\N{NO-BREAK SPACE}")
    )


def number(value: float, digits: int = 3) -> str:
    """A number with a true minus sign, or a dash."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def between(low: float, high: float, digits: int = 3) -> str:
    """An interval of numbers, or a dash where it is not known."""
    return "–" if math.isnan(low) or math.isnan(high) else f"{number(low, digits)} to {number(high, digits)}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def baseline(rows: list[Row]) -> Row | None:
    """The plain behaviour cloning row: the first whose name's first word is "bc"."""
    return next((row for row in rows if re.match(r"bc\b", row["method"], re.I)), None)


def learned(rows: list[Row]) -> list[Row]:
    """The evaluated rows that are a learned method, by the first word of their name."""
    return [row for row in rows if not REFERENCE.match(row["method"]) and not math.isnan(row["success"])]


def best(rows: list[Row]) -> Row | None:
    """The learned method with the highest success; successes per hour break ties, then the table's order."""
    return max(
        learned(rows), key=lambda r: (r["success"], -1 if math.isnan(r["per_hour"]) else r["per_hour"]), default=None
    )


def ranked(rows: list[Row]) -> list[Row]:
    """The winner first, then the other methods by success, at last the rows that are no learned method."""
    first = best(rows)
    methods = {id(row) for row in learned(rows)}

    def place(row: Row) -> tuple[bool, bool, float]:
        return row is not first, id(row) not in methods, -row["success"] if not math.isnan(row["success"]) else 1.0

    return sorted(rows, key=place)


def wrong(value: npt.NDArray[Any], success: bool) -> str:
    """What is wrong with the end of a value in progress units (above 0: success is expected); empty where nothing is.

    The simulator says what succeeded.
    """
    known = value[np.isfinite(value)]
    if not len(known) or (known[-1] > 0) == success:
        return ""
    return f"wrong: the value ends at {known[-1]:.2f}, as if it {'failed' if success else 'succeeded'}"


@dataclass(frozen=True)
class Outcomes:
    """The evaluated episodes of one line of the paired matrix, and which succeed."""

    label: str
    keys: tuple[int, ...]  # the seed of each episode
    success: npt.NDArray[np.bool_]


def outcomes(episodes: Columns) -> list[Outcomes]:
    """Those of each (arm, method, iteration) in order of appearance; a label says only what tells the lines apart."""
    triples = list(zip(episodes["arm"], episodes["method"], episodes["iteration"].tolist(), strict=True))
    lines = list(dict.fromkeys(triples))
    out = []
    for arm, method, iteration in lines:
        parts = [method]
        if arm not in ("", method) and len({a for a, m, _ in lines if m == method}) > 1:
            parts.append(arm)
        if len({i for a, m, i in lines if (a, m) == (arm, method)}) > 1:
            parts.append(f"iteration {iteration}")
        rows = [i for i, triple in enumerate(triples) if triple == (arm, method, iteration)]
        out.append(Outcomes(", ".join(parts), tuple(episodes["seed"][rows].tolist()), episodes["success"][rows]))
    return out


def trials_of(row: Row, episodes: Columns) -> Outcomes | None:
    """The evaluated episodes of a row's arm and iteration; None where it names none, or they say something else."""
    if "arm" not in row or "iteration" not in row:
        return None
    mask = (episodes["arm"] == row["arm"]) & (episodes["iteration"] == row["iteration"])
    success = episodes["success"][mask]
    if len(success) != row["n"] or abs(success.mean() - row["success"]) > 1e-3:
        return None
    return Outcomes(row["method"], tuple(episodes["seed"][mask].tolist()), success)


@dataclass(frozen=True)
class Pair:
    """Two methods on the trials both had: difference of success with its 95 % interval, and who solved what alone."""

    n: int
    mean: float
    low: float
    high: float
    gained: int
    lost: int

    def __str__(self) -> str:
        said = f"{100 * self.mean:+.1f} points ({100 * self.low:+.1f} to {100 * self.high:+.1f})"
        return said.replace("-", "\N{MINUS SIGN}")


def pair(row: Row, reference: Row, episodes: Columns | None) -> Pair | None:
    """`row` minus `reference` on their common trials; None where the episodes are not there or do not pair up."""
    from episodes.intervals import paired_difference

    if episodes is None or row is reference:
        return None
    mine, theirs = trials_of(row, episodes), trials_of(reference, episodes)
    if mine is None or theirs is None:
        return None
    a, b = dict(zip(mine.keys, mine.success, strict=True)), dict(zip(theirs.keys, theirs.success, strict=True))
    common = [key for key in a if key in b]
    if len(common) < 2:
        return None
    x, y = np.array([a[k] for k in common], float), np.array([b[k] for k in common], float)
    mean, low, high = paired_difference(x, y)
    return Pair(len(common), mean, low, high, int((x > y).sum()), int((x < y).sum()))


def headline(rows: list[Row], episodes: Columns | None) -> str:
    """One or two sentences: the best method and its interval, plain behaviour cloning, and their paired difference."""
    top, plain = best(rows), baseline(rows)
    if top is None:
        return "No method was evaluated."
    said = f"{_name(top)} solved {percent(top['success'])} of {_count(top)}"
    said += f" (95\N{NO-BREAK SPACE}% interval {interval(top['low'], top['high'])})"
    if plain is None:
        return f"{said}; there is no bc row to compare it with."
    if plain is top:
        return f"No method solved more than plain behaviour cloning: {said}."
    said += f"; plain behaviour cloning ({_name(plain)}) solved {percent(plain['success'])}"
    said += f" ({interval(plain['low'], plain['high'])})."
    difference = pair(top, plain, episodes)
    if difference is not None:
        zero = "excludes" if difference.low > 0 or difference.high < 0 else "includes"
        said += (
            f" On the {difference.n} trials both had, the difference is {difference}: {difference.gained} solved only"
            f" by {_name(top)}, {difference.lost} only by {_name(plain)}; the interval {zero} zero, for one"
            " training run of each."
        )
    methods = learned(rows)
    equal = [_name(row) for row in methods if row is not top and row["success"] == top["success"]]
    if equal:
        said += f" Equal in success: {', '.join(equal)}."
    if len(methods) > 2:
        said += f" The best of {len(methods)} methods is named after seeing the results, which flatters it."
    return said


def _name(row: Row) -> str:
    return str(row["method"])


def _count(row: Row) -> str:
    return "its episodes" if math.isnan(row["n"]) else f"{row['n']:.0f} evaluation episodes"


def variants(frames: Columns) -> list[Row]:
    """The training store by variant: episodes, frames, share of successful episodes, share of positive frames."""
    out = []
    for variant in sorted(set(frames["variant"])):
        mask = frames["variant"] == variant
        _, first = np.unique(frames["episode"][mask], return_index=True)
        out.append({
            "variant": variant or "(unnamed)",
            "episodes": len(first),
            "frames": int(mask.sum()),
            "success": float(frames["success"][mask][first].mean()),
            "positive": float((frames["indicator"][mask] == 1).mean()),
            "weight": float(frames["weight"][mask].mean()),
        })  # fmt: skip
    return out


def split(frames: Columns) -> list[Columns]:
    """Frames of each episode, in order of episode and frame."""
    order = np.lexsort((frames["frame"], frames["episode"]))
    starts = np.flatnonzero(np.diff(frames["episode"][order])) + 1
    return [{k: v[rows] for k, v in frames.items()} for rows in np.split(order, starts) if len(rows)]


def shown_episodes(frames: Columns, each: int = 2) -> list[tuple[str, Columns]]:
    """The first `each` episodes of every style, those of fewest other styles first: (style, frames of the episode)."""
    rest = split(frames)
    out: list[tuple[str, Columns]] = []
    for kind in STYLES:
        named = [e for e in rest if (not e["success"][0] if kind == "failure" else kind in e["variant"][0])]
        named.sort(key=lambda e: (e["variant"][0].count("+"), not e["success"].any()))
        chosen = named[:each]
        out += [(kind, e) for e in chosen]
        rest = [e for e in rest if not any(e is c for c in chosen)]
    return out or [("episode", e) for e in rest[: 2 * each]]
