"""One training step and one inference of every published model, with random weights, against the arithmetic floor.

    python benchmarks/published_size.py --device cuda --choices   # all; or names: viva wvm distributional pi05 videovla
    python benchmarks/published_size.py --floor                   # operations and floors alone; needs no GPU
    python benchmarks/published_size.py --tiny --out /tmp/tiny    # the tiny models, to try the script on a CPU

Inference is what a frame or a chunk costs once the prompt is embedded: encoding the pictures and the model's own
passes, batch 1, bfloat16 weights. The training step is the Trainer's (float32 weights, bf16 autocast, AdamW, recomputed
activations), a micro-batch of --micro. Floor: the larger of the counted operations over the device's dense bfloat16
peak and the bytes of weights that must be read over its memory bandwidth.

--choices repeats the model's passes with every kernel of scaled_dot_product_attention alone, and under torch.compile.

Every model leaves <out>/<model>.json, and <out>.md is rebuilt from these; what has none is "not run" there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from agents.make import planned_policy
from agents.videovla_model import VideoVlaModel
from experiments.loop import schemas
from networks.clips import side_by_side
from networks.cogvideox import diffusion_schedule
from networks.cogvideox_vae import VideoEncoder
from networks.latents import LatentEncoder
from networks.memory import GIB
from networks.planned import ACTIONS, PROPRIO, Planned
from networks.trainer import Trainer
from valuefns.make import planned_value

PEAKS = {"H200": (989e12, 4.8e12), "H100": (989e12, 3.35e12), "A100": (312e12, 2.0e12)}
"""Dense bfloat16 operations per second and bytes per second, of NVIDIA's data sheets (SXM)."""

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}

PAPER = {
    "viva": "0.18 s per frame",
    "videovla": "1.1 s per chunk, one H100",
}
CONFIGS = {  # published, tiny: Hydra's overrides
    "viva": ("valuefn=viva", "valuefn=viva_tiny"),
    "wvm": ("valuefn=wvm", "valuefn=wvm_tiny"),
    "distributional": ("valuefn=distributional", "valuefn=distributional_tiny"),
    "pi05": ("policy=pi05", "policy=pi05_tiny"),
    "videovla": ("policy=videovla_realtime", "policy=videovla_tiny"),
}

Infer = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """A model's settings and the shapes of what it sees."""

    name: str
    config: Any
    latents: Any
    views: int
    size: int  # pixels

    @property
    def planned(self) -> Planned:
        if self.name in ("pi05", "videovla"):
            found = planned_policy(self.config, self.views, self.size)
        else:
            found = planned_value(self.config, self.latents, self.views, self.size)
        assert found is not None
        return found


def case(name: str, tiny: bool) -> Case:
    """The published model on two views of 224 pixels, or the tiny one.

    VideoVLA gets one view of 480 pixels: the paper does not tell its pictures' size.
    """
    schemas.register()
    overrides = [CONFIGS[name][tiny], "latents=wan_vae_tiny" if tiny else "latents=wan_vae"]
    with initialize_config_dir(schemas.CONF, version_base="1.3"):
        made = compose("recap_sim", overrides=overrides)
    config = OmegaConf.to_object(made.policy if overrides[0].startswith("policy") else made.valuefn)
    views, size = (2, 64) if tiny else (1, 480) if name == "videovla" else (2, 224)
    latents = OmegaConf.to_object(made.latents)
    return Case(name, config, replace(latents, vae=replace(latents.vae, checkpoint="")), views, size)  # type: ignore


