"""Values read after prefixes of the video: TOPReward (log p of "True") and RoboReward-style scores from 1 to 5."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from typing import Any, Self

import numpy as np

from episodes.progress import progress
from episodes.store import Episodes
from episodes.types import Episode, Observation
from networks.settings import LatentsConfig
from valuefns.gvl.backend import Backend, Prefixes
from valuefns.gvl.backends import make_backend
from valuefns.gvl.frames import at_rate, batches, camera_of, evenly, limited
from valuefns.gvl.prompts import TRUE_HEAD, score_tail, true_tail
from valuefns.gvl.questions import Question
from valuefns.gvl.settings import PrefixConfig, RoboRewardConfig, TopRewardConfig
from valuefns.protocol import ValueFunction, ValueStream


class PrefixValue(ValueFunction):
    """A value of the last frame of a video prefix; between the prefixes V is linear (`score`) or held (`stream`).

    progress p in [0, 1] at the ends of `prefixes` prefixes of the video (`fps`, at most `frames` frames, first and last
    among them); exposed V = (1 + p) / 2. The prefixes are nested and the question stands last, so a local model keeps
    its keys and values from one prefix to the next. NaN throughout where more than `missing` of them have no value.
    """

    config: PrefixConfig

    def __init__(self, config: PrefixConfig, device: str = "cpu", backend: Backend | None = None) -> None:
        self.config = config
        self.name = config.name
        self.backend = backend or make_backend(config.backend, device)
        self._folder: Path | None = None

    @classmethod
    def make(cls, config: Any, latents: LatentsConfig, seed: int = 0, device: str = "cpu") -> Self:
        return cls(config, device)

    def fit(self, store: Episodes, folder: Path | None = None) -> PrefixValue:
        self._folder = folder
        return self

    def score(self, episode: Episode, causal: bool = False) -> np.ndarray:
        return self.score_all([episode], causal)[0]

    def score_all(self, episodes: Iterable[Episode], causal: bool = False) -> list[np.ndarray]:
        values = []
        with progress("scoring", len(episodes) if isinstance(episodes, Sized) else 0) as bar:
            for some in batches(episodes, self.backend.together):
                told = self.predict(some, causal)
                values += [self._values(len(e), *t, causal) for e, t in zip(some, told, strict=True)]
                bar.advance(len(some))
        self.backend.write_report(self._folder)
        return values

    def _values(self, T: int, frames: np.ndarray, progress: np.ndarray, causal: bool) -> np.ndarray:
        told = ~np.isnan(progress)
        if not told.any() or (~told).mean() > self.config.missing:
            return np.full(T + 1, np.nan, np.float32)
        if causal:  # a frame knows the last prefix that ended before or at it; before the first one, nothing is done
            held = np.searchsorted(frames[told], np.arange(T + 1), side="right") - 1
            p = np.where(held >= 0, progress[told][np.maximum(held, 0)], 0.0)
        else:
            p = np.interp(np.arange(T + 1), frames[told], progress[told])
        return ((1 + p) / 2).astype(np.float32)

    def predict(self, episodes: Sequence[Episode], causal: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
        """Per episode the ends of the prefixes, int (K,), and the progress told there, float64 (K,), NaN where none is.

        Which frames are shown depends on the episode's length; what is told at a frame depends on earlier frames alone.
        """
        config, ends, videos = self.config, [], []
        for episode in episodes:
            images = episode.images[camera_of(episode, config.camera)]
            shown = at_rate(len(episode), episode.hz, config.fps, config.frames)
            last = evenly(len(shown) - 1, config.prefixes)
            ends.append(shown[last])
            video = tuple(limited(images[t], config.image_size) for t in shown)
            videos.append(Prefixes(TRUE_HEAD, video, tuple(int(k) + 1 for k in last), self.tail(episode.instruction)))
        return list(zip(ends, self.progress(videos, causal), strict=True))

    def tail(self, instruction: str) -> str:
        """The question after a prefix."""
        raise NotImplementedError

    def progress(self, videos: Sequence[Prefixes], causal: bool) -> list[np.ndarray]:
        """Per video the progress in [0, 1] after each of its prefixes, float64, NaN where the model tells none."""
        raise NotImplementedError

    def stream(self, n: int) -> ValueStream:
        return _PrefixStream(self, n)


class TopReward(PrefixValue):
    """TOPReward: log p("True") as the answer to whether the task is completed at the end of a video prefix.

        r_k = log p(True | o_1..o_k, instruction);  p_k = (r_k - min r) / (max r - min r) in the episode, or exp(r_k)

    Source: WVM appendix D (Qwen3-VL, 15 prefixes, 2 fps, 32 frames, chat template); the method's own paper is not among
    this project's sources, so the wording and the min-max scale are our reading. `scale=probability` is causal.
    Errors: an endpoint without log probabilities is a ValueError.
    """

    settings = TopRewardConfig
    config: TopRewardConfig

    def tail(self, instruction: str) -> str:
        return true_tail(instruction)

    def progress(self, videos: Sequence[Prefixes], causal: bool) -> list[np.ndarray]:
        told = self.backend.log_probabilities(videos, "True")
        if causal or self.config.scale == "probability":
            return [np.exp(t) for t in told]
        return [_min_max(t) for t in told]


def _min_max(x: np.ndarray) -> np.ndarray:
    """x scaled to [0, 1]; NaN stays, and a constant is all NaN: it says nothing about progress."""
    if np.isnan(x).all():
        return x
    low, high = np.nanmin(x), np.nanmax(x)
    return (x - low) / (high - low) if high > low else np.full_like(x, np.nan)


class RoboReward(PrefixValue):
    """RoboReward-style: a score from 1 to 5 after each prefix, p = (score - 1) / 4.

    Source: WVM appendix D (5 prefixes of up to 32 frames, 128 tokens). Differs from the paper: the model is whichever
    the backend has; RoboReward's own checkpoint is one of them and our prompt is not its training prompt.
    """

    settings = RoboRewardConfig
    config: RoboRewardConfig

    def tail(self, instruction: str) -> str:
        return score_tail(instruction)

    def progress(self, videos: Sequence[Prefixes], causal: bool) -> list[np.ndarray]:
        scores = [np.full(len(v.ends), np.nan) for v in videos]
        for attempt in range(self.config.attempts):
            missing = [(i, k) for i, s in enumerate(scores) for k in np.flatnonzero(np.isnan(s))]
            questions = [
                Question(videos[i].parts(videos[i].ends[k]), self.config.max_tokens, attempt) for i, k in missing
            ]
            for (i, k), answer in zip(missing, self.backend.ask(questions), strict=True):
                if answer.finish != "refusal":
                    scores[i][k] = parse_score(answer.said)
        return [(s - 1) / 4 for s in scores]


def parse_score(text: str) -> float:
    """The whole number from 1 to 5 after the word score, or standing alone; NaN where there is none or several."""
    found = re.findall(r"(?:score|rating|answer)\b[^\d\n]{0,20}([1-5])(?![\d%]|[.,]\d)", text, re.IGNORECASE)
    alone = re.fullmatch(r"[\s*_\"'`]*([1-5])(?:\s*/\s*5)?[\s*_\"'`.]*", text)
    return float(found[-1]) if found else float(alone[1]) if alone else float("nan")


class _PrefixStream:
    """Keeps each slot's frames at the video's rate and asks after every `stride` steps."""

    def __init__(self, value: PrefixValue, n: int) -> None:
        self.value = value
        self.instructions = [""] * n
        self.videos: list[list[np.ndarray]] = [[] for _ in range(n)]
        self.values = np.full(n, np.nan, np.float32)

    def reset(self, mask: np.ndarray, instructions: Sequence[str]) -> None:
        for i in np.flatnonzero(mask):
            self.instructions[i], self.videos[i], self.values[i] = instructions[i], [], 0.5  # nothing is done yet

    def step(self, observations: Sequence[Observation | None]) -> np.ndarray:
        config, asked, videos = self.value.config, [], []
        for i, observation in enumerate(observations):
            if observation is None:
                continue
            camera = config.camera or next(iter(observation.images))
            self.videos[i].append(limited(observation.images[camera], config.image_size))
            if (len(self.videos[i]) - 1) % config.stride == 0:
                shown = tuple(self.videos[i][t] for t in evenly(len(self.videos[i]) - 1, config.frames))
                videos.append(Prefixes(TRUE_HEAD, shown, (len(shown),), self.value.tail(self.instructions[i])))
                asked.append(i)
        for i, told in zip(asked, self.value.progress(videos, causal=True) if videos else (), strict=True):
            if not np.isnan(told[0]):  # what the model does not tell leaves the value as it was
                self.values[i] = (1 + told[0]) / 2
        return np.where([o is None for o in observations], np.nan, self.values).astype(np.float32)
