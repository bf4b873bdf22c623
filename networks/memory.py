"""How much memory is free, and a refusal, before anything is loaded, of what cannot fit."""

from __future__ import annotations

from pathlib import Path

import torch

GIB = 2**30
ROOM = 0.95
"""Share of the free memory that may be asked for: allocators and other processes need some."""


def free_bytes(device: str | torch.device) -> int:
    """Free memory of a device in bytes; for the CPU what the machine, or the container around it, can still give."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    free = int(psutil.virtual_memory().available)
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            free = min(free, int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return free


def require_memory(needed: int, device: str | torch.device, what: str, remedy: str) -> None:
    """Raise a MemoryError of one line when `needed` bytes do not fit on `device`; it loads nothing."""
    free = free_bytes(device)
    if needed > ROOM * free:
        raise MemoryError(
            f"{what}: needs {needed / GIB:.1f} GiB on {device}, {free / GIB:.1f} GiB are free; {remedy} "
            "(foresight plan shows what each way of training needs)"
        )
