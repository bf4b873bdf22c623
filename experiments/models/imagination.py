"""What a VideoVLA policy imagines with every plan, compared with what then happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.videovla import VideoVlaPolicy
from episodes.intervals import bootstrap_mean
from episodes.types import Episode, Observation
from experiments.models.motion import MotionConfig, motion_similarity


@dataclass(frozen=True)
class Dream:
    """One plan of a policy: the step it was made at, the imagined frames (M, H, W, 3) of one view, the foreground."""

    step: int
    video: npt.NDArray[np.uint8]
    foreground: npt.NDArray[np.bool_]


class Dreamer:
    """The policy as an actor for one environment that keeps, per episode, what it imagined with every chunk."""

    def __init__(self, policy: VideoVlaPolicy, env: Any, view: str) -> None:
        self.policy, self.env, self.view, self.execute = policy, env, view, policy.execute
        self.dreams: list[Dream] = []

    def reset(self, mask: np.ndarray, seeds: np.ndarray, instructions: Sequence[str]) -> None:
        """Begin an episode, with nothing dreamt yet."""
        self.dreams = []
        self.policy.reset(mask, seeds, instructions)

    def act(self, observations: Sequence[Observation | None]) -> np.ndarray:
        """The policy's chunk (1, K, A); what it imagines is kept."""
        chunks, latents = self.policy.plan(observations)
        video = self.policy.decode(latents)[0, self.policy.cameras.index(self.view)]
        foreground = self.env.unwrapped.foreground()[self.view]
        self.dreams.append(Dream(self.execute * len(self.dreams), video, foreground))
        return chunks


def compared(episode: Episode, dreams: Sequence[Dream], view: str, stride: int, config: MotionConfig) -> list[Any]:
    """(step, similarity, pairs) of every dream whose last frame lies inside the episode.

    The executed frames are those of the same moments; after `execute` steps the policy had planned anew by then.
    """
    found = []
    for dream in dreams:
        moments = dream.step + stride * np.arange(len(dream.video))
        if moments[-1] <= len(episode):
            executed = episode.images[view][moments]
            found.append((dream.step, *motion_similarity(executed, dream.video, dream.foreground, config)))
    return found


def rank_share(successes: Sequence[float], failures: Sequence[float]) -> float:
    """Share of (success, failure) pairs in which the success has the higher similarity, ties half: 0.5 is chance."""
    if not len(successes) or not len(failures):
        return float("nan")
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(successes, failures).statistic) / (len(successes) * len(failures))


def summarised(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean similarity of the trials that succeed and that fail, each with its bootstrap interval, and `rank_share`."""
    parts = {True: [], False: []}  # type: ignore[var-annotated]
    for row in rows:
        if row["similarity"] is not None:
            parts[row["success"]].append(row["similarity"])
    made: dict[str, Any] = {"trials": len(rows), "success": float(np.mean([r["success"] for r in rows]))}
    made["undefined"] = len(rows) - sum(map(len, parts.values()))
    for success, name in ((True, "successes"), (False, "failures")):
        mean, low, high = bootstrap_mean(parts[success]) if parts[success] else (None,) * 3  # type: ignore[assignment]
        made[name] = {"similarity": mean, "low": low, "high": high, "n": len(parts[success])}
    return made | {"success_ranked_above_failure": rank_share(parts[True], parts[False])}
