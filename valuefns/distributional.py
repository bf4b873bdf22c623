"""The distributional value of RECAP: an image and language encoder with a categorical head (fit, score, stream)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.returns import recap_return, viva_return
from episodes.store import Episodes
from episodes.types import EnvSpec, Episode
from episodes.windows import DecodedCache
from networks.augment import shift_images
from networks.planned import Planned
from networks.prompts import PromptTokenizer
from networks.settings import LatentsConfig
from networks.trainer import Trainer
from valuefns.distributional_model import DistributionalModel
from valuefns.framewise import FrameStream
from valuefns.learned import LearnedValue
from valuefns.protocol import ValueStream
from valuefns.settings import DistributionalConfig
from valuefns.views import episode_views, require_finite, require_pictures


class Distributional(LearnedValue):
    """The VLM-based value of pi*0.6 (RECAP), the baseline of ViVa: V = sum_b p_b c_b over 201 bins, one frame.

    The bins span [-1, 0]. scale "viva": V - 1 of ViVa's return, exposed as V in (0, 1]. scale "recap": minus the steps
    to go as a share of the time limit, exposed as it is.
    Usage: value = Distributional(config, seed=0).fit(store); value.score(store[0])  # float32 (T + 1,)
    """

    name = DistributionalConfig.name
    settings = DistributionalConfig
    model: DistributionalModel | None

    def __init__(self, config: DistributionalConfig, seed: int = 0, device: str = "cpu") -> None:
        self.config, self.seed, self.device, self.scale = config, seed, device, config.scale
        self.tokenizer = PromptTokenizer(
            config.tokenizer, config.max_tokens, config.tokenizer_revision, "left", "distributional"
        )

    @classmethod
    def make(
        cls, config: DistributionalConfig, latents: LatentsConfig, seed: int = 0, device: str = "cpu"
    ) -> Distributional:
        return cls(config, seed, device)

    def fit(self, store: Episodes, folder: Path | None = None) -> Distributional:
        batches = _Batches(store, self.tokenizer, self.config, self.seed)
        require_pictures(batches.data.images, store.spec.cameras, "distributional, fit")
        self.begin(store)
        assert self.model is not None
        Trainer(self.config.training, folder, "distributional", self.seed, self.device).fit(self.model, batches)
        return self

    def score(self, episode: Episode, causal: bool = False) -> np.ndarray:
        assert self.spec is not None, "fit or load the value first"
        name = f"distributional, episode with seed {episode.provenance.seed}"
        images = episode_views(episode, self.spec, name, proprio=False)
        return require_finite(self._values(images, [episode.instruction] * len(images)), name)

    def _values(self, images: np.ndarray, prompts: Sequence[str], batch: int = 64) -> np.ndarray:
        assert self.model is not None, "fit or load the value first"
        tokens, real = (torch.as_tensor(x).to(self.device) for x in self.tokenizer(prompts))
        values = [
            self.model.predict(torch.as_tensor(images[p]).to(self.device), tokens[p], real[p]).cpu().numpy()
            for p in (slice(start, start + batch) for start in range(0, len(images), batch))
        ]
        exposed = np.concatenate(values) + (1 if self.scale == "viva" else 0)
        return exposed.astype(np.float32)

    def stream(self, n: int) -> ValueStream:
        assert self.spec is not None, "fit or load the value first"

        def read(images: np.ndarray, proprio: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
            return require_finite(self._values(images, prompts), "distributional, stream")

        return FrameStream(n, self.spec, read, "distributional", proprio=False)

    def network(self, spec: EnvSpec) -> DistributionalModel:
        return DistributionalModel(self.config)

    @classmethod
    def without_sources(cls, config: DistributionalConfig) -> DistributionalConfig:
        encoder = replace(config.encoder, checkpoint="", vision_checkpoint="", language_checkpoint="")
        return replace(config, encoder=encoder)

    @classmethod
    def planned(cls, config: DistributionalConfig, latents: LatentsConfig, views: int, size: int) -> Planned:
        small = cls.without_sources(config)

        def pictures(n: int) -> dict[str, Tensor]:
            images = torch.zeros(n, views, size, size, 3, dtype=torch.uint8)
            tokens = torch.zeros(n, 32, dtype=torch.long)  # an instruction's length
            return {"images": images, "tokens": tokens, "real": tokens == 0, "returns": torch.zeros(n)}

        source = config.encoder.checkpoint or config.encoder.vision_checkpoint
        return Planned(cls.name, lambda: DistributionalModel(small), pictures, config.training, source)


class _Batches:
    """Draws uniform frames of all episodes with their exact return; step k depends on (seed, k) alone."""

    def __init__(self, store: Episodes, tokenizer: PromptTokenizer, config: DistributionalConfig, seed: int) -> None:
        self.data, self.config, self.seed = DecodedCache(store), config, seed
        prompts = sorted(set(self.data.instructions))
        self.tokens, self.real = tokenizer(prompts)
        frames, returns, prompt = [], [], []
        for i, row in enumerate(store.index):
            T, won = row["length"], row["success"]
            if config.scale == "viva":
                target = viva_return(T, won) - 1
            else:
                target = recap_return(T, won, store.spec.max_steps, config.c_fail)
            frames.append(self.data.frame_index(i, 0) + np.arange(T))
            returns.append(target[:T])
            prompt.append(np.full(T, prompts.index(self.data.instructions[i])))
        self.frames, self.prompt = np.concatenate(frames), np.concatenate(prompt)
        self.returns = np.concatenate(returns).astype(np.float32)

    def __call__(self, step: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, step])
        pick = rng.integers(len(self.frames), size=self.config.training.batch_size)
        return {
            "images": shift_images(np.asarray(self.data.images[self.frames[pick]]), self.config.image_shift, rng),
            "tokens": self.tokens[self.prompt[pick]],
            "real": self.real[self.prompt[pick]],
            "returns": self.returns[pick],
        }
