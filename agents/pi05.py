"""`pi05`: a pi0.5-style vision-language-action policy whose advantage indicator is text (RECAP, pi*0.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from agents.pi05_model import Pi05Model
from agents.pi05_text import prompt_tokens, state_bins
from agents.policy import Policy
from agents.settings import Pi05Config
from episodes.fit import require_actions, require_observation, warn_of_still_proprio
from episodes.labels import NULL, POSITIVE, Labels
from episodes.store import Episodes
from episodes.types import EnvSpec, Observation
from episodes.windows import ActionWindows, DecodedCache
from networks.augment import shift_images
from networks.planned import ACTIONS, PROPRIO, Planned
from networks.prompts import PromptTokenizer
from networks.trainer import Trainer


class Pi05Policy(Policy):
    """A pi0.5-style policy: images, task and state as a prefix, flow matching on chunks of actions.

    Usage: policy = Pi05Policy(config, store.spec, seed=0).fit(store, labels); chunk = policy.act([obs])
    The constructor builds random weights; `from_published` loads the published ones.
    """

    name = Pi05Config.name
    settings = Pi05Config
    model: Pi05Model
    pretrained = ("model.paligemma", "model.gemma_expert")

    def __init__(self, config: Pi05Config, spec: EnvSpec, seed: int = 0, device: str = "cpu") -> None:
        super().__init__()
        if not 1 <= config.execute <= config.chunk:
            raise ValueError(f"pi05: execute={config.execute} must be between 1 and chunk={config.chunk}")
        if spec.action_dim > config.max_action_dim:
            raise ValueError(f"pi05: {spec.action_dim} actions need max_action_dim={spec.action_dim} or more")
        self.config, self.spec, self.device = config, spec, device
        self.execute, self.indicator, self.guidance = config.execute, NULL, config.guidance
        torch.manual_seed(seed)
        self.model = Pi05Model(config, spec.proprio_dim, spec.action_dim).to(device)
        self.tokenizer = PromptTokenizer(config.tokenizer, config.max_tokens, config.tokenizer_revision, owner="pi05")
        self._noise: list[np.random.Generator] = []

    @classmethod
    def make(cls, config: Pi05Config, spec: EnvSpec, seed: int = 0, device: str = "cpu") -> Pi05Policy:
        return cls.from_published(config, spec, device) if config.checkpoint else cls(config, spec, seed, device)

    @classmethod
    def from_published(cls, config: Pi05Config, spec: EnvSpec, device: str = "cpu") -> Pi05Policy:
        """Build a policy with the published weights that `config.checkpoint` (a hub id or a folder) names.

        Scales are not part of those weights: `fit` takes them from its store.
        """
        from transformers.initialization import no_init_weights

        from agents.pi05_convert import load_published, require_room

        require_room(config.checkpoint, config.revision)
        with no_init_weights():
            policy = cls(config, spec)
        load_published(policy.model, config.checkpoint, config.revision)
        policy.model.to(device)
        policy.device = device
        return policy

    def loss(self, batch: dict[str, Tensor], indicator: Tensor) -> Tensor:
        dropped = torch.rand(len(indicator), device=indicator.device) < self.config.indicator_dropout
        return self.model.losses(batch, torch.where(dropped, torch.full_like(indicator, NULL), indicator))

    def fit(
        self, store: Episodes, labels: Labels, seed: int = 0, folder: Path | None = None, cache: Path | None = None
    ) -> Pi05Policy:
        self.spec.require_same(store.spec, f"store {store.path}")
        labels.require_for(store)
        self.indicator = POSITIVE if "indicator" in labels else NULL  # never act with a text it has not been shown
        data = DecodedCache(store, cache)
        require_actions(data.actions, self.spec, f"store {store.path}")
        warn_of_still_proprio(data.proprio, self.spec.proprio_names, f"policy {self.name!r}, fit on {store.path}")
        for name, x in (("proprio", data.proprio), ("action", data.actions)) if not self.started else ():
            for end, bound in zip(("low", "high"), quantile_range(x), strict=True):
                getattr(self.model, f"{name}_{end}").copy_(torch.as_tensor(bound))
        windows = ActionWindows(data, labels, self.config.chunk, self.config.weighting)
        task_of = dict(zip(data.episodes.tolist(), data.instructions, strict=True))
        low, high = self._proprio_range()
        training = self.config.training

        def batch(step: int) -> dict[str, np.ndarray]:
            rng = np.random.default_rng([seed, step])
            drawn = windows.sample(rng, training.batch_size)
            tasks = [task_of[e] for e in drawn["episode"].tolist()]
            tokens, mask = prompt_tokens(self.tokenizer, tasks, state_bins(drawn["proprio"], low, high))
            return {
                "images": shift_images(drawn["images"], self.config.image_shift, rng),
                "tokens": tokens,
                "tokens_mask": mask,
                "actions": drawn["actions"],
                "valid": drawn["valid"],
                "weight": drawn["weight"],
                "indicator": drawn["indicator"].astype(np.int64),
            }

        Trainer(training, folder, "policy", seed, self.device).fit(self, batch)
        return self

    def act(self, observations: Sequence[Observation | None]) -> np.ndarray:
        chunks = np.zeros((len(observations), self.config.chunk, self.spec.action_dim), np.float32)
        asked = [i for i, o in enumerate(observations) if o is not None]
        if not asked:
            return chunks
        seen = [o for o in observations if o is not None]
        for observation in seen:
            require_observation(observation, self.spec, f"policy {self.name!r}")
        images = np.stack([np.stack([o.images[c] for c in self.spec.cameras]) for o in seen])
        noise = np.stack([self._noise[i].standard_normal(self.model.shape, dtype=np.float32) for i in asked])
        bins = state_bins(np.stack([o.proprio for o in seen]), *self._proprio_range())
        guided = self.guidance != 1 and self.indicator != NULL
        prompts = (self.indicator, NULL) if guided else (self.indicator,)
        tokens, mask = prompt_tokens(self.tokenizer, [o.instruction for o in seen], bins, prompts)
        kind, precision = torch.device(self.device).type, self.config.training.precision
        with torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"):
            sampled = self.model.sample(
                *(torch.as_tensor(x).to(self.device) for x in (images, tokens, mask)),
                self.guidance,
                torch.as_tensor(noise).to(self.device),
            )
        low, high = np.array(self.spec.action_low, np.float32), np.array(self.spec.action_high, np.float32)
        chunks[asked] = np.clip(sampled.cpu().numpy(), low, high)
        return chunks

    @classmethod
    def planned(cls, config: Pi05Config, views: int, size: int) -> Planned:
        small = replace(config, checkpoint="")

        class Objective(Pi05Model):
            def forward(self, batch: dict[str, Tensor]) -> Tensor:
                return self.losses(batch, batch["indicator"])

        def chunks(n: int) -> dict[str, Tensor]:
            tokens = torch.zeros(n, 3, config.max_tokens, dtype=torch.long)
            return {
                "images": torch.zeros(n, views, size, size, 3, dtype=torch.uint8),
                "tokens": tokens,
                "tokens_mask": tokens == 0,
                "actions": torch.zeros(n, config.chunk, ACTIONS),
                "valid": torch.ones(n, config.chunk, dtype=torch.bool),
                "indicator": torch.zeros(n, dtype=torch.long),
            }

        return Planned(cls.name, lambda: Objective(small, PROPRIO, ACTIONS), chunks, config.training, config.checkpoint)

    def _proprio_range(self) -> tuple[np.ndarray, np.ndarray]:
        return self.model.proprio_low.cpu().numpy(), self.model.proprio_high.cpu().numpy()


def quantile_range(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 1 % and 99 % quantiles (D,) of x (N, D), which become -1 and 1 (pi0.5 in openpi).

    Ours: an entry whose quantiles coincide takes its extremes, and a constant one the unit interval around it, where
    openpi divides by almost zero.
    """
    low, high = (np.quantile(x, share, 0).astype(np.float32) for share in (0.01, 0.99))
    flat = high - low < 1e-3
    low, high = np.where(flat, x.min(0), low), np.where(flat, x.max(0), high)
    constant = high - low < 1e-3
    return np.where(constant, low - 0.5, low), np.where(constant, high + 0.5, high)
