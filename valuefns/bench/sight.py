"""Does a value look? The same held-out episodes with changed inputs, and pictures in which the object stayed behind."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from episodes.intervals import bootstrap_mean, bootstrap_of
from episodes.progress import along
from episodes.types import Episode
from valuefns.bench import metrics, probes
from valuefns.bench.predict import in_progress_units, predict
from valuefns.protocol import ValueFunction

Float = npt.NDArray[np.float64]

PROBES = {
    "black": "black pictures",
    "foreign": "another episode's pictures at the same share of its time",
    "joints_alone": "another episode's pictures at random times: all that tells the time is the joints",
    "pictures_alone": "another episode's proprioception at random times: all that tells the time is the pictures",
    "frozen": "the first frame's proprioception throughout",
    "instruction": "another instruction",
}
INPUT = {"black": "pictures", "foreign": "pictures", "joints_alone": "pictures", "pictures_alone": "proprioception",
         "frozen": "proprioception", "instruction": "instruction"}  # fmt: skip
MEASURES = {
    "truth": "rank with the simulator's progress",
    "own": "rank with the value's own scores of the unchanged episode",
    "change": "mean absolute change of the value (progress units)",
}
LOWER, DROP, FOREIGN = 0.9, 0.1, 0.5
"""What a value that looks reaches: share of pairs that are lower, mean drop, rank that is left to foreign pictures."""


class Counterfactual(Protocol):
    """An episode, the same with the object left behind or absent in its pictures, and the first frame that differs."""

    @property
    def true(self) -> Episode:
        """What happened."""
        ...

    @property
    def left(self) -> Episode:
        """The same with the object left behind."""
        ...

    @property
    def absent(self) -> Episode:
        """The same without the object."""
        ...

    @property
    def moved(self) -> int:
        """The first frame in which they differ."""
        ...


@dataclass
class Sight:
    """What a value did: scores per episode by measure, by probe and measure, per pair; undefined is NaN.

    episodes {truth: (E,)}; probes {probe: {measure: (E,)}}; pairs {left_drop, left_drop_value, absent_drop: (N,)}:
    value of the true picture minus that of the counterfactual one, mean over the frames after the grasp.
    """

    episodes: dict[str, list[float]] = field(default_factory=lambda: {"truth": []})
    probes: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    pairs: dict[str, list[float]] = field(default_factory=dict)

    def add(self, other: Sight) -> None:
        """Append what another model (of the next fold) did."""
        for mine, theirs in ((self.episodes, other.episodes), (self.pairs, other.pairs)):
            for name, scores in theirs.items():
                mine.setdefault(name, []).extend(scores)
        for probe, measures in other.probes.items():
            for name, scores in measures.items():
                self.probes.setdefault(probe, {}).setdefault(name, []).extend(scores)

    def takes(self, what: str) -> bool:
        """Whether an input ("pictures", "proprioception", "instruction") ever changed the value by a bit."""
        probed = [
            self.probes[probe]["change"] for probe, read in INPUT.items() if read == what and probe in self.probes
        ]
        return any(change != 0 for scores in probed for change in scores)


def look(value: ValueFunction, episodes: Sequence[Episode], instruction: str, max_steps: int, seed: int = 0) -> Sight:
    """Score every episode as it is and under each of PROBES; the others of the list lend their inputs.

    Ranks are over the frames 0..T-1 of an episode. `instruction` is the other one. ValueError: fewer than 2 episodes.
    """
    if len(episodes) < 2:
        raise ValueError(f"sight: {len(episodes)} episodes; another one must lend its pictures, give at least 2")
    sight = Sight(probes={probe: {measure: [] for measure in MEASURES} for probe in PROBES})
    for i, episode in enumerate(along("does it look: probes", episodes)):
        what, truth = f"{value.name}: episode with seed {episode.provenance.seed}", episode.progress[: len(episode)]
        own = predict(value, episode, what, max_steps)
        sight.episodes["truth"].append(_rank(own, truth))
        other = episodes[(i + 1 + seed % (len(episodes) - 1)) % len(episodes)]
        for probe, changed in _changed(episode, other, instruction, seed).items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pictures that are black on purpose
                seen = predict(value, changed, what, max_steps)
            scores = sight.probes[probe]
            scores["truth"].append(_rank(seen, truth))
            scores["own"].append(metrics.spearman(seen, own))
            scores["change"].append(float(np.abs(seen - own).mean()))
    return sight


def _changed(episode: Episode, other: Episode, instruction: str, seed: int) -> dict[str, Episode]:
    times = probes.random_times(episode, other, seed)
    return {
        "black": probes.black_pictures(episode),
        "foreign": probes.foreign_pictures(episode, other, probes.aligned(episode, other)),
        "joints_alone": probes.foreign_pictures(episode, other, times),
        "pictures_alone": probes.foreign_proprio(episode, other, times),
        "frozen": probes.frozen_proprio(episode),
        "instruction": probes.wrong_instruction(episode, instruction),
    }


def _rank(predicted: Float, truth: npt.NDArray[Any]) -> float:
    return math.nan if np.isnan(truth).any() else metrics.spearman(predicted, truth)


def compare(value: ValueFunction, pairs: Sequence[Counterfactual], max_steps: int) -> Sight:
    """Score the true and the counterfactual pictures of every pair."""
    out: dict[str, list[float]] = {"left_drop": [], "left_drop_value": [], "absent_drop": []}
    for pair in pairs:
        after = slice(pair.moved, len(pair.true))
        seen = {}
        for name, episode in (("true", pair.true), ("left", pair.left), ("absent", pair.absent)):
            raw = np.asarray(value.score(episode), np.float64)
            seen[name] = in_progress_units(raw, value.scale, len(episode), max_steps, episode.success), raw[:-1]
        for name in ("left", "absent"):
            out[f"{name}_drop"].append(float((seen["true"][0] - seen[name][0])[after].mean()))
        out["left_drop_value"].append(float((seen["true"][1] - seen["left"][1])[after].mean()))
    return Sight(pairs=out)


def across_rows(
    predicted: Sequence[npt.NDArray[Any]], truth: Sequence[npt.NDArray[Any]], fold: npt.NDArray[Any], hz: float
) -> list[dict[str, Any]]:
    """The row of `metrics.across` twice a second, mean over folds (one model each), drawn again over episodes."""
    every = max(1, round(hz / 2))

    def of(indices: npt.NDArray[np.int64]) -> float:
        parts = [
            metrics.across([predicted[i] for i in mine], [truth[i] for i in mine], every)
            for mine in (indices[fold[indices] == k] for k in np.unique(fold))
        ]
        defined = [p for p in parts if not math.isnan(p)]
        return float(np.mean(defined)) if defined else math.nan

    mean, low, high = bootstrap_of(of, len(predicted))
    what = "rank with the simulator's progress ACROSS episodes at equal time; a clock has none"
    row = {"name": "across", "what": what, "mean": mean, "low": low, "high": high}
    return [row | {"n": len(predicted), "undefined": 0, "scores": [] if math.isnan(mean) else [mean]}]


def rows(sight: Sight) -> list[dict[str, Any]]:
    """One row per measure: name, what, mean, low, high, n (defined), undefined, scores.

    An input that never changed the value by a bit is not read: its ranks say nothing and are left out (n = 0).
    """
    out = [_row("truth", "rank with the simulator's progress, the episode as it is", sight.episodes["truth"])]
    for probe, what in PROBES.items():
        for measure, said in MEASURES.items() if probe in sight.probes else ():
            read = sight.takes(INPUT[probe])
            text = f"{what}: {said}" if read else f"{what}: the value takes no {INPUT[probe]}"
            out.append(_row(f"{probe}_{measure}", text, sight.probes[probe][measure] if read else []))
    drops = sight.pairs
    if drops:
        lower, gone = ([float(d > 0) for d in drops[name]] for name in ("left_drop", "absent_drop"))
        out += [
            _row("left_lower", "object left behind: share of pairs whose value is lower after the grasp", lower),
            _row("left_drop", "object left behind: how much lower (progress units)", drops["left_drop"]),
            _row("left_drop_value", "object left behind: how much lower (units of V)", drops["left_drop_value"]),
            _row("absent_lower", "object absent: share of pairs that are lower", gone),
            _row("absent_drop", "object absent: how much lower (progress units)", drops["absent_drop"]),
        ]  # fmt: skip
    return out


def _row(name: str, what: str, scores: Sequence[float]) -> dict[str, Any]:
    defined = [s for s in scores if not math.isnan(s)]
    mean, low, high = bootstrap_mean(defined)
    counts = {"n": len(defined), "undefined": len(scores) - len(defined), "scores": list(scores)}
    return {"name": name, "what": what, "mean": mean, "low": low, "high": high} | counts


def verdict(lower: float, drop: float, foreign: float) -> str:
    """Say whether a value looks: "yes" where all bars are met, "no" where neither of the pairs' is, else "partly".

    `lower` (share of pairs) >= .9, `drop` (progress units) >= .1, `foreign` (rank with the joints' own progress under
    foreign pictures at random times) < .5. "unknown" where nothing was measured, or `foreign` alone: a value that
    follows nothing meets that, too.
    """
    if lower != lower or drop != drop:
        return "no" if foreign >= FOREIGN else "unknown"
    met = [lower >= LOWER, drop >= DROP, *([foreign < FOREIGN] if foreign == foreign else [])]
    return "yes" if all(met) else "partly" if any(met[:2]) else "no"


def verdict_of(found: Sequence[dict[str, Any]]) -> str:
    """The verdict of the rows that `rows` made."""
    mean = {row["name"]: float(row["mean"]) for row in found}
    return verdict(*(mean.get(name, math.nan) for name in ("left_lower", "left_drop", "joints_alone_truth")))
