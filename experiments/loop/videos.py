"""Videos of a run: held-out demonstrations, and every policy at work with the learned value read online."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.ledger import Trial
from envs.replay import replay
from envs.rollout import rollout
from episodes.progress import progress
from episodes.store import Episodes
from episodes.types import SEGMENTS, Episode
from experiments.loop.run_folder import write_json
from experiments.loop.schemas import RecapSimConfig
from experiments.loop.stages import evaluation_seeds, make_actor, make_env
from experiments.report.facts import wrong
from experiments.report.video import axis_limits, draw_video
from networks.saved import find_policy
from valuefns.make import load_value, make_value
from valuefns.protocol import ValueFunction
from valuefns.settings import APPLIED

SIZE = 256  # pixels, for people; models see task.image_size


@dataclass(frozen=True)
class _Scene:
    """One video to be drawn."""

    file: str
    title: str  # on the page
    drawn: str  # in the video, where there is less room
    caption: str
    episode: Episode
    value: npt.NDArray[np.float64]  # (T,), progress units
    truth: npt.NDArray[np.float64] | None = None  # (T,)
    noise: float = 0.0  # that its actions were executed with


def draw_run_videos(
    run: Path,
    settings: RecapSimConfig,
    store: Episodes,
    values: Sequence[np.ndarray],
    facts: Sequence[dict[str, Any]],
    value_folder: Path,
    ranking: Sequence[tuple[str, float]],
) -> None:
    """Write videos/*.mp4 and videos/index.json: the arms of `ranking` (name, success), then demonstrations.

    settings.videos: how many demonstrations are shown with half of it, and whether there are any. All have one axis,
    and pictures of SIZE pixels where the episode can be replayed exactly.
    """
    scenes = []
    value = _value(settings, value_folder) if settings.videos // 2 else None
    if value is not None:
        scenes += _policies(run, settings, value, ranking)
    scenes += _demonstrations(settings, store, values, facts)
    if scenes:
        curves = [curve for scene in scenes for curve in (scene.value, scene.truth) if curve is not None]
        large = make_env(replace(settings.task, image_size=max(SIZE, settings.task.image_size)), _longest(scenes))
        with progress("videos", len(scenes)) as bar:
            for scene in scenes:
                _draw(run / "videos" / scene.file, scene, large, axis_limits(curves))
                bar.advance()
        large.close()
    rows = [{"file": scene.file, "title": scene.title, "caption": scene.caption} for scene in scenes]
    write_json(run / "videos" / "index.json", rows)


def _value(settings: RecapSimConfig, value_folder: Path) -> ValueFunction | None:
    """The value that rollouts are shown with: the first fold's, or the saved one that the run was given."""
    if isinstance(settings.valuefn, APPLIED):
        return make_value(settings.valuefn, settings.latents, settings.seed, settings.device)
    learned = sorted(value_folder.glob("fold-*/config.json"))
    return load_value(learned[0].parent, settings.device, settings.valuefn.name) if learned else None


def titles(ranking: Sequence[tuple[str, float]]) -> dict[str, str]:
    """What the video of each arm is called; the first one says so where it solved more than every other."""
    named = {arm: f"Policy {arm}" for arm, _ in ranking}
    if len(ranking) > 1 and ranking[0][1] > ranking[1][1]:
        named[ranking[0][0]] += " (most episodes solved)"
    return named


def _policies(
    run: Path, settings: RecapSimConfig, value: ValueFunction, ranking: Sequence[tuple[str, float]]
) -> list[_Scene]:
    env = make_env(settings.task, settings.evaluation.max_steps)
    scenes = []
    for arm, title in titles(ranking).items():
        folder = find_policy(run / "arms" / arm)
        policy = make_actor(folder, settings.device, None, [env])
        (episode,) = rollout(policy, [env], [Trial(evaluation_seeds(settings)[0])], source=f"policy:{arm}")
        curve = _curve(value.score(episode), episode)
        said = f"Evaluation trial 0; it {_ending(episode)}. Blue: the learned value, read online."
        scenes.append(_scene(f"policy-{arm}.mp4", title, said, episode, curve))
    env.close()
    return scenes


def _demonstrations(
    settings: RecapSimConfig, store: Episodes, values: Sequence[np.ndarray], facts: Sequence[dict[str, Any]]
) -> list[_Scene]:
    scenes = []
    unseen = "a model that has not seen it" if settings.folds > 1 else "the model that was fitted on it, too"
    if isinstance(settings.valuefn, APPLIED):
        unseen = "the saved value that the run was given"
    for i in _different_variants(facts, settings.videos - settings.videos // 2):
        episode, variant = store[i], facts[i]["variant"]
        said = f"It {_ending(episode)}. Blue: value of {unseen}; thin: the oracle return."
        truth = facts[i]["oracle"][: len(episode)]
        curve = _curve(values[i], episode)
        scene = _scene(f"demonstration-{i}.mp4", f"Demonstration {i}: {variant}", said, episode, curve)
        scenes.append(replace(scene, truth=truth, noise=settings.collect.action_noise))
    return scenes


def _scene(file: str, title: str, caption: str, episode: Episode, value: npt.NDArray[np.float64]) -> _Scene:
    """A scene whose title says where its value is wrong."""
    bad = wrong(value, episode.success)
    drawn = f"{title}; it {_ending(episode)}{', value wrong' if bad else ''}"
    return _Scene(file, f"{title}, {bad}" if bad else title, drawn, caption, episode, value)


def _curve(value: npt.NDArray[Any], episode: Episode) -> npt.NDArray[np.float64]:
    return (2 * value[: len(episode)] - 1).astype(float)


def _ending(episode: Episode) -> str:
    return "succeeds" if episode.success else "fails"


def _longest(scenes: Sequence[_Scene]) -> int:
    return max(len(scene.episode) for scene in scenes) + 1  # a replay never ends before its episode


def _different_variants(facts: Sequence[dict[str, Any]], count: int) -> list[int]:
    """The first episode of each variant in turn, `count` in all."""
    order: dict[str, int] = {}
    for i, fact in enumerate(facts):
        order.setdefault(fact["variant"], i)
    first = [order[v] for v in ("expert", "hesitation", "retry_miss", "retry_drop", "failure") if v in order]
    others = [i for i in order.values() if i not in first]
    return (first + others)[:count]


def _draw(path: Path, scene: _Scene, large: Any, limits: tuple[float, float]) -> None:
    episode, T = scene.episode, len(scene.episode)
    pictures = replay(large, episode, scene.noise) or episode.images
    labels = [SEGMENTS[s] for s in episode.segments] if scene.truth is not None else None
    views = [np.asarray(frames)[:T] for frames in pictures.values()]
    draw_video(path, views, scene.value, scene.truth, scene.drawn, episode.hz, labels, limits)
