"""One training loop for every value function and policy, on accelerate."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from episodes.extras import install
from episodes.files import write_atomic, writing
from episodes.progress import progress
from episodes.store_index import named
from networks.adapters import add_adapters, merge_adapters
from networks.checkpoint import load_tensors, reading_checkpoint, save_tensors
from networks.memory import require_memory
from networks.planner import enable_checkpointing
from networks.settings import TrainerConfig
from networks.sharded import load_training_state, training_state

Batches = Callable[[int], dict[str, Any]]
"""Step number -> one batch of numpy arrays; a pure function of the step, so that a resumed run draws the same data."""


def learning_rate(config: TrainerConfig, step: int) -> float:
    """Linear warm-up, then cosine from lr to lr_final * lr at the last step."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * (config.lr_final + (1 - config.lr_final) * 0.5 * (1 + np.cos(np.pi * done)))


class Trainer:
    """Fits a module whose `forward(batch)` returns the unweighted loss of each sample, float (B,).

    Minimises  L = sum_i w_i l_i / (sum_i w_i + 1e-6)  over the batch of a step, w_i from batch["weight"] (1 where
    absent); WVM eq. E.5. Every process draws the same batch and takes its slices of it, `accumulation` each; the random
    state is set from (seed, step, slice), so that a run resumed from `folder` equals an uninterrupted one bit for bit
    on the CPU, and N processes compute what one does with `accumulation` N times theirs. Started by `accelerate launch`
    it trains on all its processes (DDP or FSDP, docs/scale.md).
    Errors: training that does not fit into the device's memory is a MemoryError before it starts.
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
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, gradient_as_bucket_view=True)],
        )
        if trackers:
            with writing(folder or config.wandb):
                self.accelerator.init_trackers(config.wandb or name)

    @property
    def _checkpoint(self) -> Path | None:
        return self.folder / "resume.safetensors" if self.folder else None

    def fit(self, module: nn.Module, batches: Batches) -> nn.Module:
        """Train `module` in place for config.steps steps (averaged weights, if any, are copied in at the end)."""
        config, accelerator = self.config, self.accelerator
        module.train()
        if config.scale.lora_rank:
            add_adapters(module, config.scale, self.name)
        if config.scale.activation_checkpointing:
            enable_checkpointing(module)
        trained = [p for p in module.parameters() if p.requires_grad]
        self._check(module, trained)
        module, model, optimizer = self._prepared(module, trained)
        ema = EMAModel(trained, decay=config.ema_decay, foreach=True) if config.ema_decay > 0 else None
        first = self._resume(module, optimizer, ema)
        self._forget_after(first)
        losses: list[Tensor] = []
        started = time.monotonic()
        with progress(self.name, config.steps, first, quiet=not accelerator.is_main_process) as bar:
            for step in range(first, config.steps):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(config, step)
                losses.append(self._step(model, optimizer, batches, step))
                if ema is not None:
                    ema.step(trained)
                bar.advance()
                if (step + 1) % config.log_every == 0 or step + 1 == config.steps:
                    speed = (step + 1 - first) / (time.monotonic() - started)
                    self._log(step + 1, losses, optimizer.param_groups[0]["lr"], speed)
                    losses = []
                if config.checkpoint_every and (step + 1) % config.checkpoint_every == 0 and step + 1 < config.steps:
                    self._save(module, optimizer, ema, step + 1)
        if ema is not None:
            ema.copy_to(trained)
        if config.scale.lora_rank:
            merge_adapters(module)
        for tracker in accelerator.trackers if accelerator.is_main_process else []:
            with writing(self.folder or config.wandb):
                tracker.finish()  # not end_training: it also ends the process group, which the next training needs
        accelerator.wait_for_everyone()
        if self._checkpoint is not None and accelerator.is_main_process:
            self._checkpoint.unlink(missing_ok=True)
        return module.eval()

    def _check(self, module: nn.Module, trained: list[nn.Parameter]) -> None:
        """Refuse what cannot work here, in particular too little memory, while nothing has been allocated for it."""
        config, accelerator = self.config, self.accelerator
        sharded = accelerator.distributed_type == DistributedType.FSDP
        if sharded and config.ema_decay > 0:
            raise ValueError(f"{self.name}: ema_decay={config.ema_decay} cannot be sharded; use 0, or DDP")
        if sharded and config.scale.lora_rank:
            raise ValueError(f"{self.name}: scale.lora_rank with FSDP is not supported; LoRA fits with DDP")
        if config.scale.optimizer == "adamw8bit" and accelerator.device.type != "cuda":
            raise ValueError(f"{self.name}: scale.optimizer=adamw8bit needs a CUDA device; use adamw")
        state = (2 if config.scale.optimizer == "adamw8bit" else 8) + (4 if config.ema_decay > 0 else 0)
        needed = sum(p.numel() for p in trained) * (4 + state)
        needed += sum(p.nbytes for p in module.parameters() if p.device.type != accelerator.device.type)
        require_memory(
            needed // (accelerator.num_processes if sharded else 1), accelerator.device, f"{self.name}: training",
            "use scale.lora_rank=16, scale.optimizer=adamw8bit, or FSDP on more GPUs",
        )  # fmt: skip

    def _prepared(self, module: nn.Module, trained: list[nn.Parameter]) -> tuple[nn.Module, nn.Module, Any]:
        """The module itself, the one to call (wrapped by DDP or sharded), and the optimizer."""
        config, accelerator = self.config, self.accelerator
        settings: dict[str, Any] = {
            "lr": config.lr, "betas": tuple(config.betas), "weight_decay": config.weight_decay,
        }  # fmt: skip
        if config.scale.optimizer == "adamw8bit":
            try:
                from bitsandbytes.optim import AdamW8bit
            except ImportError as error:
                raise ImportError(f"scale.optimizer=adamw8bit needs bitsandbytes; {install('scale')}") from error
            optimizer = AdamW8bit(trained, **settings)
        else:
            optimizer = torch.optim.AdamW(trained, fused=True, **settings)
        if accelerator.distributed_type == DistributedType.FSDP:  # which layers are gathered one by one
            kinds = {k for m in module.modules() for k in getattr(m, "_no_split_modules", None) or ()}
            module._no_split_modules = sorted(kinds & {type(m).__name__ for m in module.modules()})  # type: ignore[assignment]
        model, optimizer = accelerator.prepare(module, optimizer)
        return module, model, optimizer

    def _step(self, model: nn.Module, optimizer: Any, batches: Batches, step: int) -> Tensor:
        config, accelerator = self.config, self.accelerator
        ranks = accelerator.num_processes
        first = accelerator.process_index * config.accumulation
        torch.manual_seed(_step_seed(self.seed, step, first))
        whole = batches(step)
        slices = [_slice(whole, first + i, ranks * config.accumulation) for i in range(config.accumulation)]
        micro = [
            {k: torch.as_tensor(v).to(accelerator.device, non_blocking=True) for k, v in part.items()}
            for part in slices
        ]
        weights = [
            b.pop("weight") if "weight" in b else torch.ones(len(next(iter(b.values()))), device=accelerator.device)
            for b in micro
        ]
        total = accelerator.reduce(torch.stack([w.sum() for w in weights]).sum(), reduction="sum") + 1e-6
        loss_sum = torch.zeros((), device=accelerator.device)
        for i, (batch, weight) in enumerate(zip(micro, weights, strict=True)):
            if i:
                torch.manual_seed(_step_seed(self.seed, step, first + i))
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
        loss = float(self.accelerator.reduce(torch.stack(losses).mean(), reduction="mean"))
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"{self.name}: loss is {loss} at step {step}; lower the learning rate or use precision=no"
            )
        with writing(self.folder or self.config.wandb):
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
        with named(path, "remove it, the training goes on without the curve of before"):
            whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]  # else torn
            rows = [(line, json.loads(line)) for line in whole]
            kept = "".join(line for line, row in rows if row["stage"] != self.name or row["step"] <= step)
        write_atomic(path, kept)

    def _save(self, module: nn.Module, optimizer: Any, ema: EMAModel | None, step: int) -> None:
        if self._checkpoint is None:
            return
        tensors, meta = training_state(module, optimizer.optimizer)  # every process gives its shards
        if not self.accelerator.is_main_process:
            return
        if ema is not None:
            tensors |= {f"ema.{i}": p for i, p in enumerate(ema.shadow_params)}
        save_tensors(self._checkpoint, tensors, meta | {"step": step, "ema_step": ema.optimization_step if ema else 0})

    def _resume(self, module: nn.Module, optimizer: Any, ema: EMAModel | None) -> int:
        if self._checkpoint is None or not self._checkpoint.exists():
            return 0
        tensors, meta = load_tensors(self._checkpoint)
        with reading_checkpoint(self._checkpoint, "delete it and train again"):
            load_training_state(module, optimizer.optimizer, tensors, meta)
            if ema is not None:
                ema.shadow_params = [tensors[f"ema.{i}"].to(p.device) for i, p in enumerate(ema.shadow_params)]
                ema.optimization_step = meta["ema_step"]
            return int(meta["step"])


def _slice(batch: dict[str, Any], part: int, parts: int) -> dict[str, Any]:
    """The rows of one of `parts` equal slices; an entry of one row (a prompt that all samples share) stays whole."""
    rows = max(len(v) for v in batch.values())
    if rows % parts:
        raise ValueError(
            f"a batch of {rows} samples does not split into {parts} (processes times accumulation); "
            "change training.batch_size or training.accumulation"
        )
    if parts == 1:
        return dict(batch)
    size = rows // parts
    return {k: v[part * size : part * size + size] if len(v) == rows else v for k, v in batch.items()}


def _step_seed(seed: int, step: int, part: int) -> int:
    return int(np.random.SeedSequence([seed, step, part]).generate_state(1)[0])
