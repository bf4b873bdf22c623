"""One training loop for every value function and policy, on accelerate."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from tqdm import tqdm

from episodes.files import write_atomic, writing
from episodes.settings import require, require_one_of
from networks.checkpoint import load_optimizer, load_tensors, optimizer_tensors, reading, save_tensors
from networks.scale import ScaleConfig

Batches = Callable[[int], dict[str, Any]]
"""Step number -> one batch of numpy arrays; a pure function of the step, so that a resumed run draws the same data."""


@dataclass
class TrainerConfig:
    """Optimisation settings; the defaults are WVM's (appendix: training details), which ViVa's release shares."""

    steps: int = 30_000
    batch_size: int = 192  # ViVa, section 4.2
    accumulation: int = 1  # micro-batches per optimizer step; the weights are normalised over all of them
    lr: float = 1e-4
    lr_final: float = 0.1  # cosine down to this share of lr
    warmup: int = 500  # steps of linear warm-up
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    ema_decay: float = 0.0  # 0: no averaging
    precision: str = "bf16"  # bf16 autocast, or "no" for float32
    log_every: int = 50  # steps; the loss is read from the device only then
    checkpoint_every: int = 500  # steps between resumable checkpoints; 0: none
    wandb: str = ""  # project name; empty: no Weights & Biases
    scale: ScaleConfig = field(default_factory=ScaleConfig)  # what makes a large model fit

    def __post_init__(self) -> None:
        require(self, steps=(0, inf), batch_size=(1, inf), accumulation=(1, inf), warmup=(0, inf), log_every=(1, inf))
        require(self, lr=(0, inf), lr_final=(0, inf), weight_decay=(0, inf), clip_norm=(0, inf), ema_decay=(0, 1))
        require(self, checkpoint_every=(0, inf))
        if len(self.betas) != 2 or not all(0 <= b < 1 for b in self.betas):
            raise ValueError(f"TrainerConfig: betas={self.betas}; use two numbers from 0 to below 1")
        require_one_of(self, precision=("bf16", "no"))


def learning_rate(config: TrainerConfig, step: int) -> float:
    """Linear warm-up, then cosine from lr to lr_final * lr at the last step."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * (config.lr_final + (1 - config.lr_final) * 0.5 * (1 + np.cos(np.pi * done)))


