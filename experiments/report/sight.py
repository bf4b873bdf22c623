"""The small table "Does the value look?" of a run's page."""

from __future__ import annotations

import math
from typing import Any

RANKS = ("truth", "own", "change")
SAID = {
    "yes": "It looks: pictures in which the object was left behind have a clearly lower value.",
    "partly": "It looks a little: pictures in which the object was left behind lower it, but seldom or little.",
    "no": "It does not look: pictures in which the object was left behind leave the value where it was.",
}


def sight_table(sight: dict[str, Any] | None) -> dict[str, Any] | None:
    """Lines of the table from sight.json: each probe with its two ranks and its change, then what stands alone.

    {"verdict", "note", "probes": [{"what", "truth", "own", "change"}], "rows": [...]}; None where there is no file.
    """
    if sight is None:
        return None
    by_name = {row["name"]: row for row in sight["rows"]}
    found = [name.removesuffix("_change") for name in by_name if name.endswith("_change")]
    probes = []
    for name in found:
        cells = {rank: by_name.get(f"{name}_{rank}", {"mean": math.nan})["mean"] for rank in RANKS}
        what = by_name[f"{name}_change"]["what"]
        probes.append({"what": what if math.isnan(cells["change"]) else what.rpartition(": ")[0]} | cells)
    rows = [row for row in sight["rows"] if not any(row["name"] == f"{p}_{rank}" for p in found for rank in RANKS)]
    verdict = SAID.get(str(sight.get("looks")), "Whether it looks was not measured.")
    return {"verdict": verdict, "note": str(sight.get("note", "")), "probes": probes, "rows": rows}
