"""The plan of a training as text: what the planner's sums say of a value and a policy."""

from __future__ import annotations

import sys
import time
from typing import Any

from omegaconf import DictConfig, OmegaConf

from agents.make import planned_policy
from experiments.loop.schemas import PlanConfig
from networks.memory import GIB
from networks.planned import Planned
from networks.planner import Footprint, footprint, table
from valuefns.make import planned_value


def run_all(config: DictConfig) -> None:
    """Plan the value and the policy of the settings."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, PlanConfig)
    views, size = len(settings.task.cameras), settings.task.image_size
    both = (planned_value(settings.valuefn, settings.latents, views, size),
            planned_policy(settings.policy, views, size))  # fmt: skip
    models = [model for model in both if model is not None]
    if not models:
        raise ValueError(
            f"valuefn={settings.valuefn.name}, policy={settings.policy.name}: neither is a large model; "
            "any machine trains them, try preset=paper or policy=pi05"
        )
    for model in models:
        started = time.monotonic()
        f = footprint(model.build, model.batch, model.training.precision == "bf16")
        print(describe(model, f, settings.gpu, views, size))
        print(f"({time.monotonic() - started:.0f} s)\n", file=sys.stderr)


def describe(model: Planned, f: Footprint, gpu: float, views: int, size: int) -> str:
    """The plan of one model as text."""
    ema = model.training.ema_decay > 0
    whole, kept, inputs = model.training.batch_size, f.kept, f.inputs
    lines = [
        f"{model.name}" + (f" from {model.source}" if model.source else " from random weights"),
        f"  parameters     {f.parameters / 1e9:.4f} B ({f.trained:,} trained, {f.frozen:,} frozen), "
        f"{4 * f.parameters / GIB:.1f} GiB in float32",
        f"  gradients      {4 * f.trained / GIB:.1f} GiB; AdamW state {8 * f.trained / GIB:.1f} GiB"
        + (f"; averaged weights {4 * f.trained / GIB:.1f} GiB" if ema else ""),
        f"  activations    {kept.fixed / GIB:.2f} + {kept.each / GIB:.3f} GiB per sample of {views} views of {size} "
        f"pixels; recomputed: {inputs.fixed / GIB:.2f} + {inputs.each / GIB:.3f}, and one of {f.blocks} blocks",
        f"  batch          {whole} a step; GPUs of {gpu:g} GiB",
        "",
        f"  {'way':<14}{'recompute':>10}{'GPUs':>6}{'micro':>7}{'accum':>7}"
        f"{'weights':>9}{'grads':>8}{'state':>8}{'activ.':>8}{'GiB/GPU':>9}",
    ]
    return "\n".join([*lines, *map(row_text, table(f, whole, gpu, ema))])


def row_text(row: dict[str, Any]) -> str:
    """One way of training as a line of the table (GB)."""
    sizes = "".join(f"{row[k]:{n}.1f}" for k, n in
                    (("weights", 9), ("gradients", 8), ("optimizer", 8), ("activations", 8), ("total", 9)))  # fmt: skip
    devices = row["devices"] or "none"
    return (
        f"  {row['way']:<14}{'yes' if row['recomputed'] else 'no':>10}{devices:>6}{row['micro_batch']:>7}"
        f"{row['accumulation']:>7}{sizes}"
    )
