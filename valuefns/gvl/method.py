"""Generative Value Learning: a vision-language model puts a percentage on shuffled frames (fit, score, predict)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from episodes.progress import progress
from episodes.store import Episodes, EpisodeStore
from episodes.types import Episode
from networks.settings import LatentsConfig
from valuefns.bench.metrics import voc
from valuefns.gvl.backend import Backend
from valuefns.gvl.backends import make_backend
from valuefns.gvl.frames import batches, camera_of, evenly, examples_from, limited, same_episode, shuffled
from valuefns.gvl.parsing import parse_percentages
from valuefns.gvl.prompts import Shown, gvl_prompt
from valuefns.gvl.questions import Answer, Question
from valuefns.gvl.settings import GVLConfig
from valuefns.protocol import ValueFunction


@dataclass(frozen=True, eq=False)
class Prediction:
    """What GVL said of one episode: progress in [0, 1] at `frames` (m,) of it, NaN where the model gave no value."""

    frames: np.ndarray  # int (m,), 0 first and T last
    progress: np.ndarray  # float64 (m,)
    asked: int  # questions
    refused: int  # answers without a single value

    @property
    def missing(self) -> int:
        """Frames without an answer."""
        return int(np.isnan(self.progress).sum())

    @property
    def voc(self) -> float:
        """VOC over the predicted frames but the anchor's (0, given); NaN where undefined."""
        told = ~np.isnan(self.progress[1:])
        return voc(self.progress[1:][told])

    def values(self, T: int, most_missing: float) -> np.ndarray:
        """V = (1 + p) / 2 for every frame, float32 (T + 1,), linear between those with a value, the anchor's p = 0.

        All NaN where more than the share `most_missing` has no value: then there is nothing to interpolate honestly.
        """
        told = ~np.isnan(self.progress)
        if self.missing > most_missing * len(self.frames) or not told[1:].any():
            return np.full(T + 1, np.nan, np.float32)
        progress = self.progress.copy()
        progress[0], told[0] = 0.0, True
        return ((1 + np.interp(np.arange(T + 1), self.frames[told], progress[told])) / 2).astype(np.float32)


class GVL(ValueFunction):
    """GVL (arXiv 2411.04549): v_1~, ..., v_T~ = VLM(o_1~, ..., o_T~; instruction, o_1), then un-shuffled (eq. 3).

    `frames` evenly spaced frames 0..T (the final observation's is the last) are shuffled by a seeded permutation behind
    an anchor, the first frame at 0 %. The model writes a description and a percentage for each. An answer that lacks
    frames is asked for again, at most `attempts` times; the one with the most values counts, what it lacks is NaN
    (`predict`). Exposed value: V = (1 + p) / 2 (ViVa's scale of a success), linear between the frames. With `shots`,
    `fit` draws successes whose shuffled (frame, t / T) pairs precede the question (eq. 4).
    Usage: GVL(config).fit(store).score(store[0]); `backend.report()` tells tokens and cost.
    Differs from the paper: the prompt's wording is ours; percentages keep their decimals; values of separate answers
    are never mixed; what a model will not answer is missing, not scored.
    """

    name = GVLConfig.name
    settings = GVLConfig

    def __init__(self, config: GVLConfig, device: str = "cpu", backend: Backend | None = None) -> None:
        self.config = config
        self.backend = backend or make_backend(config.backend, device)
        self._examples: list[Episode] = []
        self._folder: Path | None = None

    @classmethod
    def make(cls, config: Any, latents: LatentsConfig, seed: int = 0, device: str = "cpu") -> Self:
        return cls(config, device)

    def fit(self, store: Episodes, folder: Path | None = None) -> GVL:
        config = self.config
        self._folder = folder
        if config.shots:
            source = EpisodeStore.open(config.shots_store) if config.shots_store else store
            self._examples = examples_from(source, config.shots, config.seed)
        return self

    def score(self, episode: Episode, causal: bool = False) -> np.ndarray:
        return self.score_all([episode], causal)[0]

    def score_all(self, episodes: Iterable[Episode], causal: bool = False) -> list[np.ndarray]:
        if causal:
            raise ValueError(
                "value 'gvl' sees the whole episode, so it has no causal form; use valuefn=topreward or viva"
            )
        values = []
        with progress("scoring", len(episodes) if isinstance(episodes, Sized) else 0) as bar:
            for some in batches(episodes, self.backend.together):
                told = self._predict(some)
                values += [p.values(len(e), self.config.missing) for e, p in zip(some, told, strict=True)]
                bar.advance(len(some))
        self.backend.write_report(self._folder)
        return values

    def predict(self, episodes: Iterable[Episode]) -> Iterator[Prediction]:
        """Ask about each episode; several are asked about at once, as many as the backend takes together."""
        for some in batches(episodes, self.backend.together):
            yield from self._predict(some)

    def _predict(self, episodes: Sequence[Episode]) -> list[Prediction]:
        config = self.config
        jobs = [_Job(e, config, self._shown(e)) for e in episodes]
        for attempt in range(config.attempts):
            open_jobs = [(job, k) for job in jobs for k in job.open()]
            if not open_jobs:
                break
            answers = self.backend.ask([job.question(k, attempt) for job, k in open_jobs])
            for (job, k), answer in zip(open_jobs, answers, strict=True):
                job.take(k, answer)
        return [job.prediction() for job in jobs]

    def _shown(self, episode: Episode) -> list[tuple[str, Shown]]:
        config = self.config
        if config.shots and not self._examples:
            raise ValueError(f"gvl: shots={config.shots} but not fitted; fit it on a store with successes first")
        others = [e for e in self._examples if not same_episode(e, episode)][: config.shots]
        shown: list[tuple[str, Shown]] = []
        for example in others:
            frames = evenly(len(example), config.frames)
            order = shuffled(len(frames), config.seed + 1, example)
            images = example.images[camera_of(example, config.camera if config.camera in example.images else "")]
            shown.append(
                (
                    example.instruction,
                    [(limited(images[t], config.image_size), t / len(example)) for t in frames[order]],
                )
            )
        return shown


