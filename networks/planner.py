"""What a training needs, found before any weight exists: one step traced on tensors without memory, and the sums.

    per device  = trained (4 + 4 + s + 4 e) + frozen f + activations(micro-batch)       one device, and each of DDP
                = (first two terms) / N + 3 * 4 (trained + frozen) / blocks + activations       each of FSDP's N

in bytes per parameter: 4 weight, 4 gradient, s = 8 AdamW state (2 in 8 bits), e = 1 with averaged weights, f = 4 or 2.
FSDP holds two gathered blocks and the gradient of one. Activations are what the traced step keeps for its backward pass
(storages saved by autograd, counted once, parameters left out), a line in the batch size through two traced sizes;
recomputed block by block they are the kept inputs and one block's own. Not counted: temporaries inside an operation,
the allocator's fragments, the libraries' own context. Source of the state counts: ZeRO (arXiv 1910.02054), section 3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from networks.memory import GIB, ROOM

COUNTS = tuple(2**k for k in range(11))
"""Numbers of devices that are tried."""

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "q_proj", "k_proj", "v_proj", "o_proj", "out_proj")
"""The attention projections of diffusers' and transformers' classes by their last names."""


@dataclass(frozen=True)
class Line:
    """Bytes as a line in the batch size: fixed + each * batch."""

    fixed: float
    each: float

    def __call__(self, batch: int) -> float:
        return self.fixed + self.each * batch


@dataclass(frozen=True)
class Footprint:
    """One model's training step."""

    trained: int  # parameters with a gradient
    frozen: int
    adapted: int  # parameters that adapters of rank 1 would have
    outside: int  # trained parameters outside the part that adapters would freeze
    blocks: int  # of the largest stack of equal layers
    kept: Line  # bytes kept for the backward pass
    inputs: Line  # the same where each block is recomputed from its input

    @property
    def parameters(self) -> int:
        """All parameters, trained and frozen."""
        return self.trained + self.frozen

    def activations(self, batch: int, checkpointing: bool) -> float:
        """Bytes of activations that a backward pass of `batch` samples keeps."""
        return self.inputs(batch) + self.kept(batch) / self.blocks if checkpointing else self.kept(batch)


