"""The whole state of a training whose parameters may be spread over processes (FSDP), as plain tensors and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from networks.checkpoint import is_sharded, load_optimizer, optimizer_tensors


def training_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Flat tensors and json-able facts of module and optimizer; every process of a sharded training must call it."""
    if not is_sharded(module):
        tensors, meta = optimizer_tensors(optimizer)
        return tensors | {f"module.{k}": v for k, v in module.state_dict().items()}, meta
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    model, state = get_state_dict(module, optimizer, options=options)
    tensors = {f"module.{k}": v for k, v in model.items()}
    for name, entry in state.get("state", {}).items():
        tensors |= {f"optimizer.{name}.{k}": torch.as_tensor(v) for k, v in entry.items()}
    return tensors, {"param_groups": state.get("param_groups", [])}


def load_training_state(
    module: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], meta: dict[str, Any]
) -> None:
    """Inverse of `training_state`: every process reads all and keeps its part."""
    model = {k.removeprefix("module."): v for k, v in tensors.items() if k.startswith("module.")}
    if not is_sharded(module):
        module.load_state_dict(model)
        load_optimizer(optimizer, tensors, meta)
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    state: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            name, _, entry = key.removeprefix("optimizer.").rpartition(".")
            state.setdefault(name, {})[entry] = tensor
    set_state_dict(
        module,
        optimizer,
        model_state_dict=model,  # type: ignore[arg-type]
        optim_state_dict={"state": state, "param_groups": meta["param_groups"]},  # type: ignore[arg-type]
        options=StateDictOptions(full_state_dict=True),
    )
