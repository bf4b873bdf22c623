"""Can the arm's pose alone tell injected hesitations from the expert steps of the same episodes? It should not.

python benchmarks/hesitation_probe.py --episodes 60 --out results/benchmarks/hesitation_probe.json

A value that reads poses could otherwise learn where the script pauses instead of what a pause looks like. Two
classifiers see single steps without their time: logistic regression on all squares and products, and a decision tree of
depth 5. They see the arm's pose (position and rotation, 9 numbers), and once more with the fingers (11): those go on
opening or closing while the arm hesitates, so that a width in between is rarer in a hesitation. Episodes are split into
5 folds; each is classified by models of the others. Balanced accuracy = (share of hesitation steps found + share of
other steps passed) / 2, chance 0.5, with a bootstrap interval over episodes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from envs.oracles.mix import OracleMix
from envs.robosuite_env import PROPRIO, RoboSuiteEnv
from envs.rollout import Trial, rollout
from envs.tasks import TASKS
from episodes.types import SEGMENTS

Array = npt.NDArray[Any]
Classifier = Callable[[Array], Array]  # poses (N, P) -> bool (N,)
FOLDS, RIDGE, DEPTH, LEAF = 5, 1e-2, 5, 20
ARM = 9  # numbers of PROPRIO before the fingers


def poses(task: str, hz: float, count: int, noise: float) -> list[tuple[Array, Array]]:
    """Per episode the poses (T, P) at which the actions were chosen and whether each was a hesitation (T,)."""
    env = RoboSuiteEnv(task, images=False, hz=hz)
    oracle = import_module(f"envs.oracles.{task}").ORACLE([env], OracleMix.only("hesitation"))
    episodes = rollout(oracle, [env], [Trial(s) for s in range(count)], source="oracle", action_noise=noise)
    found = [(e.proprio[:-1].astype(float), e.segments == SEGMENTS.index("hesitation")) for e in episodes]
    env.close()
    return found


def balance(y: Array) -> Array:
    """Weights (N,) under which both classes count the same, summing to 1."""
    return np.where(y, 0.5 / max(y.sum(), 1), 0.5 / max((~y).sum(), 1))


def logistic(x: Array, y: Array) -> Classifier:
    """Ridge logistic regression on standardised x, its squares and products, classes balanced."""
    upper = np.triu_indices(x.shape[1])
    mean, scale = x.mean(0), x.std(0) + 1e-9

    def expand(x: Array) -> Array:
        z = (x - mean) / scale
        return np.column_stack([np.ones(len(z)), z, z[:, upper[0]] * z[:, upper[1]]])

    features, weights, sign = expand(x), balance(y), np.where(y, 1.0, -1.0)

    def loss(w: Array) -> tuple[float, Array]:
        margin = sign * (features @ w)
        value = weights @ np.logaddexp(0.0, -margin) + RIDGE * w @ w
        return float(value), -(weights * sign * expit(-margin)) @ features + 2 * RIDGE * w

    fitted = minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return lambda x: expand(x) @ fitted > 0


def tree(x: Array, y: Array, weights: Array | None = None, depth: int = DEPTH) -> Classifier:
    """A decision tree by weighted Gini impurity, classes balanced, splits at 16 quantiles of each number."""
    weights = balance(y) if weights is None else weights
    share = weights[y].sum() / weights.sum()
    best, split = share * (1 - share) * weights.sum(), None
    for column in range(x.shape[1] if depth and len(y) >= 2 * LEAF else 0):
        for threshold in np.unique(np.quantile(x[:, column], np.linspace(0.06, 0.94, 16))):
            left = x[:, column] <= threshold
            if min(left.sum(), (~left).sum()) < LEAF:
                continue
            impurity = 0.0
            for side in (left, ~left):
                total = weights[side].sum()
                impurity += weights[side & y].sum() * (1 - weights[side & y].sum() / total)
            if impurity < best - 1e-12:
                best, split = impurity, (column, threshold)
    if split is None:
        return lambda x: np.full(len(x), share > 0.5)
    column, threshold = split
    left = x[:, column] <= threshold
    low = tree(x[left], y[left], weights[left], depth - 1)
    high = tree(x[~left], y[~left], weights[~left], depth - 1)
    return lambda x: np.where(x[:, column] <= threshold, low(x), high(x))


def probe(episodes: list[tuple[Array, Array]], fit: Callable[[Array, Array], Classifier]) -> dict[str, Any]:
    """Cross-validated balanced accuracy with its bootstrap interval; the unit is the episode."""
    counts = np.zeros((len(episodes), 4))  # found, hesitations, passed, others
    for fold in range(FOLDS):
        train = [e for k, e in enumerate(episodes) if k % FOLDS != fold]
        classifier = fit(np.concatenate([x for x, _ in train]), np.concatenate([y for _, y in train]))
        for k in range(fold, len(episodes), FOLDS):
            x, y = episodes[k]
            guess = classifier(x)
            counts[k] = (guess & y).sum(), y.sum(), (~guess & ~y).sum(), (~y).sum()

    def accuracy(rows: Array) -> float:
        found, hesitations, passed, others = rows.sum(0)
        return float(found / hesitations + passed / others) / 2

    rng = np.random.default_rng(0)
    drawn = [accuracy(counts[rng.integers(len(counts), size=len(counts))]) for _ in range(2000)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"balanced_accuracy": round(accuracy(counts), 4), "interval_95": [round(low, 4), round(high, 4)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=60, help="per task")
    parser.add_argument("--hz", type=float, default=10.0, help="control rate")
    parser.add_argument("--noise", type=float, default=0.0, help="sigma of the action noise (the RECAP run: 0.15)")
    parser.add_argument("--tasks", nargs="+", default=sorted(TASKS), choices=sorted(TASKS), metavar="TASK")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    args = parser.parse_args()
    rows = []
    for task in args.tasks:
        episodes = poses(task, args.hz, args.episodes, args.noise)
        share = np.concatenate([y for _, y in episodes]).mean()
        without = sum(not y.any() for _, y in episodes)
        row = {
            "task": task,
            "hz": args.hz,
            "noise": args.noise,
            "episodes": len(episodes),
            "hesitation_share": round(float(share), 3),
        }
        row["without_hesitation"] = without
        parts = []
        for seen, numbers in (("arm", ARM), ("arm and fingers", len(PROPRIO))):
            found = [(x[:, :numbers], y) for x, y in episodes]
            row[seen] = {fit.__name__: probe(found, fit) for fit in (logistic, tree)}
            parts += [
                f"{seen}: {name} {r['balanced_accuracy']:.3f} {r['interval_95']}" for name, r in row[seen].items()
            ]
        rows.append(row)
        print(f"{task:18s} {args.hz:g} Hz  {'  '.join(parts)}  share {share:.2f}, none in {without}", flush=True)
        if args.out:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