class _Job:
    """The questions about one episode and the best answer to each so far."""

    def __init__(self, episode: Episode, config: GVLConfig, examples: list[tuple[str, Shown]]) -> None:
        self.config, self.examples = config, examples
        self.images = episode.images[camera_of(episode, config.camera)]
        self.frames = evenly(len(episode), config.frames)
        n = len(self.frames)
        self.order = shuffled(n, config.seed, episode) if config.shuffle else np.arange(n)
        self.groups = [self.order] if config.context == "video" else [np.array([i]) for i in self.order]
        self.instruction = episode.instruction
        by_image = config.goal == "image" or (config.goal == "auto" and not episode.instruction.strip())
        if not by_image and not episode.instruction.strip():
            raise ValueError(f"gvl: episode with seed {episode.provenance.seed} has no instruction; use goal=image")
        self.goal_image = self._image(len(episode)) if by_image else None
        self.progress = np.full(n, np.nan)
        self.asked = self.refused = 0
        self.cut: set[int] = set()

    def open(self) -> list[int]:
        """The groups that still lack a value and may get it: one that was cut off would be cut off again."""
        lacking = [k for k, group in enumerate(self.groups) if np.isnan(self.progress[group]).any()]
        return [k for k in lacking if k not in self.cut]

    def question(self, k: int, attempt: int) -> Question:
        config, frames = self.config, [self._image(self.frames[i]) for i in self.groups[k]]
        anchor = self._image(0) if config.context == "video" else None
        parts = gvl_prompt(
            self.instruction, self.goal_image, anchor, frames, self.examples, config.shuffle, again=attempt > 0
        )
        return Question(parts, config.max_tokens, attempt)

    def take(self, k: int, answer: Answer) -> None:
        group = self.groups[k]
        values = parse_percentages(answer.said, len(group), cut=answer.finish == "length") / 100
        if answer.finish == "refusal":
            values[:] = np.nan
        self.asked += 1
        if answer.finish == "length":
            self.cut.add(k)
        self.refused += bool(np.isnan(values).all())
        if np.isnan(values).sum() < np.isnan(self.progress[group]).sum():
            self.progress[group] = values

    def prediction(self) -> Prediction:
        return Prediction(self.frames, self.progress, self.asked, self.refused)

    def _image(self, t: int) -> np.ndarray:
        return limited(self.images[t], self.config.image_size)
