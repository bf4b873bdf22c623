"""Seconds per action chunk of VideoVLA, and what computing its conditioning once saves, as ratios in one run.

python benchmarks/videovla_speed.py --out results/benchmarks/videovla_speed.json
python benchmarks/videovla_speed.py --full --device cuda --latents 4 --steps 10

The tiny size is `policy=videovla_tiny`; --full is the published transformer and VAE with random bfloat16 weights (its
text embeddings are random numbers: no 4.7 B parameter encoder is built). `anew` encodes the picture, the prompt (tiny
size) and the rotary table at every denoising step and must give the same chunk. Under the causal mask with the video
denoised first, `keys` reads the finished video's keys and values at every action step, `no_keys` computes the video
again. The rounds of all measurements are interleaved; ratios compare the best rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from agents.settings import VideoVlaConfig
from agents.videovla_model import VideoVlaModel
from experiments.loop import schemas
from networks.cogvideox_vae import VideoEncoder
from networks.settings import CogVideoXConfig, CogVideoXVAEConfig
from networks.text import T5Embedder

PROMPT = "lift the red cube\nAdvantage: positive"


def settings(full: bool, changes: dict[str, Any]) -> VideoVlaConfig:
    if full:
        config = VideoVlaConfig(transformer=CogVideoXConfig(""), vae=CogVideoXVAEConfig(""))
    else:
        schemas.register()
        with initialize_config_dir(schemas.CONF, version_base="1.3"):
            config = OmegaConf.to_object(compose("recap_sim", overrides=["policy=videovla_tiny"]).policy)
    return replace(config, **changes)


def build(config: VideoVlaConfig, full: bool, device: str) -> tuple[VideoVlaModel, VideoEncoder]:
    torch.manual_seed(0)
    with torch.device(device):
        model, encoder = VideoVlaModel(config), VideoEncoder(config.vae)
    for part in (model, encoder) if full else ():
        part.to(torch.bfloat16)
    return model.to(device).eval(), encoder.to(device).eval()


class Chunk:
    """One observation to one chunk, with the conditioning computed once or at every denoising step."""

    def __init__(self, model: VideoVlaModel, encoder: VideoEncoder, args: argparse.Namespace) -> None:
        self.model, self.encoder, self.full, self.device = model, encoder, args.full, args.device
        g, config = torch.Generator().manual_seed(0), model.config
        self.views = max(1, len(config.cameras))
        size = (args.batch * self.views, 1, args.image, args.image, 3)
        self.pictures = torch.randint(0, 256, size, generator=g, dtype=torch.uint8).to(args.device)
        now = self.now()
        self.prompt = torch.randn(args.batch, config.text.max_length, 4096, generator=g).to(args.device)
        shape = (args.batch, config.latents - 1, *now.shape[2:])
        self.noise = torch.randn(shape, generator=g).to(args.device)
        self.action_noise = torch.randn(args.batch, config.chunk, 7, generator=g).to(args.device)

    def now(self) -> Tensor:
        z = self.encoder.encode(self.pictures, first_only=True)
        return torch.cat(z.unflatten(0, (-1, self.views)).unbind(1), -1)

    def text(self) -> Tensor:
        if self.full:
            return self.prompt
        return T5Embedder(self.model.config.text).embed([PROMPT] * len(self.noise)).to(self.device)

    def __call__(self, text: Tensor) -> Tensor:
        return self.model.sample(self.now(), text[:, None], 1.0, self.noise, self.action_noise)[0]

    def anew(self) -> Tensor:
        """The same chunk with nothing kept between denoising steps."""
        model, denoise = self.model, self.model.denoise

        def forgetful(latents: Tensor, actions: Any, text: Tensor, t: Tensor, action_t: Any = None) -> Any:
            model._ropes.clear()
            return denoise(torch.cat([self.now(), latents[:, 1:]], 1), actions, self.text(), t, action_t)

        model.denoise = forgetful  # type: ignore[method-assign]
        try:
            return self(self.text())
        finally:
            del model.denoise

    def without_keys(self) -> Tensor:
        """The causal, video-first chunk with the finished video computed again at every action step."""
        model, read, keys = self.model, self.model.denoise_actions, self.model.video_keys
        known: list[Any] = []

        def remember(*args: Any) -> Any:
            known[:] = args
            return keys(*args)

        def again(actions: Tensor, action_t: Tensor, _: Any) -> Tensor:
            return read(actions, action_t, keys(*known))

        model.video_keys, model.denoise_actions = remember, again  # type: ignore[method-assign]
        try:
            return self(self.text())
        finally:
            del model.video_keys, model.denoise_actions


@torch.no_grad()
def measure(args: argparse.Namespace) -> dict[str, Any]:
    changes: dict[str, Any] = {"latents": args.latents} if args.latents else {}
    changes |= {"ddim_steps": args.steps} if args.steps else {}
    first = {"schedule": "async", "causal_mask": True}
    variants = {"default": {}, "action_only": {"latents": 1}, "video_first": first}
    chunks = {}
    for name, own in variants.items():
        config = settings(args.full, changes | own)
        shared = next(iter(chunks.values())) if chunks else None  # one transformer for all
        model, encoder = (shared.model, shared.encoder) if shared else build(config, args.full, args.device)
        if shared:
            model = _with_settings(model, config)
        chunks[name] = Chunk(model, encoder, args)
    text = chunks["default"].text()
    runs: dict[str, Callable[[], Tensor]] = {
        "chunk": lambda: chunks["default"](text),
        "chunk_anew": chunks["default"].anew,
        "action_only": lambda: chunks["action_only"](text),
        "video_first": lambda: chunks["video_first"](text),
        "video_first_no_keys": chunks["video_first"].without_keys,
    }
    pairs = (("chunk", "chunk_anew"), ("video_first", "video_first_no_keys"))
    differences = {a: float((runs[a]() - runs[b]()).abs().max()) for a, b in pairs}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.rounds):
        for name, run in runs.items():
            _wait(args.device)
            start = time.perf_counter()
            run()
            _wait(args.device)
            seconds[name].append(time.perf_counter() - start)
    best = {name: min(times) for name, times in seconds.items()}
    config = chunks["default"].model.config
    return {
        "latents": config.latents,
        "ddim_steps": config.ddim_steps,
        "ms_median": {name: round(1e3 * float(np.median(times)), 2) for name, times in seconds.items()},
        "ms_best": {name: round(1e3 * s, 2) for name, s in best.items()},
        "anew_over_kept": round(best["chunk_anew"] / best["chunk"], 2),
        "no_keys_over_keys": round(best["video_first_no_keys"] / best["video_first"], 2),
        "chunk_over_action_only": round(best["chunk"] / best["action_only"], 2),
        "max_difference": differences,
    }


def _with_settings(model: VideoVlaModel, config: VideoVlaConfig) -> VideoVlaModel:
    """Another model of the same weights."""
    with torch.device("meta"):
        other = VideoVlaModel(config)
    for name, part in model.named_children():
        setattr(other, name, part)
    other.action_place = model.action_place
    for name, buffer in model.named_buffers(recurse=False):
        setattr(other, name, buffer)
    other.schedule = model.schedule
    return other.eval()


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the published size, random bfloat16 weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1, help="observations at once")
    parser.add_argument("--image", type=int, default=64, help="pixels, square")
    parser.add_argument("--latents", type=int, default=0, help="latent frames; 0: the size's own")
    parser.add_argument("--steps", type=int, default=0, help="DDIM steps; 0: the size's own")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions; the median and the best are reported")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    args = parser.parse_args()
    report = {
        "benchmark": "videovla_speed",
        "size": "published" if args.full else "tiny",
        "device": torch.cuda.get_device_name() if args.device.startswith("cuda") else "cpu",
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "batch": args.batch,
        "image": args.image,
    } | measure(args)
    text = json.dumps(report, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
