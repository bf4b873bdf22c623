"""The page of a SIMPLER sweep: tasks, the scenes that are hard, and films of failures, from the files of its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from episodes.files import write_atomic
from episodes.intervals import wilson
from experiments.loop.run_folder import read_json
from experiments.report import facts, plots
from experiments.report.files import listed_videos
from experiments.report.page import embedded_videos
from experiments.report.svg import inline_svg
from experiments.report.templates import render
from experiments.simpler.tables import NAMES, averages

SETTINGS = {"visual_matching": "Visual Matching", "variant_aggregation": "Variant Aggregation"}


def write_sweep_page(folder: Path, command: str) -> Path:
    """Build `folder`/report.html from summary.json, episodes.parquet and videos/ and return its path.

    command: the line that goes on with the sweep. ValueError: a damaged file, named.
    """
    summary = read_json(folder / "summary.json", dict, "run the sweep's command again")
    trials = pq.read_table(folder / "episodes.parquet").to_pylist()
    rows = [_row(row) for row in summary["rows"]]
    if len({row["setting"] for row in rows}) > 1:
        rows = [row | {"method": _with_setting(row["method"], row["setting"])} for row in rows]
    tried = sorted((row for row in rows if row["n"]), key=lambda row: -row["success"])
    said = "; ".join(f"{row['method']} {facts.percent(row['success'], 0)}" for row in rows)
    filters: dict[str, Any] = {"percent": facts.percent, "number": facts.number, "count": lambda n: f"{n:,d}"}
    html = render(
        "sweep.html", filters, interval=facts.interval,
        policy=str(summary["policy"]), backend=str(summary["backend"]), content=str(summary.get("content") or ""),
        done=sum(row["n"] for row in rows), planned=sum(row["trials"] for row in rows), rows=rows,
        averages=averages(summary["rows"]), best=tried[0] if tried else None, worst=tried[-1] if tried else None,
        bars=inline_svg(plots.success_bars(rows), "bars", f"Trials solved by task: {said}"),
        variants=_variants(trials), videos=embedded_videos(folder, listed_videos(folder / "videos")),
        steps=[
            ("go on, or try trials without a result again", command),
            ("see failures", f"{command} videos=8"),
            ("compare the ranking with real robots", f"python -m experiments.simpler.ranking NAME={folder} ..."),
        ],
    )  # fmt: skip
    write_atomic(folder / "report.html", html)
    return folder / "report.html"


def _row(row: dict[str, Any]) -> dict[str, Any]:
    name = NAMES.get(row["task"], row["task"])
    rates = {name: np.nan if row[key] is None else row[key] for name, key in (("success", "final"), ("any", "any"))}
    limits = {"low": row["low"], "high": row["high"]} if row["n"] else {"low": np.nan, "high": np.nan}
    return row | rates | limits | {"method": name}


def _with_setting(name: str, setting: str) -> str:
    return f"{name}, {SETTINGS.get(setting, setting)}"


def _variants(trials: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every variant that has a result, the hardest first."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for trial in trials:
        if not trial["error"]:
            groups.setdefault((trial["task"], trial["setting"], trial["variant"]), []).append(trial)
    rows = []
    for (task, setting, variant), own in groups.items():
        solved = sum(bool(trial["final"]) for trial in own)
        low, high = wilson(solved, len(own))
        known = [trial["progress"] for trial in own if trial["progress"] is not None]
        rows.append({
            "variant": variant, "task": _with_setting(NAMES.get(task, task), setting), "n": len(own),
            "success": solved / len(own), "low": low, "high": high,
            "progress": float(np.mean(known)) if known else np.nan,
        })  # fmt: skip
    return sorted(rows, key=lambda row: (row["success"], row["progress"], row["variant"]))
