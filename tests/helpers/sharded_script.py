"""Sharded training state on two CPU processes (FSDP2, gloo): gathered, loaded again, saved. Run by a launcher."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from networks.checkpoint import load_tensors, save_module, save_tensors
from networks.sharded import is_sharded, load_training_state, training_state


def made(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 4))


def steps(module: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        x = torch.randn(8, 6, generator=torch.Generator().manual_seed(step))
        module(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def optimizer_of(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(module.parameters(), lr=0.05)


def whole() -> nn.Module:
    """Five steps in one process, unsharded."""
    module = made(0)
    steps(module, optimizer_of(module), 0, 5)
    return module


def main(folder: Path) -> None:
    from torch.distributed.fsdp import fully_shard

    torch.distributed.init_process_group("gloo")
    first = made(0)
    fully_shard(first)
    optimizer = optimizer_of(first)
    steps(first, optimizer, 0, 3)
    assert is_sharded(first) and not is_sharded(made(0))
    tensors, meta = training_state(first, optimizer)
    if torch.distributed.get_rank() == 0:
        save_tensors(folder / "resume.safetensors", tensors, meta)
    torch.distributed.barrier()
    second = made(1)  # other weights, which must not matter
    fully_shard(second)
    optimizer = optimizer_of(second)
    load_training_state(second, optimizer, *load_tensors(folder / "resume.safetensors"))
    steps(second, optimizer, 3, 5)
    save_module(folder / "model", second, {"kind": "test"})
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
