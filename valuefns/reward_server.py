"""An adapter for reward models of others behind HTTP: the interface of Robometer's evaluation server.

What it sends, and what it reads (facts of the interface, github.com/robometer/robometer, robometer/evals):

    POST <url>/evaluate_batch_npy      multipart form data
      sample_0_trajectory_frames       a file .npy, uint8 (N, H, W, 3)
      sample_0                         json: {"sample_type": "progress", "trajectory": {"frames": {"__numpy_file__":
                                       "sample_0_trajectory_frames"}, "task": TEXT, "frames_shape": [N, H, W, 3]}}
      use_frame_steps                  "true": every frame is scored by what came before it
    -> {"outputs_progress": {"progress_pred": [[p_1, ..., p_N]]}, ...}     progress in [0, 1]

Another server is reached by a class like this one, named as valuefn=my_module:MyServer (docs/extending.md).
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import requests

from episodes.connection import ServerError
from episodes.files import one_line
from episodes.store import Episodes
from episodes.types import Episode, Observation
from networks.settings import LatentsConfig
from valuefns.gvl.frames import camera_of, evenly, limited
from valuefns.protocol import ValueFunction, ValueStream
from valuefns.settings import RewardServerConfig


class RewardServer(ValueFunction):
    """V = (1 + p) / 2 of the progress p that a reward server gives to evenly spaced frames, linear between them.

    causal, and streams: every frame is scored by those before it (`use_frame_steps`), and held in between. A stream
    sends what its episode has shown so far, at most `frames` pictures of it.
    Errors: no address or no such server is a ValueError; one that fails or answers something else is a ServerError.
    """

    name = RewardServerConfig.name
    settings = RewardServerConfig

    def __init__(self, config: RewardServerConfig) -> None:
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", config.url):
            raise ValueError(f"valuefn=reward_server: url={config.url!r} is not http(s)://host[:port]; name the server")
        self.config = config

    @classmethod
    def make(cls, config: Any, latents: LatentsConfig, seed: int = 0, device: str = "cpu") -> RewardServer:
        """Nothing is asked before the first episode."""
        return cls(config)

    def fit(self, store: Episodes, folder: Any = None) -> RewardServer:
        """Nothing is trained here."""
        return self

    def score(self, episode: Episode, causal: bool = False) -> np.ndarray:
        """The values (T + 1,) of one episode, one request."""
        frames = evenly(len(episode), self.config.frames)
        pictures = episode.images[camera_of(episode, self.config.camera)][frames]
        progress = self.progress(pictures, episode.instruction, steps=causal)
        at = np.arange(len(episode) + 1)
        if causal:
            held = progress[np.searchsorted(frames, at, "right") - 1]
            return ((1 + held) / 2).astype(np.float32)
        return ((1 + np.interp(at, frames, progress)) / 2).astype(np.float32)

    def stream(self, n: int) -> ValueStream:
        """A reader of n environments; a request for each at every step."""
        return _RewardStream(self, n)

    def progress(self, pictures: np.ndarray, task: str, steps: bool) -> np.ndarray:
        """What the server says of pictures uint8 (N, H, W, 3), float64 (N,)."""
        pictures = np.stack([limited(picture, self.config.image_size) for picture in pictures])
        blob = io.BytesIO()
        np.save(blob, np.ascontiguousarray(pictures))
        key = "sample_0_trajectory_frames"
        trajectory = {"frames": {"__numpy_file__": key}, "task": task, "frames_shape": list(pictures.shape)}
        sample = {"sample_type": "progress", "trajectory": trajectory}
        try:
            answer = requests.post(
                self.config.url.rstrip("/") + "/evaluate_batch_npy",
                files={key: (f"{key}.npy", blob.getvalue(), "application/octet-stream")},
                data={"sample_0": json.dumps(sample), "use_frame_steps": "true" if steps else "false"},
                timeout=self.config.timeout,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise ServerError(one_line(f"reward server {self.config.url}: {type(error).__name__}: {error}")) from error
        if answer.status_code != 200:
            said = one_line(answer.text)[:200]
            raise ServerError(f"reward server {self.config.url}: status {answer.status_code}: {said}")
        return self._read(answer, len(pictures))

    def _read(self, answer: Any, n: int) -> np.ndarray:
        try:
            (told,) = answer.json()["outputs_progress"]["progress_pred"]
            progress = np.array(told, np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise ServerError(
                f"reward server {self.config.url}: answers without outputs_progress.progress_pred"
            ) from error
        if progress.shape != (n,) or not np.isfinite(progress).all():
            raise ServerError(
                f"reward server {self.config.url}: {progress.shape} numbers for {n} frames, or one that is not finite"
            )
        return progress


class _RewardStream:
    """What n environments have shown since their episodes began."""

    def __init__(self, value: RewardServer, n: int) -> None:
        self.value = value
        self.seen: list[list[np.ndarray]] = [[] for _ in range(n)]
        self.instructions = [""] * n

    def reset(self, mask: np.ndarray, instructions: Sequence[str]) -> None:
        for i in np.flatnonzero(mask):
            self.seen[i], self.instructions[i] = [], instructions[i]

    def step(self, observations: Sequence[Observation | None]) -> np.ndarray:
        values = np.full(len(observations), np.nan, np.float32)
        for i, observation in enumerate(observations):
            if observation is None:
                continue
            camera = self.value.config.camera or next(iter(observation.images))
            self.seen[i].append(observation.images[camera])
            shown = evenly(len(self.seen[i]) - 1, self.value.config.frames) if len(self.seen[i]) > 2 else None
            pictures = np.stack(self.seen[i] if shown is None else [self.seen[i][t] for t in shown])
            values[i] = (1 + self.value.progress(pictures, self.instructions[i], steps=False)[-1]) / 2
        return values