class Trainer:
    """Fits a module whose `forward(batch)` returns the unweighted loss of each sample, float (B,).

    Minimises  L = sum_i w_i l_i / (sum_i w_i + 1e-6)  over the global batch (all processes and micro-batches), w_i
    from batch["weight"] (1 where absent); WVM eq. E.5. The random state is set from (seed, step) before every step,
    so that a run resumed from `folder` equals an uninterrupted one bit for bit on the CPU.
    """

    def __init__(
        self, config: TrainerConfig, folder: Path | None = None, name: str = "train", seed: int = 0, device: str = "cpu"
    ) -> None:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(
                f"device={device}: no CUDA device is visible to torch; use device=cpu or install its driver"
            )
        self.config, self.folder, self.name, self.seed = config, folder, name, seed
        trackers: list[str] = (["tensorboard"] if folder else []) + (["wandb"] if config.wandb else [])
        self.accelerator = Accelerator(
            mixed_precision="no",  # process-wide state in accelerate; autocast below is per call
            cpu=device == "cpu",
            log_with=trackers or None,
            project_dir=str(folder) if folder else None,
        )
        if trackers:
            self.accelerator.init_trackers(config.wandb or name)

    @property
    def _checkpoint(self) -> Path | None:
        return self.folder / "resume.safetensors" if self.folder else None

    def fit(self, module: nn.Module, batches: Batches) -> nn.Module:
        """Train `module` in place for config.steps steps (averaged weights, if any, are copied in at the end)."""
        config, accelerator = self.config, self.accelerator
        module.train()
        trained = [p for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            trained, lr=config.lr, betas=tuple(config.betas), weight_decay=config.weight_decay, fused=True
        )
        model, optimizer = accelerator.prepare(module, optimizer)
        ema = EMAModel(trained, decay=config.ema_decay, foreach=True) if config.ema_decay > 0 else None
        first = self._resume(module, optimizer, ema)
        self._forget_after(first)
        bar = tqdm(
            total=config.steps,
            initial=first,
            desc=self.name,
            mininterval=0.5 if sys.stderr.isatty() else 20,
            leave=False,
        )
        losses: list[Tensor] = []
        started = time.monotonic()
        for step in range(first, config.steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step)
            torch.manual_seed(_step_seed(self.seed, step, accelerator.process_index))
            losses.append(self._step(model, optimizer, batches, step))
            if ema is not None:
                ema.step(trained)
            bar.update()
            if (step + 1) % config.log_every == 0 or step + 1 == config.steps:
                self._log(
                    step + 1, losses, optimizer.param_groups[0]["lr"], (step + 1 - first) / (time.monotonic() - started)
                )
                losses = []
            if config.checkpoint_every and (step + 1) % config.checkpoint_every == 0 and step + 1 < config.steps:
                self._save(module, optimizer, ema, step + 1)
        bar.close()
        if ema is not None:
            ema.copy_to(trained)
        accelerator.end_training()
        if self._checkpoint is not None:
            self._checkpoint.unlink(missing_ok=True)
        return module.eval()

    def _step(self, model: nn.Module, optimizer: Any, batches: Batches, step: int) -> Tensor:
        config, accelerator = self.config, self.accelerator
        ranks = accelerator.num_processes
        micro = []
        for i in range(config.accumulation):
            draw = (step * config.accumulation + i) * ranks + accelerator.process_index
            micro.append(
                {k: torch.as_tensor(v).to(accelerator.device, non_blocking=True) for k, v in batches(draw).items()}
            )
        weights = [
            b.pop("weight") if "weight" in b else torch.ones(len(next(iter(b.values()))), device=accelerator.device)
            for b in micro
        ]
        total = accelerator.reduce(torch.stack([w.sum() for w in weights]).sum(), reduction="sum") + 1e-6
        loss_sum = torch.zeros((), device=accelerator.device)
        for i, (batch, weight) in enumerate(zip(micro, weights, strict=True)):
            with (
                accelerator.no_sync(model) if i + 1 < len(micro) else nullcontext(),
                torch.autocast(accelerator.device.type, torch.bfloat16, enabled=config.precision == "bf16"),
            ):
                losses = model(batch)
                assert losses.shape == weight.shape, f"loss {tuple(losses.shape)} for weights {tuple(weight.shape)}"
                # gradients are averaged over processes, so each contributes its share of the global sum
                loss = ranks * (weight * losses.float()).sum() / total
            accelerator.backward(loss)
            loss_sum += loss.detach()
        accelerator.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss_sum

    def _log(self, step: int, losses: list[Tensor], lr: float, speed: float) -> None:
        loss = float(torch.stack(losses).mean())
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"{self.name}: loss is {loss} at step {step}; lower the learning rate or use precision=no"
            )
        self.accelerator.log({"loss": loss, "lr": lr, "steps_per_second": speed}, step=step)
        if self.folder is not None and self.accelerator.is_main_process:
            line = {"stage": self.name, "step": step, "loss": loss, "lr": lr, "steps_per_second": speed}
            with writing(self.folder / "metrics.jsonl"):
                self.folder.mkdir(parents=True, exist_ok=True)
                with open(self.folder / "metrics.jsonl", "a") as f:
                    f.write(json.dumps(line) + "\n")

    def _forget_after(self, step: int) -> None:
        """Drop the metrics an interrupted run logged past its last checkpoint: those steps are about to be repeated."""
        path = self.folder / "metrics.jsonl" if self.folder else None
        if path is None or not path.exists() or not self.accelerator.is_main_process:
            return
        whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]  # a torn last one
        rows = [(line, json.loads(line)) for line in whole]
        write_atomic(path, "".join(line for line, row in rows if row["stage"] != self.name or row["step"] <= step))

    def _save(self, module: nn.Module, optimizer: Any, ema: EMAModel | None, step: int) -> None:
        if self._checkpoint is None or not self.accelerator.is_main_process:
            return
        tensors, meta = optimizer_tensors(optimizer)
        tensors |= {f"module.{k}": v for k, v in module.state_dict().items()}
        if ema is not None:
            tensors |= {f"ema.{i}": p for i, p in enumerate(ema.shadow_params)}
        save_tensors(self._checkpoint, tensors, meta | {"step": step, "ema_step": ema.optimization_step if ema else 0})

    def _resume(self, module: nn.Module, optimizer: Any, ema: EMAModel | None) -> int:
        if self._checkpoint is None or not self._checkpoint.exists():
            return 0
        tensors, meta = load_tensors(self._checkpoint)
        with reading(self._checkpoint, "delete it and train again"):
            module.load_state_dict({k[7:]: v for k, v in tensors.items() if k.startswith("module.")})
            load_optimizer(optimizer, tensors, meta)
            if ema is not None:
                ema.shadow_params = [tensors[f"ema.{i}"].to(p.device) for i, p in enumerate(ema.shadow_params)]
                ema.optimization_step = meta["ema_step"]
            return int(meta["step"])


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