def inference(c: Case, model: Any, device: str) -> tuple[Infer, Infer, int]:
    """Encoding the pictures, the model's own passes on what that gave, and how often these read the whole model."""

    def pictures(*shape: int) -> Tensor:
        return torch.randint(0, 256, (*shape, c.size, c.size, 3), dtype=torch.uint8, device=device)

    def text(width: int) -> Tensor:
        return torch.zeros(1, c.config.text.max_length, width, device=device)

    if c.name == "viva":
        encoder, seen = half(LatentEncoder(c.latents), device), pictures(c.views)
        q, words = torch.zeros(1, PROPRIO, device=device), text(model.config.wan.text_dim)
        side = c.size // 16
        noise = model.noise(c.views, (c.latents.width, side, side)).to(device)

        def frame() -> Tensor:
            return encoder.encode(seen)[None]

        z = frame()
        return frame, lambda: model.predict(z, q, words, noise), c.config.inference_steps
    if c.name == "wvm":
        encoder, seen = half(LatentEncoder(c.latents), device), pictures(c.views, 1 + c.config.chunk)
        words, first = text(model.config.wan.text_dim), torch.full((1,), 0.5, device=device)
        noise = torch.randn(c.config.chunk - 1, device=device)

        def window() -> Tensor:
            z = encoder.encode_video(seen)[:, :, 1:]  # (V, C', k, H', W')
            return side_by_side(z.permute(2, 0, 1, 3, 4)[None])

        z = window()
        return window, lambda: model.chunk(model.look(z, words), first, words, noise), 1
    if c.name == "videovla":
        assert isinstance(model, VideoVlaModel)
        vae = half(VideoEncoder(replace(c.config.vae, checkpoint="")), device)
        views, words = max(1, len(c.config.cameras)), text(model.transformer.config.text_embed_dim)

        def now() -> Tensor:
            return torch.cat(list(vae.encode(seen, first_only=True).unflatten(0, (-1, views)).unbind(1)), -1)

        seen = pictures(views, 1)
        z = now()
        noise = torch.randn(1, c.config.latents - 1, *z.shape[2:], device=device)
        hand = torch.randn(1, c.config.chunk, ACTIONS, device=device)
        return now, lambda: model.sample(z, words[:, None], 1.0, noise, hand), c.config.ddim_steps
    batch = {k: v.to(device) for k, v in c.planned.batch(1).items()}
    if c.name == "pi05":
        told, real = batch["tokens"][:, :1], torch.ones_like(batch["tokens_mask"][:, :1])
        noise = torch.randn(1, *model.shape, device=device)
        return no_pictures, lambda: model.sample(batch["images"], told, real, 1.0, noise), 1
    real = torch.ones_like(batch["real"])
    return no_pictures, lambda: model.predict(batch["images"], batch["tokens"], real), 1


def no_pictures() -> None:
    """The model encodes them itself."""


def half(part: nn.Module, device: str) -> Any:
    """In bfloat16, its buffers (scales, rotary frequencies) as they are."""
    for p in part.parameters():
        p.data = p.data.to(device, torch.bfloat16)
    for b in part.buffers():
        b.data = b.data.to(device)
    return part.eval().requires_grad_(False)


def floors(c: Case) -> dict[str, Any]:
    """Parameters, and operations of both parts of inference, counted on the meta device."""
    schedule = diffusion_schedule()
    with torch.device("meta"), torch.no_grad():
        model = half(c.planned.build(), "meta")
        if isinstance(model, VideoVlaModel):
            model.schedule = schedule  # it decides which steps there are
        encode, run, passes = inference(c, model, "meta")
        counts = []
        for part in (encode, run):
            with FlopCounterMode(display=False) as counter:
                part()
            counts.append(counter.get_total_flops())
        parameters = sum(p.numel() for p in model.parameters())
    return {"parameters": parameters, "encode_flop": counts[0], "model_flop": counts[1], "passes": passes}


def floor_seconds(facts: dict[str, Any], peak: tuple[float, float]) -> float:
    """The larger of computing and reading the weights, for one inference."""
    computing = (facts["encode_flop"] + facts["model_flop"]) / peak[0]
    return max(computing, 2 * facts["parameters"] * facts["passes"] / peak[1])


def measure(c: Case, device: str, micro: int, rounds: int, choices: bool = False) -> dict[str, Any]:
    """Median seconds of inference and of a training step, and the peak memory of each (CUDA)."""
    from transformers.initialization import no_init_weights

    def build() -> nn.Module:
        with no_init_weights(), torch.device(device):
            model = c.planned.build()
        for p in model.parameters():
            p.data.normal_(std=0.02)  # what fresh zeros would leave out
        return model

    torch.manual_seed(0)
    model = half(build(), device)
    found: dict[str, Any] = {}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=device == "cpu"):
        encode, run, _ = inference(c, model, device)
        _forget_peak(device)
        for name, part in (("encode", encode), ("model", run)):
            if part is no_pictures:
                found["encode_seconds"] = None
                continue
            found[f"{name}_seconds"] = _median(part, device, rounds)
        found["inference_peak_gib"] = _peak(device)
        if choices:
            found["choices"] = compared(run, device, rounds)
    del model, encode, run
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    return found | training_step(c, build(), device, micro, rounds)


def compared(run: Infer, device: str, rounds: int) -> dict[str, float | None]:
    """Median seconds with each attention kernel alone and under torch.compile; None where it cannot run."""
    import torch._dynamo.exc

    found: dict[str, float | None] = {}
    for name, kernel in KERNELS.items():
        try:
            with sdpa_kernel(kernel):
                found[name] = _median(run, device, rounds)
        except RuntimeError as error:
            print(f"  {name}: {str(error).splitlines()[0]}", flush=True)
            found[name] = None
    try:
        found["compiled"] = _median(torch.compile(run), device, rounds)
    except torch._dynamo.exc.TorchDynamoException as error:
        print(f"  compiled: {str(error).splitlines()[0]}", flush=True)
        found["compiled"] = None
    return found


