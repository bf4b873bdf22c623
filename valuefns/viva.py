"""ViVa: a video generator that predicts the value and the robot's own future together (fit, score, stream)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.fit import warn_of_still_proprio
from episodes.returns import viva_cost_to_go
from episodes.store import Episodes
from episodes.types import EnvSpec, Episode
from episodes.windows import DecodedCache
from networks.latents import LatentEncoder, encode_frames
from networks.planned import PROPRIO, Planned, planned_channels
from networks.settings import LatentsConfig
from networks.text import TextEmbedder
from networks.trainer import Trainer
from valuefns.framewise import FrameStream
from valuefns.learned import LearnedValue
from valuefns.protocol import ValueStream
from valuefns.settings import ViVaConfig
from valuefns.views import episode_views, require_pictures
from valuefns.viva_model import ViVaModel


class ViVa(LearnedValue):
    """ViVa (arXiv 2604.08168) as a value function: V = 1 - G/2 in (0, 1], one frame, no history.

    Usage: value = ViVa(config, latents, seed=0).fit(store); value.score(store[0])  # float32 (T + 1,)
    """

    name = ViVaConfig.name
    settings = ViVaConfig
    encoder: LatentEncoder
    model: ViVaModel | None
    reads_proprio = True

    def __init__(self, config: ViVaConfig, latents: LatentsConfig, seed: int = 0, device: str = "cpu") -> None:
        self.config, self.seed, self.device = config, seed, device
        self.encoder = LatentEncoder(latents).to(device)
        self.text = TextEmbedder(config.text)

    @classmethod
    def make(cls, config: ViVaConfig, latents: LatentsConfig, seed: int = 0, device: str = "cpu") -> ViVa:
        return cls(config, latents, seed, device)

    def fit(self, store: Episodes, folder: Path | None = None) -> ViVa:
        config = self.config
        if len(store.spec.cameras) > 3:
            raise ValueError(
                f"viva: {len(store.spec.cameras)} cameras in the store, the model takes at most 3; record fewer"
            )
        data = DecodedCache(store)
        require_pictures(data.images, store.spec.cameras, "viva, fit")
        warn_of_still_proprio(data.proprio, store.spec.proprio_names, f"viva, fit on {store.path}")
        if not self.encoder.fitted:
            self.encoder.fit(data.images, self.seed, self.device, folder)
        # one shift per frame varies more; where a frame's own future is a target, both must be shifted alike
        alike = np.repeat(np.arange(len(data)), data.lengths + 1) if config.future_image else None
        latents = encode_frames(
            self.encoder, data.images, config.image_shift, config.shifted_copies, self.seed, alike=alike
        )
        started = self.begin(store)
        assert self.model is not None
        if not started:
            self.model.proprio_low.copy_(torch.as_tensor(data.proprio.min(0)))
            self.model.proprio_high.copy_(torch.as_tensor(data.proprio.max(0)))
        batches = _Batches(store, data, latents, self.text, config, self.seed)
        Trainer(config.training, folder, "viva", self.seed, self.device).fit(self.model, batches)
        return self

    def score(self, episode: Episode, causal: bool = False) -> np.ndarray:
        assert self.spec is not None, "fit or load the value first"
        name = f"viva, episode with seed {episode.provenance.seed}"
        images = episode_views(episode, self.spec, name)
        return self._values(images, episode.proprio, [episode.instruction] * (len(episode) + 1))[0]

    def _values(
        self, images: np.ndarray, proprio: np.ndarray, prompts: Sequence[str], batch: int = 256
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Values (N,) and predicted future proprioception (N, P) of images (N, V, H, W, 3) and proprio (N, P)."""
        assert self.model is not None, "fit or load the value first"
        values, futures = [], []
        text = self.text.embed(prompts[:1] if len(set(prompts)) == 1 else prompts)
        for start in range(0, len(images), batch):
            part = slice(start, start + batch)
            z = torch.as_tensor(encode_frames(self.encoder, images[part])[0]).to(self.device)
            noise = self.model.noise(z.shape[1], tuple(z.shape[2:])).to(self.device)
            prompt = (text.expand(len(z), -1, -1) if len(text) == 1 else text[part]).to(self.device)
            value, future = self.model.predict(z, torch.as_tensor(proprio[part]).to(self.device), prompt, noise)
            values.append(value.cpu().numpy())
            if future is not None:
                futures.append(future.cpu().numpy())
        return np.concatenate(values).astype(np.float32), np.concatenate(futures) if futures else None

    def stream(self, n: int) -> ValueStream:
        assert self.spec is not None, "fit or load the value first"
        return FrameStream(n, self.spec, lambda *read: self._values(*read)[0], "viva")

    def network(self, spec: EnvSpec) -> ViVaModel:
        return ViVaModel(self.config, spec.proprio_dim)

    @classmethod
    def without_sources(cls, config: ViVaConfig) -> ViVaConfig:
        return replace(config, wan=replace(config.wan, checkpoint=""))

    @classmethod
    def require_readable(cls, config: dict[str, Any], folder: Path) -> None:
        if "format" not in config:
            raise ValueError(
                f"checkpoint {folder}: of an older format, which padded proprioception along the rows of a latent "
                "frame (now along its channels); train this value again"
            )

    @classmethod
    def planned(cls, config: ViVaConfig, latents: LatentsConfig, views: int, size: int) -> Planned:
        wan = config.wan
        small = replace(config, wan=replace(wan, checkpoint="", channels=planned_channels(wan, latents)))
        side = size // 16

        def frames(n: int) -> dict[str, Tensor]:
            latent = torch.zeros(n, views, small.wan.channels, side, side)
            batch = {"latents": latent, "proprio": torch.zeros(n, PROPRIO), "future_proprio": torch.zeros(n, PROPRIO)}
            batch |= {"cost_to_go": torch.zeros(n), "text": torch.zeros(n, config.text.max_length, wan.text_dim)}
            return batch | ({"future_latents": latent} if config.future_image else {})

        return Planned(cls.name, lambda: ViVaModel(small, PROPRIO), frames, config.training, wan.checkpoint)


