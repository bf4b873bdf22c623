"""Seconds to score an episode with WVM and ViVa: in batches, frame by frame, and the video passes alone.

python benchmarks/value_scoring.py --out results/benchmarks/value_scoring.json
python benchmarks/value_scoring.py --size paper --image 256 --device cuda --steps 0

    score           WVM.score of one episode
    frame_by_frame  the same values from a stream of one environment, frame after frame
    encode          frames to latents
    video           its windows through the whole video transformer, in the same batches, one prompt for all
    stock_video     the same through the stock class, which projects the prompt anew for every window

The backbone is encode + video: what nobody can leave out. ViVa's value is a token of its video model, so its backbone
is encode + stock_video in the batches of `score`.

The model is trained for a few steps on made-up pictures whose brightness is the progress, at the size given: the values
of a random model lean on their prefixes, and a chain of prefixes would take many rounds. The rounds of all measurements
are interleaved, so that a busy machine slows all of them; the ratios compare the best rounds, which other work disturbs
least, in processor time on a CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from episodes.store import EpisodeStore
from episodes.types import EnvSpec, Episode, Provenance
from networks.clips import encode_clips
from networks.latents import encode_frames
from networks.settings import LatentsConfig, TextConfig, TrainerConfig, WanConfig
from valuefns import wvm as scoring
from valuefns.settings import ViVaConfig, WVMConfig
from valuefns.viva import ViVa
from valuefns.wvm import WVM
from valuefns.wvm_model import WVMModel

HZ = 10.0
Value = TypeVar("Value", WVM, ViVa)


def config_of(size: str, steps: int) -> WVMConfig:
    """tiny is valuefn=wvm_tiny; middle has the paper's proportions (widths, FFN, text) at a twelfth of its width."""
    training = TrainerConfig(steps=steps, batch_size=16, lr=1e-3, warmup=10, precision="no", checkpoint_every=0)
    common: dict[str, Any] = {"fps": HZ, "pure_noise_share": 0.5, "training": training}  # 240 frames are 240 windows
    if size == "paper":
        return WVMConfig(**common, wan=WanConfig(checkpoint=""), text=TextConfig("", num_layers=1))
    if size == "middle":
        wan = WanConfig("", num_layers=4, num_attention_heads=4, attention_head_dim=64, ffn_dim=1200, text_dim=256)
        text = TextConfig("", max_length=512, d_model=256, num_layers=1)
        return WVMConfig(**common, value_dim=44, value_heads=1, value_ffn_dim=1200, wan=wan, text=text)
    wan = WanConfig(
        "", num_layers=4, num_attention_heads=4, attention_head_dim=24, ffn_dim=192, text_dim=64, freq_dim=64
    )
    text = TextConfig("", max_length=24, d_model=64, num_layers=2)
    return WVMConfig(**common, value_dim=64, value_heads=4, value_ffn_dim=256, wan=wan, text=text)


def episode_of(seed: int, T: int, spec: EnvSpec) -> Episode:
    """T steps in which both pictures brighten from start to end."""
    rng = np.random.default_rng(seed)
    level = np.linspace(40, 220, T + 1)[:, None, None, None] + rng.normal(0, 5, (T + 1, *spec.image_size, 3))
    ends = np.arange(T) == T - 1
    return Episode(
        images={c: level.clip(0, 255).astype(np.uint8) for c in spec.cameras},
        proprio=np.zeros((T + 1, 1), np.float32),
        actions=np.zeros((T, 1), np.float32),
        rewards=ends.astype(np.float32),
        terminated=ends,
        truncated=np.zeros(T, bool),
        success=True,
        segments=np.zeros(T, np.int8),
        progress=np.linspace(0, 1, T + 1).astype(np.float32),
        intervention=np.zeros(T, bool),
        instruction="make it bright",
        provenance=Provenance(spec.env_id, seed, "oracle"),
        hz=HZ,
    )


