"""Videos of a run: held-out demonstrations, and the policies at work with the learned value read online."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.ledger import Trial
from envs.rollout import rollout
from episodes.store import Episodes
from episodes.types import SEGMENTS, Episode
from experiments.loop.run_folder import write_json
from experiments.loop.schemas import RecapSimConfig
from experiments.loop.stages import evaluation_seeds, make_actor, make_env
from experiments.report.video import draw_video
from valuefns.make import load_value


def draw_run_videos(
    run: Path,
    settings: RecapSimConfig,
    store: Episodes,
    values: Sequence[np.ndarray],
    facts: Sequence[dict[str, Any]],
    value_folder: Path,
) -> None:
    """Write videos/*.mp4 and videos/index.json: half of settings.videos demonstrations, half policy rollouts."""
    entries = []
    demonstrations = _different_variants(facts, settings.videos - settings.videos // 2)
    for i in demonstrations:
        episode, variant = store[i], facts[i]["variant"]
        name = f"demonstration-{i}.mp4"
        _draw(run / "videos" / name, episode, values[i], f"demonstration: {variant}", truth=facts[i]["oracle"])
        ending = "succeeds" if episode.success else "fails"
        entries.append(
            {"file": name, "title": f"Demonstration {i}: {variant}",
             "caption": f"It {ending}. Blue: value of a model that has not seen it; grey: the oracle return."}
        )  # fmt: skip
    learned = sorted(value_folder.glob("fold-*/config.json"))
    if learned and settings.videos // 2:
        value = load_value(learned[0].parent, settings.device, settings.valuefn.name)
        env = make_env(settings.task, settings.evaluation.max_steps)
        chosen = [m for m in ("bc", *reversed(settings.methods)) if m in settings.methods]
        for method in list(dict.fromkeys(chosen))[: settings.videos // 2]:
            policy = make_actor(run / "arms" / method / "policy-0", settings.device, None, [env])
            (episode,) = rollout(policy, [env], [Trial(evaluation_seeds(settings)[0])], source=f"policy:{method}")
            ending = "succeeds" if episode.success else "fails"
            name = f"policy-{method}.mp4"
            _draw(run / "videos" / name, episode, value.score(episode), f"{method} {ending}")
            entries.append(
                {
                    "file": name,
                    "title": f"Policy: {method}",
                    "caption": f"Evaluation trial 0; it {ending}. Blue: the learned value.",
                }
            )
        env.close()
    write_json(run / "videos" / "index.json", entries)


def _different_variants(facts: Sequence[dict[str, Any]], count: int) -> list[int]:
    """The first episode of each variant in turn, `count` in all."""
    order: dict[str, int] = {}
    for i, fact in enumerate(facts):
        order.setdefault(fact["variant"], i)
    first = [order[v] for v in ("expert", "hesitation", "retry_miss", "retry_drop", "failure") if v in order]
    others = [i for i in order.values() if i not in first]
    return (first + others)[:count]


def _draw(
    path: Path, episode: Episode, value: npt.NDArray[Any], title: str, truth: npt.NDArray[Any] | None = None
) -> None:
    T = len(episode)
    labelled = truth is not None
    draw_video(
        path,
        [frames[:T] for frames in episode.images.values()],
        (2 * value[:T] - 1).astype(float),
        truth[:T] if truth is not None else None,
        title,
        episode.hz,
        [SEGMENTS[s] for s in episode.segments] if labelled else None,
    )
