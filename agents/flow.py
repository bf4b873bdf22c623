"""`flow`: the fast baseline policy and CPU default (convolutional encoder + flow-matching FiLM head)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from agents.flow_model import FlowModel
from agents.policy import Policy
from agents.settings import FlowConfig
from episodes.fit import require_actions, require_observation, warn_of_still_proprio
from episodes.labels import NULL, POSITIVE, Labels
from episodes.store import Episodes
from episodes.types import EnvSpec, Observation
from episodes.windows import ActionWindows, DecodedCache
from networks.augment import shift_images
from networks.trainer import Trainer


class FlowPolicy(Policy):
    """A flow-matching policy on images and proprioception; the instruction is not read (one task per policy).

    Usage: policy = FlowPolicy(FlowConfig(), store.spec, seed=0).fit(store, labels); chunk = policy.act([obs])
    """

    name = FlowConfig.name
    settings = FlowConfig
    model: FlowModel

    def __init__(self, config: FlowConfig, spec: EnvSpec, seed: int = 0, device: str = "cpu") -> None:
        super().__init__()
        self.config, self.spec, self.device = config, spec, device
        self.execute, self.indicator, self.guidance = config.execute, NULL, config.guidance
        torch.manual_seed(seed)
        self.model = FlowModel(config, len(spec.cameras), spec.image_size, spec.proprio_dim, spec.action_dim).to(device)
        self._noise: list[np.random.Generator] = []

    def loss(self, batch: dict[str, Tensor], indicator: Tensor) -> Tensor:
        dropped = torch.rand(len(indicator), device=indicator.device) < self.config.indicator_dropout
        return self.model.losses(batch, torch.where(dropped, torch.full_like(indicator, 2), indicator))

    def fit(
        self, store: Episodes, labels: Labels, seed: int = 0, folder: Path | None = None, cache: Path | None = None
    ) -> FlowPolicy:
        self.spec.require_same(store.spec, f"store {store.path}")
        labels.require_for(store)
        if self.started and self.indicator == NULL and "indicator" in labels:
            self.model.forget_tokens()
        self.indicator = POSITIVE if "indicator" in labels else NULL  # never act with a token it has not been shown
        data = DecodedCache(store, cache)
        require_actions(data.actions, self.spec, f"store {store.path}")
        warn_of_still_proprio(data.proprio, self.spec.proprio_names, f"policy {self.name!r}, fit on {store.path}")
        for name, x in (("proprio", data.proprio), ("action", data.actions)) if not self.started else ():
            getattr(self.model, f"{name}_mean").copy_(torch.as_tensor(x.mean(0)))
            getattr(self.model, f"{name}_std").copy_(torch.as_tensor(x.std(0).clip(min=1e-3)))
        windows = ActionWindows(data, labels, self.config.chunk, self.config.weighting)
        training = self.config.training

        def batch(step: int) -> dict[str, np.ndarray]:
            rng = np.random.default_rng([seed, step])
            drawn = windows.sample(rng, training.batch_size)
            return {
                "images": shift_images(drawn["images"], self.config.image_shift, rng),
                "proprio": drawn["proprio"],
                "actions": drawn["actions"],
                "valid": drawn["valid"],
                "weight": drawn["weight"],
                "indicator": drawn["indicator"].astype(np.int64),
            }

        Trainer(training, folder, "policy", seed, self.device).fit(self, batch)
        return self

    def act(self, observations: Sequence[Observation | None]) -> np.ndarray:
        K, A = self.model.shape
        chunks = np.zeros((len(observations), K, A), np.float32)
        asked = [i for i, o in enumerate(observations) if o is not None]
        if not asked:
            return chunks
        seen = [o for o in observations if o is not None]
        for observation in seen:
            require_observation(observation, self.spec, f"policy {self.name!r}")
        images = np.stack([np.stack([o.images[c] for c in self.spec.cameras]) for o in seen])
        noise = np.stack([self._noise[i].standard_normal((K, A), dtype=np.float32) for i in asked])
        sampled = self.model.sample(
            torch.as_tensor(images).to(self.device),
            torch.as_tensor(np.stack([o.proprio for o in seen])).to(self.device),
            self.indicator,
            self.guidance,
            torch.as_tensor(noise).to(self.device),
        )
        low, high = np.array(self.spec.action_low, np.float32), np.array(self.spec.action_high, np.float32)
        chunks[asked] = np.clip(sampled.cpu().numpy(), low, high)
        return chunks
