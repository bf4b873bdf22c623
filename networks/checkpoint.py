"""Checkpoints that cannot run code: tensors in safetensors, everything else in json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from episodes.files import write_atomic


def save_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write `tensors` with json-able `meta` in one atomic safetensors file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flat = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    write_atomic(path, save(flat, metadata={"foresight": json.dumps(meta, sort_keys=True)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `save_tensors`; a missing or damaged one is a ValueError that names it."""
    from safetensors import safe_open

    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as f:
            meta = json.loads((f.metadata() or {}).get("foresight", "{}"))
    except FileNotFoundError:
        raise ValueError(f"checkpoint {path}: no such file; train first or name another folder") from None
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise ValueError(
            f"checkpoint {path}: not a readable safetensors file ({error}); delete it and train again"
        ) from None
    return tensors, meta


def save_module(folder: Path, module: nn.Module, config: dict[str, Any]) -> None:
    """Save a module as folder/model.safetensors and folder/config.json; the config is written first."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "config.json", json.dumps(config, indent=1, sort_keys=True).encode())
    save_tensors(folder / "model.safetensors", module.state_dict(), {})


def load_config(folder: Path) -> dict[str, Any]:
    """Read folder/config.json; a missing or damaged one is a ValueError that names it."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"checkpoint {folder}: config.json cannot be read ({error}); name another folder") from None
    if not isinstance(config, dict):
        raise ValueError(f"checkpoint {folder}: config.json holds no settings; name another folder")
    return config


def load_module(folder: Path, module: nn.Module) -> None:
    """Load folder/model.safetensors into `module`; another architecture is a ValueError that names the first key."""
    tensors, _ = load_tensors(folder / "model.safetensors")
    expected = module.state_dict()
    for key in sorted(set(tensors) ^ set(expected)):
        raise ValueError(f"checkpoint {folder}: key {key!r} does not fit this architecture; use its own config.json")
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape:
            raise ValueError(
                f"checkpoint {folder}: {key} is {tuple(tensor.shape)}, expected {tuple(expected[key].shape)}; "
                "use its own config.json"
            )
    module.load_state_dict(tensors)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimizer's state into flat tensors and json-able facts (no pickle)."""
    state = optimizer.state_dict()
    tensors = {
        f"optimizer.{i}.{k}": torch.as_tensor(v) for i, entry in state["state"].items() for k, v in entry.items()
    }
    return tensors, {"param_groups": state["param_groups"]}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Inverse of `optimizer_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": meta["param_groups"]})
