"""From evaluated episodes to the row of a results table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from episodes.intervals import wilson


def summarise(method: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return {method, success, low, high, per_hour, n} of evaluated episodes (each with success, seconds).

    success k/n with its 95 % Wilson interval; per_hour = 3600 * successes / simulated seconds, failures included
    (ViVa section 4.4: throughput). Undefined (no episode) is None.
    """
    n = len(rows)
    k = sum(bool(r["success"]) for r in rows)
    seconds = sum(float(r["seconds"]) for r in rows)
    if n == 0 or seconds == 0:
        return {"method": method, "success": None, "low": None, "high": None, "per_hour": None, "n": n}
    low, high = wilson(k, n)
    return {"method": method, "success": k / n, "low": low, "high": high, "per_hour": 3600 * k / seconds, "n": n}
