"""How well simulated success rates rank policies as real ones do: MMRV and Pearson's r.

    python -m experiments.simpler.ranking rt-1-x=runs/simpler_sweep/1a2b octo-base=runs/simpler_sweep/3c4d

Every argument is a policy of experiments/simpler/real.yaml (published rates on real robots) and the folder of its
sweep. Tasks that fewer than two of the sweeps finished are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from envs.ledger import count, number, text
from episodes.stopping import refusing
from episodes.store_index import named
from experiments.loop.run_folder import read_json

REAL = Path(__file__).with_name("real.yaml")


def mmrv(simulated: Sequence[float], real: Sequence[float]) -> float:
    """Mean maximum rank violation of N policies, 0 (the same order) to 1.

    MMRV = 1/N sum_i max_j |R_i - R_j| 1[(S_i < S_j) != (R_i < R_j)], R real, S simulated success rates in [0, 1].
    Source: SIMPLER (Li et al. 2024, section 4). ValueError: fewer than two policies, or unequal numbers of them.
    """
    S, R = _pair(simulated, real)
    violated = (S[:, None] < S[None]) != (R[:, None] < R[None])
    return float((np.abs(R[:, None] - R[None]) * violated).max(axis=1).mean())


def pearson(simulated: Sequence[float], real: Sequence[float]) -> float:
    """Pearson's correlation of simulated and real success rates, -1 to 1; NaN where one of them does not vary.

    Source: SIMPLER (section 4). ValueError: as `mmrv`.
    """
    S, R = _pair(simulated, real)
    if np.ptp(S) < 1e-12 or np.ptp(R) < 1e-12:
        return float("nan")
    from scipy.stats import pearsonr

    return float(pearsonr(S, R).statistic)


def _pair(simulated: Sequence[float], real: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    S, R = np.asarray(simulated, float), np.asarray(real, float)
    if S.shape != R.shape or S.ndim != 1 or len(S) < 2:
        raise ValueError(f"ranking of {len(S)} simulated and {len(R)} real rates; give two or more policies of each")
    return S, R


@lru_cache
def real_rates() -> dict[str, dict[str, float]]:
    """Published success rates on real robots, task -> policy -> rate; a task of several parts is their mean."""
    tasks = yaml.safe_load(REAL.read_text())["tasks"]
    rates: dict[str, dict[str, float]] = {}
    for task, facts in tasks.items():
        parts = list(facts["rates"].values())
        shared = [policy for policy in parts[0] if all(policy in part for part in parts)]
        rates[task] = {policy: float(np.mean([part[policy] for part in parts])) for policy in shared}
    return rates


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a sweep's summary.json; a damaged one is a ValueError that names it."""
    remedy = "run the sweep again, it writes its summary anew"
    rows = read_json(path, dict, remedy).get("rows")
    with named(path, remedy):
        for i, row in enumerate(rows):  # type: ignore[arg-type]
            whole = all(text(row[k]) for k in ("task", "setting")) and all(count(row[k]) for k in ("n", "trials"))
            if not whole or (row["n"] and not (number(row["final"]) and row["final"] <= 1)):
                raise ValueError(f"row {i} is not one of a sweep's summary")
    return rows  # type: ignore[return-value]


def ranked(sweeps: dict[str, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """MMRV and Pearson's r of every task and setting: policy -> rows of its summary; only finished tasks count."""
    rows = []
    keys = dict.fromkeys((r["task"], r["setting"]) for summary in sweeps.values() for r in summary)
    for task, setting in keys:
        simulated, real = [], []
        for policy, summary in sweeps.items():
            known = real_rates().get(task, {})
            own = [r for r in summary if (r["task"], r["setting"]) == (task, setting) and r["n"] == r["trials"]]
            if own and policy in known:
                simulated.append(own[0]["final"])
                real.append(known[policy])
        if len(simulated) > 1:
            figures = {"mmrv": mmrv(simulated, real), "pearson": pearson(simulated, real)}
            rows.append({"task": task, "setting": setting, "policies": len(simulated), **figures})
    return rows


def run(arguments: Sequence[str]) -> None:
    """Print MMRV and Pearson's r of sweeps given as POLICY=FOLDER against published real-robot rates."""
    known = sorted({policy for rates in real_rates().values() for policy in rates})
    sweeps: dict[str, Sequence[dict[str, Any]]] = {}
    for word in arguments:
        policy, _, folder = word.partition("=")
        if policy not in known or not folder:
            raise ValueError(f"{word!r}: give POLICY=FOLDER; policies with published rates are {', '.join(known)}")
        path = Path(folder) / "summary.json"
        if not path.is_file():
            raise ValueError(f"{path}: no summary of a sweep; run experiments/simpler_sweep.py first")
        sweeps[policy] = rows_of(path)
    rows = ranked(sweeps)
    if not rows:
        raise ValueError("no task was finished by two of these sweeps; MMRV and Pearson's r compare policies")
    print(f"{'task':26s} {'setting':20s} {'policies':>8s} {'MMRV':>6s} {'r':>6s}")
    for r in rows:
        print(f"{r['task']:26s} {r['setting']:20s} {r['policies']:8d} {r['mmrv']:6.3f} {r['pearson']:6.3f}")


if __name__ == "__main__":
    with refusing("ranking"):
        run(sys.argv[1:])