@dataclass(frozen=True)
class Way:
    """One way of training: how the state is kept and what is trained."""

    name: str
    sharded: bool = False
    lora_rank: int = 0
    bits8: bool = False

    def per_device(self, f: Footprint, devices: int, batch: int, checkpointing: bool, ema: bool) -> dict[str, float]:
        """Bytes on each of `devices` at this micro-batch: weights, gradients, optimizer, activations, and the total."""
        trained, frozen = f.trained, f.frozen
        if self.lora_rank:
            trained = f.outside + self.lora_rank * f.adapted
            frozen = f.parameters - f.outside
        share = devices if self.sharded else 1
        gathered = 3 * 4 * (trained + frozen) / f.blocks if self.sharded and devices > 1 else 0
        parts = {
            "weights": (4 * trained + (2 if self.lora_rank else 4) * frozen) / share + gathered,
            "gradients": 4 * trained / share,
            "optimizer": ((2 if self.bits8 else 8) + 4 * ema) * trained / share,
            "activations": f.activations(batch, checkpointing),
        }
        return parts | {"total": sum(parts.values())}

    def needs(self, f: Footprint, batch: int, room: float, checkpointing: bool, ema: bool) -> tuple[int, int] | None:
        """The smallest number of devices and the largest micro-batch there that fit; None where no number does."""
        for devices in COUNTS:
            fits = [
                b
                for b in range(1, max(1, batch // devices) + 1)
                if self.per_device(f, devices, b, checkpointing, ema)["total"] <= ROOM * room
            ]
            if fits:
                return devices, fits[-1]
        return None


WAYS = (
    Way("one or DDP"),
    Way("FSDP", sharded=True),
    Way("8-bit AdamW", bits8=True),
    Way("LoRA 16", lora_rank=16),
)


def footprint(
    build: Callable[[], nn.Module], batch: Callable[[int], dict[str, Tensor]], bf16: bool = True
) -> Footprint:
    """Trace one training step of `build()` on `batch(1)` and `batch(2)` without allocating anything."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers.initialization import no_init_weights

    with FakeTensorMode(), no_init_weights():  # what they would be filled with cannot be computed either
        module = build().train()
        kept = [_kept_bytes(module, batch(n), bf16) for n in (1, 2)]
        enable_checkpointing(module)
        inputs = [_kept_bytes(module, batch(n), bf16) for n in (1, 2)]
    lines = [Line(max(0.0, 2 * a - b), b - a) for a, b in (kept, inputs)]
    parts = pretrained_parts(module)
    inside = {id(p) for part in parts for p in part.parameters()}
    trained = [p for p in module.parameters() if p.requires_grad]
    return Footprint(
        trained=sum(p.numel() for p in trained),
        frozen=sum(p.numel() for p in module.parameters() if not p.requires_grad),
        adapted=sum(m.in_features + m.out_features for part in parts for m in adapted_layers(part).values()),
        outside=sum(p.numel() for p in trained if id(p) not in inside),
        blocks=max((len(m) for m in module.modules() if isinstance(m, nn.ModuleList)), default=1),
        kept=lines[0],
        inputs=lines[1],
    )


def _kept_bytes(module: nn.Module, batch: dict[str, Tensor], bf16: bool) -> float:
    own = {p.untyped_storage()._cdata for p in module.parameters()}
    kept: dict[int, int] = {}
    alive = []  # a storage that is freed could lend its number to the next

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in own and storage._cdata not in kept:
            kept[storage._cdata] = storage.nbytes()
            alive.append(storage)
        return x

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x),
        torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext(),
    ):
        loss = module(batch).sum()
    loss.backward()  # the whole step: that it runs at this size is half of what is asked
    module.zero_grad(set_to_none=True)
    return float(sum(kept.values()))


def enable_checkpointing(module: nn.Module) -> None:
    """Recompute the blocks of every part that can (diffusers', transformers' and our own classes), outermost first."""
    names = ("enable_gradient_checkpointing", "activation_checkpointing_enable", "gradient_checkpointing_enable")
    for name in names:  # diffusers' and ours, transformers', older transformers'
        if callable(switch := getattr(module, name, None)):
            switch()
            return
    for child in module.children():
        enable_checkpointing(child)


def pretrained_parts(module: nn.Module) -> list[nn.Module]:
    """The submodules that `module.pretrained` names: what published weights fill, and what adapters go into."""
    return [module.get_submodule(name) for name in getattr(module, "pretrained", ())]


def adapted_layers(part: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers of a pretrained part that adapters go into: its attention projections."""
    wanted = re.compile(rf"(.*\.)?({'|'.join(map(re.escape, ATTENTION))})")
    return {name: m for name, m in part.named_modules() if isinstance(m, nn.Linear) and wanted.fullmatch(name)}


def table(f: Footprint, batch: int, device_gib: float, ema: bool = False) -> list[dict[str, Any]]:
    """One row per way, with and without recomputed activations: GiB on each device, and how many devices it takes."""
    rows = []
    for way in WAYS:
        if way.lora_rank and not f.adapted:
            continue
        for checkpointing in (False, True):
            found = way.needs(f, batch, device_gib * GIB, checkpointing, ema)
            devices, micro = found or (COUNTS[-1], 1)
            parts = way.per_device(f, devices, micro, checkpointing, ema)
            rows.append(
                {"way": way.name, "recomputed": checkpointing, "devices": found and devices, "micro_batch": micro,
                 "accumulation": math.ceil(batch / (devices * micro))}
                | {name: size / GIB for name, size in parts.items()}
            )  # fmt: skip
    return rows
