"""`videovla`: a video generator that imagines the future and the actions leading there, together (VideoVLA)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agents.pi05 import quantile_range
from agents.policy import Policy
from agents.settings import VideoVlaConfig
from agents.videovla_actions import GRIPPER, from_videovla, gripper_ends, to_videovla
from agents.videovla_model import VideoVlaModel
from episodes.files import make_once
from episodes.fit import require_actions, require_multiple, require_observation
from episodes.labels import NEGATIVE, NULL, POSITIVE, Labels
from episodes.store import Episodes
from episodes.types import EnvSpec, Observation
from episodes.windows import ActionWindows, DecodedCache
from networks.checkpoint import load_module, save_module
from networks.clip_latents import address, apart, clip_latents, encode_views, vae_clips, views_of
from networks.cogvideox import transformer_shape
from networks.cogvideox_vae import VideoEncoder
from networks.planned import ACTIONS, Planned
from networks.text import T5Embedder
from networks.trainer import Trainer

INDICATORS = (NEGATIVE, POSITIVE, NULL)
"""The prompts of one instruction, in the order of the label's own numbers, so that an indicator is an index."""
_ADVANTAGE = {NEGATIVE: "\nAdvantage: negative", POSITIVE: "\nAdvantage: positive", NULL: ""}


class VideoVlaPolicy(Policy):
    """VideoVLA (NeurIPS 2025): one camera view, an instruction, no proprioception; K actions and their video.

    Usage: policy = VideoVlaPolicy(config, store.spec, seed=0).fit(store, labels); chunk = policy.act([obs])
    Weights are those of `config.transformer.checkpoint` and `config.vae.checkpoint`, or random where these are empty;
    a VAE without a checkpoint is trained on the store's frames by `fit`. The advantage indicator is text after the
    instruction (RECAP; ours), none without labels.
    """

    name = VideoVlaConfig.name
    settings = VideoVlaConfig
    model: VideoVlaModel

    def __init__(self, config: VideoVlaConfig, spec: EnvSpec, seed: int = 0, device: str = "cpu") -> None:
        super().__init__()
        gripper_ends(spec)  # refuses other actions
        self.cameras = list(config.cameras or spec.cameras[:1])
        if not self.cameras or (unknown := set(self.cameras) - set(spec.cameras)):
            raise ValueError(f"videovla: cameras={sorted(unknown)}; choose from {', '.join(spec.cameras)}")
        require_multiple(spec.image_size, 16, "videovla needs")
        self.config, self.spec, self.device = config, spec, device
        self.execute, self.indicator, self.guidance = config.execute, NULL, config.guidance
        torch.manual_seed(seed)
        self.model = VideoVlaModel(config, spec.action_dim).to(device)
        self.encoder = VideoEncoder(config.vae).to(device)
        self.text = T5Embedder(config.text)
        self._prompts = torch.empty(0)  # embeddings (instructions, 3, L, D) that `loss` reads
        self._noise: list[np.random.Generator] = []

    def learn_prompts(self, instructions: Sequence[str]) -> None:
        """Embed the instructions that batch["task"] numbers, once, with every indicator."""
        texts = [text + _ADVANTAGE[i] for text in instructions for i in INDICATORS]
        self._prompts = self.text.embed(texts).unflatten(0, (-1, len(INDICATORS))).to(self.device)

    def loss(self, batch: dict[str, Tensor], indicator: Tensor) -> Tensor:
        dropped = torch.rand(len(indicator), device=indicator.device) < self.config.indicator_dropout
        told = torch.where(dropped, torch.full_like(indicator, NULL), indicator)
        return self.model.losses(batch, self._prompts[batch["task"], told])

    def fit(
        self, store: Episodes, labels: Labels, seed: int = 0, folder: Path | None = None, cache: Path | None = None
    ) -> VideoVlaPolicy:
        self.spec.require_same(store.spec, f"store {store.path}")
        labels.require_for(store)
        self.indicator = POSITIVE if "indicator" in labels else NULL  # never act with a text it has not been shown
        config, training = self.config, self.config.training
        data = DecodedCache(store, cache)
        require_actions(data.actions, self.spec, f"store {store.path}")
        views = views_of(data, self.cameras)
        if not self.encoder.fitted:
            self._fit_vae(data, views, seed, folder, cache)
        latents = clip_latents(
            self.encoder, data, views, config.frames, config.frame_stride, config.image_shift, config.shifted_copies,
            seed, cache,
        )  # fmt: skip
        if not self.started:
            self.model.set_range(*map(torch.as_tensor, quantile_range(to_videovla(data.actions, self.spec))))
        windows = ActionWindows(data, labels, config.chunk, config.weighting)
        tasks = sorted(set(data.instructions))
        self.learn_prompts(tasks)
        task_of = {e: tasks.index(text) for e, text in zip(data.episodes.tolist(), data.instructions, strict=True)}

        def batch(step: int) -> dict[str, np.ndarray]:
            rng = np.random.default_rng([seed, step])
            steps = windows.draw(rng, training.batch_size)
            drawn = windows.gather(steps)
            return {
                "latents": latents[rng.integers(len(latents), size=len(steps)), steps],
                "actions": to_videovla(drawn["actions"], self.spec),
                "valid": drawn["valid"],
                "task": np.array([task_of[e] for e in drawn["episode"].tolist()]),
                "weight": drawn["weight"],
                "indicator": drawn["indicator"].astype(np.int64),
            }

        Trainer(training, folder, "policy", seed, self.device).fit(self, batch)
        return self

    def _fit_vae(
        self, data: DecodedCache, views: list[int], seed: int, folder: Path | None, cache: Path | None
    ) -> None:
        """Train the VAE on the store's frames, or take over the one that another run trained on them."""
        clips, own = vae_clips(data, views, self.config.frame_stride), folder / "vae" if folder else None
        if cache is None:
            self.encoder.fit(clips, seed, self.device, own)
            return
        facts = [data.content_hash, asdict(self.config.vae), views, self.config.frame_stride, seed]
        place = cache / f"vae-{address(*facts)}"

        def fit() -> None:
            self.encoder.fit(clips, seed, self.device, own)
            save_module(place, self.encoder, {"kind": "cogvideox_vae", "config": asdict(self.config.vae)})

        make_once(place, (place / "model.safetensors").exists, fit)
        load_module(place, self.encoder)
        self.encoder.fitted = True

    def act(self, observations: Sequence[Observation | None]) -> np.ndarray:
        chunks = np.zeros((len(observations), self.config.chunk, self.spec.action_dim), np.float32)
        asked = [i for i, o in enumerate(observations) if o is not None]
        if asked:
            for observation in (o for o in observations if o is not None):
                require_observation(observation, self.spec, f"policy {self.name!r}", proprio=False)
            chunks[asked] = self.plan(observations)[0]
        return chunks

    def imagine(self, observations: Sequence[Observation | None]) -> np.ndarray:
        """The videos that `act` has in mind, uint8 (n, V, frames, H, W, 3), the current picture first, decoded.

        n counts the observations that are not None. It draws noise as `act` does.
        """
        return self.decode(self.plan(observations)[1])

    @torch.no_grad()
    def plan(self, observations: Sequence[Observation | None]) -> tuple[np.ndarray, Tensor]:
        """Actions (n, K, A) of the environment and latents (n, F, C, h, w) of the observations that are not None.

        The current pictures are encoded once, and a prompt once in the policy's life; denoising reads both.
        Differs from the paper: the gripper command is one of its two ends, whichever is nearer.
        """
        config = self.config
        asked = [i for i, o in enumerate(observations) if o is not None]
        seen = [o for o in observations if o is not None]
        guided = self.guidance != 1 and self.indicator != NULL
        told = (self.indicator, NULL) if guided else (self.indicator,)
        text = self.text.embed([o.instruction + _ADVANTAGE[i] for o in seen for i in told])
        pictures = np.stack([np.stack([o.images[c] for c in self.cameras]) for o in seen])[:, None]
        now = encode_views(self.encoder, pictures)
        shape = (config.latents - 1, *now.shape[2:])
        noise = [self._noise[i].standard_normal(shape, dtype=np.float32) for i in asked]
        chunk = (config.chunk, self.spec.action_dim)
        action_noise = [self._noise[i].standard_normal(chunk, dtype=np.float32) for i in asked]
        kind = torch.device(self.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=config.training.precision == "bf16"):
            sampled, latents = self.model.sample(
                now,
                text.unflatten(0, (len(seen), len(told))).to(self.device),
                self.guidance,
                torch.as_tensor(np.stack(noise)).to(self.device),
                torch.as_tensor(np.stack(action_noise)).to(self.device),
            )
        x = sampled.cpu().numpy()
        x[..., GRIPPER] = x[..., GRIPPER] > 0.5
        low, high = np.array(self.spec.action_low, np.float32), np.array(self.spec.action_high, np.float32)
        return np.clip(from_videovla(x, self.spec), low, high), latents

    def decode(self, latents: Tensor) -> np.ndarray:
        """Videos uint8 (n, V, frames, H, W, 3) of latents (n, F, C, h, V w)."""
        views = apart(latents, len(self.cameras))
        return self.encoder.decode(views.flatten(0, 1)).unflatten(0, views.shape[:2]).cpu().numpy()

    def saved(self) -> tuple[nn.Module, dict[str, Any]]:
        """Transformer and VAE; a published text encoder stays in its own place."""
        transformer = transformer_shape(self.config.transformer, self.model.transformer)
        config = replace(self.config, transformer=transformer, vae=self.encoder.shape())
        return self, {"config": asdict(config), "vae_fitted": self.encoder.fitted}

    def restore(self, facts: dict[str, Any]) -> None:
        self.encoder.fitted = facts["vae_fitted"]

    @classmethod
    def planned(cls, config: VideoVlaConfig, views: int, size: int) -> Planned:
        transformer = replace(config.transformer, checkpoint="")
        own, side = replace(config, transformer=transformer), size // 8
        wide = side * (len(config.cameras) or 1)

        class Denoising(VideoVlaModel):
            pretrained = ("transformer",)

            def forward(self, batch: dict[str, Tensor]) -> Tensor:
                return self.losses(batch, batch["text"])

        def futures(n: int) -> dict[str, Tensor]:
            return {
                "latents": torch.zeros(n, config.latents, transformer.channels, side, wide),
                "text": torch.zeros(n, config.text.max_length, transformer.text_dim),
                "actions": torch.zeros(n, config.chunk, ACTIONS),
                "valid": torch.ones(n, config.chunk, dtype=torch.bool),
            }

        return Planned(
            cls.name, lambda: Denoising(own, ACTIONS), futures, config.training, config.transformer.checkpoint
        )
