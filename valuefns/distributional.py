"""The distributional value of RECAP: an image and language encoder with a categorical head (fit, score, stream)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from episodes.returns import recap_return, viva_return
from episodes.settings import from_json
from episodes.store import Episodes
from episodes.types import EnvSpec, Episode
from episodes.windows import DecodedCache
from networks.augment import shift_images
from networks.checkpoint import load_config, load_module, reading, save_module
from networks.prompts import PromptTokenizer
from networks.trainer import Trainer
from valuefns.distributional_model import DistributionalModel
from valuefns.framewise import FrameStream
from valuefns.protocol import ValueFunction, ValueStream
from valuefns.settings import DistributionalConfig
from valuefns.views import episode_views, require_finite, require_pictures


class Distributional(ValueFunction):
    """The VLM-based value of pi*0.6 (RECAP), the baseline of ViVa: V = sum_b p_b c_b over 201 bins, one frame.

    The bins span [-1, 0]. scale "viva": V - 1 of ViVa's return, exposed as V in (0, 1]. scale "recap": minus the steps
    to go as a share of the time limit, exposed as it is.
    Usage: value = Distributional(config, seed=0).fit(store); value.score(store[0])  # float32 (T + 1,)
    """

    name = "distributional"

    def __init__(self, config: DistributionalConfig, seed: int = 0, device: str = "cpu") -> None:
        self.config, self.seed, self.device, self.scale = config, seed, device, config.scale
        self.tokenizer = PromptTokenizer(
            config.tokenizer, config.max_tokens, config.tokenizer_revision, "left", "distributional"
        )
        self.spec: EnvSpec | None = None
        self.model: DistributionalModel | None = None

    def fit(self, store: Episodes, folder: Path | None = None) -> Distributional:
        self.spec = store.spec
        batches = _Batches(store, self.tokenizer, self.config, self.seed)
        require_pictures(batches.data.images, store.spec.cameras, "distributional, fit")
        torch.manual_seed(self.seed)
        self.model = DistributionalModel(self.config).to(self.device)
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

    def save(self, folder: Path) -> None:
        assert self.model is not None and self.spec is not None, "fit or load the value first"
        facts = {"kind": "distributional", "config": asdict(self.config), "spec": self.spec.to_json()}
        save_module(folder, self.model, facts)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Distributional:
        """Load a value saved here; a damaged or foreign folder is a ValueError that names it."""
        raw = load_config(folder)
        kind = raw.get("kind")
        if kind != "distributional":
            raise ValueError(f"value {folder}: kind {kind!r} is not distributional; name the folder of such a value")
        with reading(folder):
            config = from_json(DistributionalConfig, raw["config"])
            here = replace(config.encoder, checkpoint="", vision_checkpoint="", language_checkpoint="")
            config = replace(config, encoder=here)  # its weights are here
            value = cls(config, device=device)
            value.spec = EnvSpec.from_json(raw["spec"])
            value.model = DistributionalModel(config).to(device)
            load_module(folder, value.model)
            value.model.eval()
        return value


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