class _Batches:
    """Draws uniform frames of a store as ViVa training batches; step k depends on (seed, k) alone."""

    def __init__(
        self,
        store: Episodes,
        data: DecodedCache,
        latents: np.ndarray,
        text: TextEmbedder,
        config: ViVaConfig,
        seed: int,
    ) -> None:
        self.data, self.latents, self.config, self.seed = data, latents, config, seed
        rows = store.index
        starts = [data.frame_index(i, 0) for i in range(len(rows))]
        frames, future, cost, prompt = [], [], [], []
        texts = [row["tasks"][0] for row in store.index]
        prompts = sorted(set(texts))
        self.text = text.embed(prompts)
        for start, row, instruction in zip(starts, rows, texts, strict=True):
            T = row["length"]
            t = np.arange(T)
            frames.append(start + t)
            future.append(start + np.minimum(t + config.horizon, T))  # the final observation is the last state there is
            cost.append(viva_cost_to_go(T, row["success"])[:T])
            prompt.append(np.full(T, prompts.index(instruction)))
        self.frames, self.future = np.concatenate(frames), np.concatenate(future)
        self.cost, self.prompt = np.concatenate(cost).astype(np.float32), np.concatenate(prompt)

    def __call__(self, step: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, step])
        pick = rng.integers(len(self.frames), size=self.config.training.batch_size)
        copy = rng.integers(len(self.latents), size=len(pick))
        felt = pick  # the frames whose proprioception is given, now and later: then one can be learned from the other
        if self.config.proprio_swap > 0:
            swapped = rng.random(len(pick)) < self.config.proprio_swap
            felt = np.where(swapped, rng.integers(len(self.frames), size=len(pick)), pick)
        batch: dict[str, Any] = {
            "latents": self.latents[copy, self.frames[pick]],
            "proprio": self.data.proprio[self.frames[felt]],
            "future_proprio": self.data.proprio[self.future[felt]],
            "cost_to_go": self.cost[pick],
            "text": self.text[self.prompt[pick]],
        }
        if self.config.future_image:
            batch["future_latents"] = self.latents[copy, self.future[pick]]
        return batch
