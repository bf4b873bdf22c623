"""The rows of the committed study, and the table made from its finished cells alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.evaluate import summarise
from episodes.files import write_atomic
from episodes.intervals import bootstrap_mean, paired_bootstrap
from episodes.labels import NEGATIVE, NULL
from experiments.run_folder import write_json

Trials = dict[str, dict[int, list[dict[str, Any]]]]  # row name -> data seed -> evaluated episodes


@dataclass(frozen=True)
class Row:
    """One arm of the study and what it shows."""

    name: str
    method: str
    value: str  # viva, viva_wan_vae_tiny, constant, oracle
    what: str
    shuffled: bool = False
    indicator: int | None = None
    iterations: int = 1
    policy_of: str = ""  # arm whose policy is tested with another token; trains nothing


ROWS = (
    Row("bc", "bc", "constant", "behaviour cloning of everything"),
    Row("filtered_bc", "filtered_bc", "viva", "clones the steps of highest advantage"),
    Row("success_bc", "success_bc", "constant", "clones the episodes that succeeded"),
    Row("success_random", "success_random", "constant", "clones as many steps of them as filtered_bc, drawn at random"),
    Row("label_bc", "label_bc", "constant", "clones the steps truly labelled advance (privileged)"),
    Row("awr", "awr", "viva", "advantage-weighted regression"),
    Row(
        "recap",
        "recap",
        "viva",
        "advantage-conditioned, acts with the positive token; row @2 adds its own rollouts",
        iterations=2,
    ),
    Row("awr_shuffled", "awr", "viva", "weights permuted within each phase", shuffled=True),
    Row("recap_shuffled", "recap", "viva", "indicators permuted within each phase", shuffled=True),
    Row(
        "awr_oracle",
        "awr",
        "oracle",
        "the same with the oracle value, time to go from the simulator's progress (privileged)",
    ),
    Row(
        "recap_oracle",
        "recap",
        "oracle",
        "the same with the oracle value, time to go from the simulator's progress (privileged)",
    ),
    Row("recap_null", "recap", "viva", "recap's policy with the null token", indicator=NULL, policy_of="recap"),
    Row(
        "recap_negative",
        "recap",
        "viva",
        "recap's policy with the negative token",
        indicator=NEGATIVE,
        policy_of="recap",
    ),
    Row("recap_wan_vae_tiny", "recap", "viva_wan_vae_tiny", "latents of the Wan VAE class, trained here"),
)


def rebuild(folder: Path, command: str) -> None:
    """Make table.md and summary.json from the cells."""
    cells = [json.loads(p.read_text()) for p in sorted((folder / "cells").glob("*.json"))]
    trials: Trials = {}
    for cell in cells:
        for row in cell.get("rows", []):
            name = row["arm"] + (f"@{row['iteration'] + 1}" if row["iteration"] else "")
            trials.setdefault(name, {}).setdefault(cell["seed"], []).append(row)
    what = {row.name: row.what for row in ROWS}
    rows = []
    for name in sorted(trials, key=lambda n: (list(what).index(n.split("@")[0]), n)):
        per_seed = trials[name]
        row = summarise(name, [r for part in per_seed.values() for r in part])
        row |= {"seeds": sorted(per_seed), "per_seed": [_rate(per_seed[s]) for s in sorted(per_seed)]}
        for key, other in (("minus_bc", "bc"), ("minus_success_bc", "success_bc")):
            row[key] = _paired(trials, name, other) if other in trials and other != name else None
        rows.append(row | {"what": what[name.split("@")[0]]})
    values = _value_rows([c for c in cells if "value_metrics" in c])
    write_json(folder / "summary.json", {"command": command, "seed": None, "rows": rows, "value": values})
    write_atomic(folder / "table.md", _table(command, rows, values).encode())


def _rate(rows: Sequence[dict[str, Any]]) -> float:
    return float(np.mean([r["success"] for r in rows]))


def _paired(trials: Trials, name: str, other: str) -> list[float] | None:
    """Mean difference of success with its interval over (data seeds, trials), on the data seeds both have."""
    both = sorted(set(trials[name]) & set(trials[other]))
    if not both:
        return None
    a, b = ([[bool(r["success"]) for r in trials[n][s]] for s in both] for n in (name, other))
    return list(paired_bootstrap(a, b, shared_trials=True))


def _value_rows(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean of each metric of the learned value over all episodes of all data seeds, with a bootstrap interval."""
    rows = []
    for name, what in dict.fromkeys((r["name"], r["what"]) for c in cells for r in c["value_metrics"]):
        found = [r for c in cells for r in c["value_metrics"] if r["name"] == name and r["mean"] is not None]
        scores = [s for r in found for s in r["scores"]]
        mean, low, high = bootstrap_mean(scores) if scores else (float(np.mean([r["mean"] for r in found])), None, None)
        row = {"name": name, "what": what, "mean": mean, "low": low, "high": high}
        rows.append(row | {"per_seed": [r["mean"] for r in found], "n": sum(r["n"] for r in found)})
    return rows


def _points(x: list[float] | None) -> str:
    return "" if x is None else f"{100 * x[0]:+.0f} [{100 * x[1]:+.0f}, {100 * x[2]:+.0f}]"


def _table(command: str, rows: Sequence[dict[str, Any]], values: Sequence[dict[str, Any]]) -> str:
    lines = [
        "# Lift from images: what each method makes of the same mixed demonstrations",
        "",
        f"Command: `{command}`",
        "",
        "Success with its 95 % Wilson interval over all trials; differences in points, paired on (data seed, trial),",
        "with a two-level bootstrap 95 % interval over data seeds and trials.",
        "",
        "| method | success | 95 % | per hour | n | data seeds | minus bc | minus success_bc | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        seeds = " ".join(f"{x:.2f}" for x in r["per_seed"])
        differences = " | ".join(_points(r[key]) for key in ("minus_bc", "minus_success_bc"))
        lines.append(
            f"| {r['method']} | {r['success']:.2f} | {r['low']:.2f}-{r['high']:.2f} | {r['per_hour']:.0f} | {r['n']} "
            f"| {seeds} | {differences} | {r['what']} |"
        )
    lines += [
        "",
        "## The learned value on held-out episodes",
        "",
        "Every episode is scored by a model that has not seen it; progress units p = 2V - 1.",
        "",
        "| metric | mean | 95 % | per data seed | episodes |",
        "|---|---|---|---|---|",
    ]
    for r in values:
        interval = "" if r["low"] is None else f"{r['low']:.2f} to {r['high']:.2f}"
        seeds = " ".join(f"{x:.2f}" for x in r["per_seed"])
        lines.append(f"| {r['what']} | {r['mean']:.2f} | {interval} | {seeds} | {r['n']} |")
    return "\n".join(lines) + "\n"
