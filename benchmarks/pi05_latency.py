"""Seconds per action chunk of the pi0.5-style policy, prefix and denoising apart, cached against uncached.

python benchmarks/pi05_latency.py --out results/pi05_latency.json
python benchmarks/pi05_latency.py --full --device cuda --batch 1 --views 3

The tiny size is `policy=pi05_tiny` in float32; --full is the published size with random bfloat16 weights. `uncached`
encodes the prefix anew at every denoising step and must give the same chunk. The rounds of all measurements are
interleaved, so that a busy machine slows all of them. The ratios compare the best rounds, which other work disturbs
least.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from agents.pi05_model import Pi05Model
from agents.settings import Pi05Config
from experiments.loop import schemas
from networks.flow_matching import integrate


def build(full: bool, device: str) -> Pi05Model:
    """Return the model with random weights, also where fresh ones are zero: an expert behind zero gates would give the
    same chunk with a broken cache.
    """
    if full:
        from transformers.initialization import no_init_weights

        config = Pi05Config(checkpoint="", tokenizer="")
        with no_init_weights(), torch.device(device):
            model = Pi05Model(config, 11, 7)
        for p in model.parameters():  # parameters alone: rotary frequencies need float32
            p.data = torch.empty_like(p, dtype=torch.bfloat16).normal_(std=0.02)
        return model.eval()
    schemas.register()
    with initialize_config_dir(schemas.CONF, version_base="1.3"):
        config = OmegaConf.to_object(compose("recap_sim", overrides=["policy=pi05_tiny"]).policy)
    torch.manual_seed(0)
    model = Pi05Model(config, 11, 7).to(device).eval()
    for p in model.parameters():
        p.data += 0.02 * torch.randn_like(p)
    return model


@torch.no_grad()
def measure(model: Pi05Model, batch: int, views: int, tokens: int, rounds: int, device: str) -> dict[str, Any]:
    size, config = model.config.prefix.image_size, model.config
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, views, size, size, 3), generator=g, dtype=torch.uint8).to(device)
    text = torch.randint(3, config.prefix.vocabulary - 1, (batch, 1, tokens), generator=g).to(device)
    pair, real = text.repeat(1, 2, 1), torch.ones(batch, 2, tokens, dtype=torch.bool, device=device)
    noise = torch.randn(batch, *model.shape, generator=g).to(device)

    def prefix() -> Any:
        return model.encode_prefix(model.encode_images(images), text[:, 0], real[:, 0])

    cached_prefix = prefix()

    def denoise() -> Tensor:
        return model.unscale(integrate(lambda z, t: model.velocity(z, t, cached_prefix), noise, config.euler_steps))

    def uncached() -> Tensor:
        return model.unscale(integrate(lambda z, t: model.velocity(z, t, prefix()), noise, config.euler_steps))

    runs: dict[str, Callable[[], Any]] = {
        "prefix": prefix,
        "denoise": denoise,
        "chunk": lambda: model.sample(images, text, real[:, :1], 1.0, noise),
        "chunk_guided": lambda: model.sample(images, pair, real, 1.5, noise),
        "chunk_uncached": uncached,
    }
    difference = float((runs["chunk"]() - uncached()).abs().max())
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            start = time.perf_counter()
            run()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    median = {name: round(1e3 * float(np.median(times)), 2) for name, times in seconds.items()}
    best = {name: round(1e3 * min(times), 2) for name, times in seconds.items()}
    return {
        "batch": batch,
        "views": views,
        "prefix_tokens": int(cached_prefix.mask.shape[1]),
        "euler_steps": config.euler_steps,
        "ms_median": median,
        "ms_best": best,
        "uncached_over_cached": round(best["chunk_uncached"] / best["chunk"], 2),
        "guided_over_plain": round(best["chunk_guided"] / best["chunk"], 2),
        "max_difference_cached_uncached": difference,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the published size, random bfloat16 weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="observations at once")
    parser.add_argument("--views", type=int, default=2, help="cameras")
    parser.add_argument("--tokens", type=int, default=100, help="prompt tokens")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions; the median and the best are reported")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    args = parser.parse_args()
    model = build(args.full, args.device)
    report = {
        "benchmark": "pi05_latency",
        "size": "published" if args.full else "tiny",
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "device": torch.cuda.get_device_name() if args.device.startswith("cuda") else platform.machine(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "rows": [measure(model, b, args.views, args.tokens, args.rounds, args.device) for b in args.batch],
    }
    text = json.dumps(report, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
