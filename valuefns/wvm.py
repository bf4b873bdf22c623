"""WVM, the World Value Model: the progress of a task read from the features of a video model (fit, score, stream)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from episodes.store import Episodes
from episodes.types import EnvSpec, Episode, Observation
from episodes.windows import DecodedCache
from networks.clips import ClipBank, clip_channels, clip_width, encode_clips
from networks.latents import LatentEncoder
from networks.mot import Keys
from networks.planned import Planned, planned_channels
from networks.settings import STRIDE, LatentsConfig
from networks.text import TextEmbedder
from networks.trainer import Trainer
from valuefns.learned import LearnedValue
from valuefns.protocol import ValueStream
from valuefns.settings import WVMConfig
from valuefns.views import episode_views, observed_views, require_finite, require_pictures
from valuefns.wvm_model import WVMModel
from valuefns.wvm_windows import Windows, read_times, require_history, spacing

BATCH = 256
"""Windows solved at once; their keys stay in memory (at the published size about 45 MB each)."""

SAME = 1e-4
"""Progress: a prefix that changes by less is not read again."""


class WVM(LearnedValue):
    """WVM (Wang et al., 2026) as a value function, in ViVa's scale: V = (1 + progress) / 2, a start 1/2 and an end 1.

    Usage: value = WVM(config, latents, seed=0).fit(store); value.score(store[0])  # float32 (T + 1,)
    It reads no proprioception. Differs from the paper: several views, side by side; the scale; values between the read
    frames are interpolated (or held: causal); a prefix that changes by less than SAME is not read again.
    """

    name = WVMConfig.name
    settings = WVMConfig
    encoder: LatentEncoder
    model: WVMModel | None

    def __init__(self, config: WVMConfig, latents: LatentsConfig, seed: int = 0, device: str = "cpu") -> None:
        self.config, self.seed, self.device = config, seed, device
        self.history, self.fps = config.chunk, config.fps
        self.encoder = LatentEncoder(latents).to(device)
        if not config.wan.checkpoint:
            config = self.config = replace(config, wan=replace(config.wan, channels=clip_channels(self.encoder)))
        self.text = TextEmbedder(config.text)

    @classmethod
    def make(cls, config: WVMConfig, latents: LatentsConfig, seed: int = 0, device: str = "cpu") -> WVM:
        return cls(config, latents, seed, device)

    def fit(self, store: Episodes, folder: Path | None = None) -> WVM:
        config = self.config
        spacing(store.spec.hz, config.fps)
        data = DecodedCache(store)
        require_pictures(data.images, store.spec.cameras, "wvm, fit")
        if not self.encoder.fitted:
            self.encoder.fit(data.images, self.seed, self.device, folder)
        bank = ClipBank(self.encoder, data.images, config.image_shift, config.shifted_copies, self.seed)
        batches = Windows(store, data, bank, self.text, config, self.seed)
        self.begin(store)
        assert self.model is not None
        wanted = self.model.video.transformer.config.in_channels
        if wanted != clip_channels(self.encoder):
            raise ValueError(
                f"wvm: the video model reads {wanted} channels, latents={self.encoder.config.name} have "
                f"{clip_channels(self.encoder)}; use latents=wan_vae"
            )
        Trainer(config.training, folder, "wvm", self.seed, self.device).fit(self.model, batches)
        return self

    def score(self, episode: Episode, causal: bool = False) -> np.ndarray:
        """Overlapping windows, averaged per frame and interpolated; causal: each window's last frame, held."""
        assert self.spec is not None, "fit or load the value first"
        T, h, s = len(episode), self.config.chunk, self.config.stride
        name = f"wvm, episode with seed {episode.provenance.seed}"
        step = spacing(self.spec.hz, self.config.fps)
        require_history(T, step, h, f"the episode with seed {episode.provenance.seed}")
        times = read_times(T, step)
        if not causal and times[-1] < T:
            times = np.append(times, T)
        frames = episode_views(episode, self.spec, name, proprio=False)[times]
        ends = np.arange(0, len(times), s)
        if not causal and ends[-1] < len(times) - 1:
            ends = np.append(ends, len(times) - 1)
        chunks = self._chunks(frames, ends, episode.instruction)  # (E, h - 1)
        if causal:
            newest = require_finite(chunks[:, -1], name)
            held = np.searchsorted(times[ends], np.arange(T + 1), "right") - 1
            return _exposed(newest[held])
        total, count = np.zeros(len(times)), np.zeros(len(times))
        for slot in range(h - 1):
            at = ends - (h - 2) + slot
            seen = at >= 0
            np.add.at(total, at[seen], chunks[seen, slot])
            np.add.at(count, at[seen], 1)
        return _exposed(np.interp(np.arange(T + 1), times, require_finite(total / count, name)))

    @torch.no_grad()
    def _chunks(self, frames: np.ndarray, ends: np.ndarray, instruction: str) -> np.ndarray:
        """Progress (E, h - 1) of the frames after the first of the windows that end at `ends` (E,)."""
        assert self.model is not None, "fit or load the value first"
        noise, first = self.model.noise()
        noise, text = noise.to(self.device), self.text.embed([instruction]).to(self.device)
        rows = np.maximum(ends[:, None] + np.arange(-self.config.chunk, 1), 0)
        behind = np.diff(ends, prepend=ends[0] - 1)  # the prefix is this token of the window before
        result, before = [], torch.tensor([first], device=self.device)
        for start in range(0, len(ends), BATCH):
            part = slice(start, start + BATCH)
            keys = self.model.look(encode_clips(self.encoder, frames, rows[part]).to(self.device), text)
            token = torch.as_tensor(behind[part] - 1, device=self.device)
            chunks = _chained(self.model, keys, before, token, text, noise)
            result.append(chunks.cpu().numpy())
            if start + BATCH < len(ends):
                before = chunks[-1:, behind[start + BATCH] - 1]
        return np.concatenate(result)

    def stream(self, n: int) -> ValueStream:
        return _WVMStream(self, n)

    def network(self, spec: EnvSpec) -> WVMModel:
        return WVMModel(self.config)

    @classmethod
    def as_made(cls, config: WVMConfig, latents: LatentsConfig) -> WVMConfig:
        return (
            config if config.wan.checkpoint else replace(config, wan=replace(config.wan, channels=clip_width(latents)))
        )

    @classmethod
    def without_sources(cls, config: WVMConfig) -> WVMConfig:
        # one saved without a `format` was trained otherwise, but scores by the same rule
        return replace(config, wan=replace(config.wan, checkpoint=""))

    @classmethod
    def planned(cls, config: WVMConfig, latents: LatentsConfig, views: int, size: int) -> Planned:
        wan, stacked = config.wan, 1 if latents.name == "wan_vae" else STRIDE
        small = replace(config, wan=replace(wan, checkpoint="", channels=planned_channels(wan, latents, stacked)))
        side, length = size // 16, config.chunk // STRIDE

        def clips(n: int) -> dict[str, Tensor]:
            clip = torch.zeros(n, small.wan.channels, length, side, side * views)
            batch = {"current": clip, "future": clip, "values": torch.zeros(n, config.chunk)}
            batch |= {"video_weight": torch.ones(n)}
            return batch | {"text": torch.zeros(n, config.text.max_length, wan.text_dim)}

        return Planned(cls.name, lambda: WVMModel(small), clips, config.training, wan.checkpoint)


