"""A small training for `accelerate launch` or one process; arguments: FOLDER ACCUMULATION."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from networks.checkpoint import save_module
from networks.settings import TrainerConfig
from networks.trainer import Trainer

ROWS = 16


class Noisy(nn.Module):
    """A network with noise in its loss, an unused layer, and a prompt that all samples share."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
        self.unused = nn.Linear(2, 2)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        x = batch["x"] + 0.3 * torch.randn_like(batch["x"]) + batch["shared"]
        return (self.net(x)[:, 0] - batch["y"]).square()


def batch(step: int) -> dict[str, Any]:
    """Weights that differ tenfold between the halves: a mean over each process's own would be another loss."""
    rng = np.random.default_rng(step)
    x = rng.normal(size=(ROWS, 4)).astype(np.float32)
    weight = rng.random(ROWS).astype(np.float32) * np.repeat([10, 1], ROWS // 2).astype(np.float32)
    return {"x": x, "y": x.sum(1), "weight": weight, "shared": np.full((1, 4), 0.1, np.float32)}


def main(folder: Path, accumulation: int) -> None:
    config = TrainerConfig(
        steps=30, batch_size=ROWS, accumulation=accumulation, lr=0.03, warmup=3, precision="no", log_every=1,
        checkpoint_every=10,
    )  # fmt: skip
    trainer = Trainer(config, folder, "noisy")

    def stopping(step: int) -> dict[str, Any]:
        if step == 25 and not (folder / "stopped").exists():
            trainer.accelerator.wait_for_everyone()
            if trainer.accelerator.is_main_process:
                (folder / "stopped").write_text("")
            trainer.accelerator.wait_for_everyone()
            sys.exit(0)
        return batch(step)

    module = trainer.fit(Noisy(), stopping)
    trainer.accelerator.wait_for_everyone()
    save_module(folder / "model", module, {"processes": trainer.accelerator.num_processes})
    trainer.accelerator.end_training()


def curve(folder: Path) -> list[float]:
    """The logged loss of every step."""
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