def trained(make: Callable[[], Value], image: int, views: int) -> tuple[Value, EnvSpec]:
    spec = EnvSpec(
        "bench/Bright-v0", tuple(f"camera{v}" for v in range(views)), (image, image), ("q",), ("a",), (-1.0,), (1.0,),
        ("m",), "rotation_vector", 1.0, HZ, 1000,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        with EpisodeStore.create(Path(folder) / "store", spec) as store:
            store.append(episode_of(seed, 60, spec) for seed in range(4))
        value = make()
        value.fit(EpisodeStore.open(Path(folder) / "store"))
        return value, spec


@torch.no_grad()
def measure(value: WVM, episode: Episode, rounds: int, device: str) -> dict[str, Any]:
    assert value.model is not None and value.spec is not None
    model, frames = value.model, np.stack([episode.images[c] for c in value.spec.cameras], 1)
    T, h = len(episode), value.config.chunk
    text = value.text.embed([episode.instruction]).to(device)
    rows = np.maximum(np.arange(T + 1)[:, None] + np.arange(-h, 1), 0)
    windows = encode_clips(value.encoder, frames, rows).to(device)
    parts = windows.split(scoring.BATCH)
    values: dict[str, np.ndarray] = {}

    def score() -> None:
        values["score"] = value.score(episode, causal=True)

    def frame_by_frame() -> None:
        stream = value.stream(1)
        stream.reset(np.array([True]), [episode.instruction])
        values["stream"] = np.array([stream.step([episode.observation(t)])[0] for t in range(T + 1)])

    def encode() -> None:
        encode_clips(value.encoder, frames, rows).to(device)

    def video() -> None:
        for z in parts:
            model.video(z, z.new_zeros(len(z), z.shape[2]), text, 0)

    stock = copy_of_stock(model)

    def stock_video() -> None:
        for z in parts:
            tokens = z.shape[2] * (z.shape[3] // 2) * (z.shape[4] // 2)
            stock(z, z.new_zeros(len(z), tokens), text.expand(len(z), -1, -1), return_dict=False)

    def average() -> None:
        value.score(episode)

    runs: dict[str, Callable[[], None]] = {
        "score": score, "score_averaged": average, "frame_by_frame": frame_by_frame, "encode": encode,
        "video": video, "stock_video": stock_video,
    }  # fmt: skip
    seconds, best = timed(runs, rounds, device)
    return {
        "frames": T + 1,
        "views": frames.shape[1],
        "image_size": frames.shape[2],
        "video_tokens_per_window": windows.shape[2] * windows.shape[3] * windows.shape[4] // 4,
        **seconds,
        "frame_by_frame_over_score": round(best["frame_by_frame"] / best["score"], 2),
        "score_over_backbone": round(best["score"] / (best["encode"] + best["video"]), 3),
        "score_over_stock_backbone": round(best["score"] / (best["encode"] + best["stock_video"]), 3),
        "max_difference_stream_score": float(np.abs(values["stream"] - values["score"]).max()),
    }


def timed(
    runs: dict[str, Callable[[], None]], rounds: int, device: str
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """What to report of the seconds of each run, and the best round of each."""
    cuda = device.startswith("cuda")
    clock = time.perf_counter if cuda else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = clock()
            run()
            if cuda:
                torch.cuda.synchronize()
            seconds[name].append(clock() - start)
    best = {name: min(times[1:]) for name, times in seconds.items()}  # the first round warms up
    reported = {
        "seconds_best": {k: round(v, 4) for k, v in best.items()},
        "seconds_median": {k: round(float(np.median(v[1:])), 4) for k, v in seconds.items()},
    }
    return reported, best


def measure_viva(
    size: str, image: int, views: int, frames: int, steps: int, rounds: int, device: str
) -> dict[str, Any]:
    """ViVa: one pass of the stock video model a frame, which gives the value itself."""
    shape = config_of(size, steps)
    config = ViVaConfig(wan=shape.wan, text=shape.text, training=shape.training)
    value, _ = trained(lambda: ViVa(config, LatentsConfig("patch_pca"), 0, device), image, views)
    episode = episode_of(99, frames - 1, value.spec)  # type: ignore[arg-type]
    model, pictures = value.model, np.stack([episode.images[c] for c in value.spec.cameras], 1)  # type: ignore[union-attr]
    assert model is not None
    text = value.text.embed([episode.instruction]).to(device)
    latents = torch.as_tensor(encode_frames(value.encoder, pictures)[0]).to(device).float()
    _, V, C, H, W = latents.shape
    tokens = (4 + V) * (H // 2) * (W // 2)
    values: dict[str, np.ndarray] = {}

    def score() -> None:
        values["score"] = value.score(episode)

    def frame_by_frame() -> None:
        stream = value.stream(1)
        stream.reset(np.array([True]), [episode.instruction])
        values["stream"] = np.array([stream.step([episode.observation(t)])[0] for t in range(frames)])

    def encode() -> None:
        encode_frames(value.encoder, pictures)

    @torch.no_grad()
    def stock_video() -> None:
        for z in latents.split(256):
            clip = z.new_zeros(len(z), C, 4 + V, H, W)
            model.transformer(clip, z.new_zeros(len(z), tokens), text.expand(len(z), -1, -1), return_dict=False)

    seconds, best = timed(
        {"score": score, "frame_by_frame": frame_by_frame, "encode": encode, "stock_video": stock_video}, rounds, device
    )
    return {
        "value": "viva",
        "size": size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "frames": frames,
        "views": views,
        "image_size": image,
        "video_tokens_per_window": tokens,
        **seconds,
        "frame_by_frame_over_score": round(best["frame_by_frame"] / best["score"], 2),
        "score_over_backbone": round(best["score"] / (best["encode"] + best["stock_video"]), 3),
        "max_difference_stream_score": float(np.abs(values["stream"] - values["score"]).max()),
    }


def copy_of_stock(model: Any) -> Any:
    """The stock transformer with the same weights and its own attention processors."""
    from diffusers import WanTransformer3DModel

    net = model.video.transformer
    stock = WanTransformer3DModel.from_config(net.config).to(next(net.parameters()).device).eval()
    stock.load_state_dict(net.state_dict())
    return stock


@torch.no_grad()
def published_flops(image: int = 256, windows: int = 240) -> dict[str, Any]:
    """Operations at the published size, counted without computing them: one view, one prompt of 512 tokens."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = WVMModel(WVMConfig(wan=WanConfig(checkpoint="")))
        z, text = torch.empty(windows, 48, 1, image // 16, image // 16), torch.empty(1, 512, 4096)
        with FlopCounterMode(display=False) as video:
            model.video(z, torch.empty(windows, 1), text, 0)
        keys = model.look(z, text)
        with FlopCounterMode(display=False) as value:
            model.chunk(keys, torch.empty(windows), text, torch.empty(3))
    per_round = value.get_total_flops() / video.get_total_flops()
    return {
        "size": "paper",
        "windows": windows,
        "image_size": image,
        "teraflops_video": round(video.get_total_flops() / 1e12, 2),
        "teraflops_value_per_round": round(value.get_total_flops() / 1e12, 3),
        "value_round_over_video": round(per_round, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", nargs="+", default=["tiny", "middle"], choices=["tiny", "middle", "paper"])
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--image", type=int, nargs="+", default=[64, 128], help="pixels of each size, multiples of 32")
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20, help="training steps of the benchmark's model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    if len(args.image) != len(args.size):
        parser.error(f"--image {args.image}: give one number per size of {args.size}")
    for size, image in zip(args.size, args.image):
        config = config_of(size, args.steps)
        value, spec = trained(lambda: WVM(config, LatentsConfig("patch_pca"), 0, args.device), image, args.views)  # noqa: B023
        parameters = sum(p.numel() for p in value.model.parameters())  # type: ignore[union-attr]
        row = {"value": "wvm", "size": size, "parameters": parameters}
        rows.append(row | measure(value, episode_of(99, args.frames - 1, spec), args.rounds, args.device))
        if size != "paper":
            rows.append(measure_viva(size, image, args.views, args.frames, args.steps, args.rounds, args.device))
    rows.append(published_flops())
    report = {
        "benchmark": "value_scoring",
        "device": torch.cuda.get_device_name() if args.device.startswith("cuda") else platform.machine(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "rows": rows,
    }
    text = json.dumps(report, indent=1)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
