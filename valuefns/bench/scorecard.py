"""From predictions to a scorecard: scores of every episode, then one row per model with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from episodes.annotations import Segment
from episodes.intervals import bootstrap_mean, bootstrap_strata
from episodes.progress import along
from episodes.types import Episode
from valuefns.bench import metrics, probes
from valuefns.bench.annotations import Annotation, truths
from valuefns.bench.predict import predict
from valuefns.bench.sight import Counterfactual, compare, verdict
from valuefns.protocol import ValueFunction

Float = npt.NDArray[np.float64]

SHARES = (0.0, 0.2, 0.4, 1.0)  # edges of the hesitation's share of its episode
SIGHT = ("left_lower", "left_drop", "foreign_rank")  # what the column `looks` sums up
HEADLINE = ("hesitation_rmse", "hesitation_drift", "retry_voc", "expert_voc", "success_gap", *SIGHT)
LONG = 0.25  # share from which a clock's error is large whatever else happens
BINS = tuple(f"hesitation_rmse_{100 * a:.0f}_{100 * b:.0f}" for a, b in pairwise(SHARES))
WHAT = {
    "hesitation_rmse": "RMSE against the plateau of WVM's curve, hesitation segments (eq. 8); smaller is better",
    **{
        name: f"the same, hesitations of {name.split('_')[2]} to {name.split('_')[3]} % of the episode" for name in BINS
    },
    "hesitation_rmse_long": "the same, hesitations of 25 % of the episode or more, where a clock errs most",
    "hesitation_rmse_oracle": "the same against the oracle return",
    "hesitation_rmse_simulator": "the same against the simulator's progress",
    "hesitation_drift": "signed change of the value over a hesitation; 0 is right, a clock drifts up",
    "retry_voc": "Spearman with WVM's curve where it falls; +1 falls with it, -1 rises",
    "retry_voc_oracle": "the same against the oracle return",
    "retry_voc_simulator": "the same against the simulator's progress",
    "expert_voc": "Spearman with time, expert episodes (GVL)",
    "expert_tau": "Kendall's tau-b with time, expert episodes",
    "rmse": "RMSE against WVM's curve, all frames of successes",
    "spearman": "Spearman with WVM's curve, all frames of successes",
    "spearman_simulator": "Spearman with the simulator's progress, all episodes",
    "error_change": "change of the value in the second after an error begins (retries and failures)",
    "error_drop": "share of errors after which the value is lower a second later",
    "error_rank": "share of advancing seconds that look better than the second after the error; 0.5 is chance",
    "success_gap": "mean last value of successes minus that of failures",
    "reversed_voc": "probe: VOC of experts played backwards; a value of the state is -1, a clock +1",
    "static_voc": "probe: VOC of an expert's first frame repeated; a value of the state is undefined",
    "instruction_gap": "probe: last value of experts minus that under another task's instruction",
    "foreign_rank": "probe: rank with the simulator's progress, another expert's pictures at random times",
    "left_lower": "probe: share of pairs in which the picture with the object left behind has the lower value",
    "left_drop": "probe: how much lower it is, mean over the frames after the grasp",
}
ORDERS = ("retry_voc", "expert_voc")  # whose defined share is reported


@dataclass
class Scored:
    """One episode under one model: prediction and truths in progress units (T,), and its scores by name."""

    annotation: Annotation
    predicted: Float
    truths: dict[str, Float]
    scores: dict[str, float]
    success: bool = True
    hz: float = 10.0


@dataclass
class Failure:
    """An episode that could not be scored, and why: listed at the end, never the end of a run."""

    model: str
    episode: int
    reason: str


@dataclass
class Drop:
    """One pair: how much lower (progress units) the value is of pictures in which the object stayed behind."""

    task: str
    drop: float


@dataclass
class ModelScores:
    """All scores of one model."""

    model: str
    episodes: list[Scored] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    fps: float | None = None
    history: int = 1
    pairs: list[Drop] = field(default_factory=list)


def score_episode(
    predicted: Float, known: dict[str, Float], annotation: Annotation, hz: float, fps: float | None = None
) -> dict[str, float]:
    """Every score that an episode of its kind has, NaN where it is not defined.

    predicted and the truths are at the control rate (T,); hesitation and order scores read the frames of `fps`.
    """
    T = len(predicted)
    frames = metrics.sampled(T, hz, fps)
    p, true = predicted[frames], {name: curve[frames] for name, curve in known.items()}
    second = max(1, round(hz))
    scores: dict[str, float] = {"spearman_simulator": _spearman(p, true["simulator"]), "last": float(predicted[-1])}
    mistaken = _within(annotation.segments, T)
    waits = [s for s in annotation.segments if s.type == "hesitation"]
    errors = [s.m for s in annotation.segments if s.type != "hesitation"]
    if annotation.kind != "failure":
        scores["rmse"] = metrics.rmse(p, true["annotated"])
        scores["spearman"] = _spearman(p, true["annotated"])
    if annotation.kind == "expert":
        scores["expert_voc"], scores["expert_tau"] = metrics.voc(p), metrics.tau_b(p)
    if waits and annotation.kind != "failure":
        waiting = _within(waits, T)[frames]
        error = metrics.hesitation_rmse(p, true["annotated"], waiting)
        share = sum(s.n - s.m for s in waits) / T
        scores["hesitation_rmse"] = error
        scores[BINS[int(np.searchsorted(SHARES, share, "right")) - 1]] = error
        if share >= LONG:
            scores["hesitation_rmse_long"] = error
        scores["hesitation_rmse_oracle"] = metrics.hesitation_rmse(p, true["oracle"], waiting)
        scores["hesitation_rmse_simulator"] = metrics.hesitation_rmse(p, true["simulator"], waiting)
        drifts = [metrics.hesitation_drift(p, _within([s], T)[frames], 2) for s in waits]
        scores["hesitation_drift"] = float(np.mean(drifts))
    if errors and annotation.kind != "failure":
        scores["retry_voc"] = metrics.retry_voc(p, true["annotated"])
        scores["retry_voc_oracle"] = metrics.retry_voc(p, true["oracle"])
        scores["retry_voc_simulator"] = metrics.retry_voc(p, true["simulator"])
    if errors:
        changes = np.array([metrics.error_change(predicted, m, second) for m in errors])
        scores["error_change"] = float(changes.mean())
        scores["error_drop"] = math.nan if np.isnan(changes).any() else float((changes < 0).mean())
        scores["error_rank"] = float(np.mean([metrics.error_rank(predicted, m, second, ~mistaken) for m in errors]))
    return scores


def _within(segments: Sequence[Segment], T: int) -> npt.NDArray[np.bool_]:
    inside = np.zeros(T, bool)
    for segment in segments:
        inside[segment.m : segment.n + 1] = True
    return inside


def _spearman(p: Float, truth: Float) -> float:
    return math.nan if np.isnan(truth).any() else metrics.spearman(p, truth)


def score_model(
    name: str,
    value: ValueFunction,
    episodes: Any,
    annotations: Sequence[Annotation],
    probe_experts: int = 3,
    max_steps: int = 0,
    pairs: Mapping[str, Sequence[Counterfactual]] | None = None,
) -> ModelScores:
    """Score a model on the annotated episodes of a store or view; what cannot be scored is listed and left out.

    The first `probe_experts` experts of each task are also scored reversed, static, with another task's words and with
    another expert's pictures. `pairs`: counterfactual pictures by task.
    """
    out = ModelScores(name, fps=value.fps, history=value.history)
    position = {row["episode_index"]: i for i, row in enumerate(episodes.index)}
    words = {a.task: episodes.index[position[a.episode]]["tasks"][0] for a in annotations if a.episode in position}
    experts: dict[str, list[int]] = {}
    for a in annotations:
        if a.kind == "expert" and a.episode in position:
            experts.setdefault(a.task, []).append(position[a.episode])
    probed: dict[str, int] = {}
    limit = max_steps or episodes.spec.max_steps
    for annotation in along(f"{name}: scoring", annotations):
        what = f"{name}: episode {annotation.episode}"
        try:
            episode = episodes[position[annotation.episode]]
            known = truths(episode, annotation)
            predicted = predict(value, episode, what, limit)
            scores = score_episode(predicted, known, annotation, episode.hz, value.fps)
            if annotation.kind == "expert" and probed.get(annotation.task, 0) < probe_experts:
                probed[annotation.task] = probed.get(annotation.task, 0) + 1
                others = sorted({w for task, w in words.items() if task != annotation.task} - {episode.instruction})
                scores |= _probe_scores(value, episode, predicted, what, limit, others, probed[annotation.task])
                own = experts[annotation.task]
                if len(own) > 1:
                    other = episodes[own[(own.index(position[annotation.episode]) + 1) % len(own)]]
                    scores["foreign_rank"] = _foreign_rank(value, episode, other, what, limit)
        except (ValueError, IndexError, KeyError, FloatingPointError) as error:  # an episode's fault, not the run's
            out.failures.append(Failure(name, annotation.episode, str(error).removeprefix(f"{what}: ")))
            continue
        out.episodes.append(Scored(annotation, predicted, known, scores, episode.success, episode.hz))
    for task, made in (pairs or {}).items():
        for pair in made:
            try:
                out.pairs.append(Drop(task, compare(value, [pair], limit).pairs["left_drop"][0]))
            except (ValueError, FloatingPointError) as error:
                seed = pair.true.provenance.seed
                out.failures.append(Failure(name, seed, f"pair of {task} with seed {seed}: {error}"))
    return out


def _probe_scores(
    value: ValueFunction, episode: Episode, predicted: Float, what: str, limit: int, others: list[str], k: int
) -> dict[str, float]:
    frames = metrics.sampled(len(episode), episode.hz, value.fps)
    scores = {
        "reversed_voc": metrics.voc(predict(value, probes.reversed_video(episode), what, limit)[frames]),
        "static_voc": metrics.voc(predict(value, probes.static_video(episode), what, limit)[frames]),
    }
    if others:
        other = probes.wrong_instruction(episode, others[k % len(others)])
        scores["instruction_gap"] = float(predicted[-1] - predict(value, other, what, limit)[-1])
    return scores


def _foreign_rank(value: ValueFunction, episode: Episode, other: Episode, what: str, limit: int) -> float:
    changed = probes.foreign_pictures(episode, other, probes.random_times(episode, other))
    frames = metrics.sampled(len(episode), episode.hz, value.fps)
    return _spearman(predict(value, changed, what, limit)[frames], episode.progress[frames])


def rows_of(result: ModelScores) -> list[dict[str, Any]]:
    """One row per score: name, what, mean over tasks of the means over episodes, low, high, n, undefined, mean_as_zero.

    mean_as_zero counts an undefined score as 0 (an undefined order is neither good nor bad).
    """
    rows = []
    for name, what in WHAT.items():
        if name == "success_gap":
            tasks = _tasks(result)
            won = [_last(result, task, True) for task in tasks]
            lost = [_last(result, task, False) for task in tasks]
            mean, low, high = bootstrap_strata(won, lost)
            n = sum(len(w) + len(g) for w, g in zip(won, lost, strict=True) if w and g)
            rows.append(_row(result.model, name, what, mean, low, high, n, 0, mean))
            continue
        every = _by_task(result, name)
        defined = [[x for x in group if not math.isnan(x)] for group in every]
        n, total = sum(map(len, defined)), sum(map(len, every))
        if total:
            mean, low, high = bootstrap_strata(defined)
            zero = bootstrap_strata([np.nan_to_num(group) for group in every])[0]
            rows.append(_row(result.model, name, what, mean, low, high, n, total - n, zero))
    return rows


def _row(model: str, name: str, what: str, mean: float, low: float, high: float, n: int, undefined: int, zero: float):  # type: ignore[no-untyped-def]
    row = {"model": model, "name": name, "what": what, "mean": mean, "low": low, "high": high}
    return row | {"n": n, "undefined": undefined, "mean_as_zero": zero}


def _by_task(result: ModelScores, name: str) -> list[list[float]]:
    """The scores of one name, a list per task."""
    if name in ("left_lower", "left_drop"):
        drops = [[pair.drop for pair in result.pairs if pair.task == t] for t in {p.task: 0 for p in result.pairs}]
        return [[float(d > 0) for d in group] for group in drops] if name == "left_lower" else drops
    return [[s.scores[name] for s in result.episodes if s.annotation.task == t and name in s.scores]
            for t in _tasks(result)]  # fmt: skip


def _tasks(result: ModelScores) -> list[str]:
    return list(dict.fromkeys(s.annotation.task for s in result.episodes))


def _last(result: ModelScores, task: str, success: bool) -> list[float]:
    return [s.scores["last"] for s in result.episodes
            if s.annotation.task == task and (s.annotation.kind != "failure") == success]  # fmt: skip


def headline_row(result: ModelScores, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The model's row of summary.json: the headline_row scores, each with _low and _high, `defined` and n."""
    by_name = {row["name"]: row for row in rows}
    out: dict[str, Any] = {"model": result.model}
    for name in HEADLINE:
        row = by_name.get(name, {"mean": math.nan, "low": math.nan, "high": math.nan})
        out |= {name: row["mean"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
    orders = [not math.isnan(s.scores[name]) for s in result.episodes for name in ORDERS if name in s.scores]
    share, low, high = bootstrap_mean(np.array(orders, float))
    out |= {"defined": share, "defined_low": low, "defined_high": high}
    out["looks"] = verdict(*(out[name] for name in SIGHT))
    return out | {"n": len(result.episodes), "failed": len(result.failures), "fps": result.fps}


def worst(result: ModelScores) -> list[tuple[float, Scored]]:
    """The episodes from worst to best: RMSE against WVM's curve, for failures the last value; ties by episode."""
    scored = [(s.scores["rmse"] if "rmse" in s.scores else max(0.0, s.scores["last"]), s) for s in result.episodes]
    return sorted(scored, key=lambda pair: (-pair[0] if not math.isnan(pair[0]) else 1.0, pair[1].annotation.episode))
