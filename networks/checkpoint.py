"""Checkpoints that cannot run code: tensors in safetensors, everything else in json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from episodes.files import one_line, refuse_special, write_atomic

LONGEST = 16 << 20  # bytes of a config.json; read as json it takes a hundred times that


def save_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write `tensors` with json-able `meta` and the SHA-256 of both in one atomic safetensors file."""
    flat = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    signed = meta | {"sha256": content_sha256(flat, json.dumps(meta, sort_keys=True))}
    # a single entry: safetensors writes several in an order that differs from run to run
    write_atomic(path, save(flat, metadata={"foresight": json.dumps(signed, sort_keys=True)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `save_tensors`; a missing or damaged one is a ValueError that names it."""
    if not path.is_file():
        raise ValueError(one_line(f"checkpoint {path}: no such file; train first or name another folder"))
    with reading_checkpoint(path, "delete it and train again"):
        tensors, meta = load_file(path), json.loads(_metadata(path).get("foresight", "{}"))
        if not isinstance(meta, dict):
            raise ValueError("its metadata is no object")
        if meta.pop("sha256", None) != content_sha256(tensors, json.dumps(meta, sort_keys=True)):
            raise ValueError("its tensors are not those that were saved: the file was changed or damaged")
    return tensors, meta


@contextmanager
def reading_checkpoint(path: Path, remedy: str = "name another folder or train again") -> Iterator[None]:
    """Turn whatever goes wrong while a checkpoint is read and built into one ValueError line that names `path`."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can make its parser, or the class it describes, raise anything
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        named = line if line.startswith("checkpoint ") else f"checkpoint {path}: {line}; {remedy}"
        raise ValueError(one_line(named)) from error


def save_module(folder: Path, module: nn.Module, config: dict[str, Any]) -> None:
    """Save a module as folder/model.safetensors and folder/config.json; the config is written first."""
    text = json.dumps(config, indent=1, sort_keys=True).encode()
    tensors = module_state(module)  # of a sharded module every process gives its part
    if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank() != 0:
        return
    write_atomic(folder / "config.json", text)
    save_tensors(folder / "model.safetensors", tensors, {"config_sha256": hashlib.sha256(text).hexdigest()})


def is_sharded(module: nn.Module) -> bool:
    """Whether the parameters are DTensors, each process holding a part."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return False
    from torch.distributed.tensor import DTensor

    return any(isinstance(p, DTensor) for p in module.parameters())


def module_state(module: nn.Module) -> dict[str, Tensor]:
    """The module's state dict; of a sharded one, gathered on the CPU of the first process (empty on the others)."""
    if not is_sharded(module):
        return module.state_dict()
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    return get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def load_config(folder: Path) -> dict[str, Any]:
    """Read folder/config.json; a missing or damaged one, or not the one saved with the weights, is a ValueError."""
    weights = folder / "model.safetensors"
    with reading_checkpoint(folder, "name another folder"):
        try:
            refuse_special(folder / "config.json")
            if (folder / "config.json").stat().st_size > LONGEST:
                raise ValueError(f"longer than {LONGEST >> 20} MB")
            text = (folder / "config.json").read_bytes()
            config = json.loads(text)
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"config.json cannot be read ({error})") from None
        if not isinstance(config, dict):
            raise ValueError("config.json holds no settings")
    saved: Any = {}
    if weights.is_file():
        with reading_checkpoint(weights, "delete it and train again"):
            saved = json.loads(_metadata(weights).get("foresight", "{}"))
    # before anything is built from it: a damaged number can ask for any amount of memory
    known = saved.get("config_sha256") if isinstance(saved, dict) else None
    if known not in (None, hashlib.sha256(text).hexdigest()):
        raise ValueError(
            one_line(
                f"checkpoint {folder}: config.json is not the one saved with its weights; restore both from a copy"
            )
        )
    return config


def load_module(folder: Path, module: nn.Module) -> None:
    """Load folder/model.safetensors into `module`; another architecture is a ValueError that names the first key."""
    tensors, _ = load_tensors(folder / "model.safetensors")
    expected = module.state_dict()
    for key in sorted(set(tensors) ^ set(expected)):
        raise ValueError(
            one_line(f"checkpoint {folder}: key {key!r} does not fit this architecture; use its own config.json")
        )
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape or tensor.is_floating_point() != expected[key].is_floating_point():
            raise ValueError(
                one_line(
                    f"checkpoint {folder}: {key} is {tensor.dtype} {tuple(tensor.shape)}, expected "
                    f"{expected[key].dtype} {tuple(expected[key].shape)}; use its own config.json"
                )
            )
    module.load_state_dict(tensors)


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata() or {}


def content_sha256(tensors: dict[str, Tensor], text: str) -> str:
    """The hexadecimal SHA-256 of named tensors (types, shapes, bytes) and a text."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
    for parameter, entry in optimizer.state.items():
        for key, value in entry.items():
            if value.shape == parameter.shape:  # fused kernels read both in memory order: same strides, not only shape
                entry[key] = torch.empty_like(parameter).copy_(value)