def _exposed(progress: np.ndarray) -> np.ndarray:
    return ((1 + progress) / 2).astype(np.float32)


def _chained(model: WVMModel, keys: list[Keys], before: Tensor, token: Tensor, text: Tensor, noise: Tensor) -> Tensor:
    """Chunks (E, h - 1) of windows in order, each with a token of the window before as its prefix.

    The chain x_e = f_e(x_{e-1}) is solved for all windows at once: every round reads again those whose prefix has
    changed, and is exact for one window more. Values lean on the video, so a few rounds suffice, not E.
    """
    chunks = model.chunk(keys, before.expand(len(token)), text, noise)
    prefix = before.expand(len(token)).clone()
    for _ in range(len(token)):
        wanted = torch.cat([before, chunks[:-1].gather(1, token[1:, None])[:, 0]])
        stale = (wanted - prefix).abs() > SAME
        if not stale.any():
            break
        prefix[stale] = wanted[stale]
        some = [(k[stale], v[stale]) for k, v in keys]
        chunks[stale] = model.chunk(some, prefix[stale], text, noise)
    return chunks


class _WVMStream:
    """Keeps each slot's last h + 1 frames and its newest window; between frames and windows the value is held."""

    def __init__(self, value: WVM, n: int) -> None:
        assert value.spec is not None and value.model is not None, "fit or load the value first"
        self.value, self.model = value, value.model
        self.step_size = spacing(value.spec.hz, value.config.fps)
        self.instructions = [""] * n
        self.noise, self.first = value.model.noise()
        self.noise = self.noise.to(value.device)
        self.clock = np.zeros(n, np.int64)  # control steps seen
        self.read = np.zeros(n, np.int64)  # frames read
        self.frames: list[list[np.ndarray]] = [[] for _ in range(n)]
        self.chunks = np.zeros((n, value.config.chunk - 1), np.float32)

    def reset(self, mask: np.ndarray, instructions: Sequence[str]) -> None:
        for i in np.flatnonzero(mask):
            self.instructions[i], self.frames[i] = instructions[i], []
            self.clock[i] = self.read[i] = 0

    def step(self, observations: Sequence[Observation | None]) -> np.ndarray:
        value, config = self.value, self.value.config
        assert value.spec is not None
        asked = np.array([o is not None for o in observations])
        if not asked.any():
            return np.full(len(asked), np.nan, np.float32)
        slots = np.flatnonzero(asked)
        seen = observed_views([o for o in observations if o is not None], value.spec, "wvm, stream", proprio=False)
        due = asked & (self.clock == np.round(self.read * self.step_size))
        new = due & (self.read % config.stride == 0)
        for i, picture in zip(slots, seen, strict=True):
            if due[i]:
                kept = self.frames[i] or [picture] * config.chunk
                self.frames[i] = [*kept, picture][-config.chunk - 1 :]
        if new.any():
            self._look(np.flatnonzero(new))
        self.clock += asked
        self.read += due
        return np.where(asked, _exposed(self.chunks[:, -1]), np.nan).astype(np.float32)

    @torch.no_grad()
    def _look(self, slots: np.ndarray) -> None:
        value, h = self.value, self.value.config.chunk
        frames = np.concatenate([np.stack(self.frames[i]) for i in slots])
        rows = np.arange(len(frames)).reshape(len(slots), h + 1)
        text = value.text.embed([self.instructions[i] for i in slots]).to(value.device)
        if len(set(self.instructions[i] for i in slots)) == 1:
            text = text[:1]
        keys = self.model.look(encode_clips(value.encoder, frames, rows).to(value.device), text)
        before = np.where(self.read[slots] == 0, self.first, self.chunks[slots, value.config.stride - 1])
        prefix = torch.as_tensor(before, dtype=torch.float32, device=value.device)
        chunks = self.model.chunk(keys, prefix, text, self.noise).cpu().numpy()
        self.chunks[slots] = chunks
        for i, newest in zip(slots, chunks[:, -1]):
            require_finite(newest[None], f"wvm, stream slot {i}")