def training_step(c: Case, model: nn.Module, device: str, micro: int, rounds: int) -> dict[str, Any]:
    """Seconds of the Trainer's steps, the first two left out, between the moments at which it asks for a batch."""
    scale = replace(c.planned.training.scale, activation_checkpointing=True)
    training = replace(c.planned.training, steps=rounds + 3, batch_size=micro, accumulation=1, warmup=0, ema_decay=0.0,
                       checkpoint_every=0, log_every=10_000, precision="bf16", scale=scale)  # fmt: skip
    batch = {k: v.numpy() for k, v in c.planned.batch(micro).items()}
    asked: list[float] = []

    def batches(step: int) -> dict[str, Any]:
        _wait(device)
        asked.append(time.perf_counter())
        return batch

    _forget_peak(device)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(training, Path(folder), c.name, 0, device).fit(model, batches)
    times = [b - a for a, b in pairwise(asked)][2:]
    return {"step_seconds": sorted(times)[len(times) // 2], "micro_batch": micro, "step_peak_gib": _peak(device)}


def _median(run: Infer, device: str, rounds: int) -> float:
    """Median seconds of `rounds` calls after two that are left out."""
    times = [_seconds(run, device) for _ in range(rounds + 2)][2:]
    return sorted(times)[len(times) // 2]


def _seconds(run: Infer, device: str) -> float:
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _forget_peak(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()


def _peak(device: str) -> float | None:
    return torch.cuda.max_memory_allocated() / GIB if device.startswith("cuda") else None


def table(rows: dict[str, dict[str, Any]], command: str) -> str:
    """Markdown of every model, measured or not run."""

    def number(row: dict[str, Any], key: str, form: str = ".3f") -> str:
        return "not run" if key not in row else "" if row[key] is None else format(row[key], form)

    h200 = PEAKS["H200"]
    lines = [
        "# The published sizes on one GPU",
        "",
        f"Command: `{command}`. Random weights, batch 1.",
        "[benchmarks/published_size.py](../benchmarks/published_size.py) says what is measured. Seconds, GiB. Floor:",
        "an H200's (989 TFLOP/s dense bfloat16, 4.8 TB/s).",
        "",
        "| model | parameters | TFLOP encode | TFLOP model | floor | encode | model | peak | training step | peak "
        "| paper | hardware |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        step = number(row, "step_seconds", ".2f")
        step += f" (micro-batch {row['micro_batch']})" if "micro_batch" in row else ""
        lines.append(
            f"| {name} | {row['parameters']:,} | {row['encode_flop'] / 1e12:.2f} | {row['model_flop'] / 1e12:.2f} "
            f"| {floor_seconds(row, h200):.4f} | {number(row, 'encode_seconds')} | {number(row, 'model_seconds')} "
            f"| {number(row, 'inference_peak_gib', '.1f')} | {step} | {number(row, 'step_peak_gib', '.1f')} "
            f"| {PAPER.get(name, '')} | {row.get('hardware', 'not run')} |"
        )
    compared = {name: row for name, row in rows.items() if "choices" in row}
    if compared:
        names = [*KERNELS, "compiled"]
        lines += ["", "Seconds of the model's passes with one attention kernel alone, and under torch.compile:", ""]
        lines += [f"| model | as it is | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
        lines += [
            f"| {name} | {number(row, 'model_seconds')} | "
            + " | ".join(number(row["choices"], choice) or "cannot run" for choice in names)
            + " |"
            for name, row in compared.items()
        ]
    else:
        lines += ["", "Attention kernels and torch.compile (`--choices`): not run."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="models; none: all", metavar="MODEL")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--floor", action="store_true", help="count only")
    parser.add_argument("--tiny", action="store_true", help="the tiny models")
    parser.add_argument("--micro", type=int, default=1, help="samples of the training step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--choices", action="store_true", help="also every attention kernel, and torch.compile")
    parser.add_argument("--out", type=Path, default=Path("results/gpu"))
    args = parser.parse_args()
    if unknown := set(args.names) - set(CONFIGS):
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(CONFIGS)}")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or CONFIGS:
        c = case(name, args.tiny)
        path = args.out / f"{name}.json"
        row = json.loads(path.read_text()) if path.exists() else {}
        row |= floors(c)
        if not args.floor:
            row |= measure(c, args.device, args.micro, args.rounds, args.choices)
            row["hardware"] = torch.cuda.get_device_name() if args.device.startswith("cuda") else platform.machine()
        path.write_text(json.dumps(row, indent=1) + "\n")
        print(name, json.dumps(row), flush=True)
    rows = {n: json.loads((args.out / f"{n}.json").read_text()) for n in CONFIGS if (args.out / f"{n}.json").exists()}
    command = "python benchmarks/published_size.py --device cuda --choices" if not args.tiny else "... --tiny"
    args.out.with_suffix(".md").write_text(table(rows, command))


if __name__ == "__main__":
    main()
