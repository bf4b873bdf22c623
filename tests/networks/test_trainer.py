"""The Trainer: weights, averaging, resuming bit for bit, and refusing what cannot work."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from networks.settings import TrainerConfig
from networks.trainer import Trainer, learning_rate


class Line(nn.Module):
    """y = a x with noise in its loss, so that the random state matters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Linear(1, 1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        x = batch["x"] + 0.1 * torch.randn_like(batch["x"])
        return (self.a(x) - batch["y"]).square().mean(1)


def batch(step: int) -> dict[str, Any]:
    rng = np.random.default_rng(step)
    x = rng.normal(size=(16, 1)).astype(np.float32)
    return {"x": x, "y": 3 * x}


def config(**changes: Any) -> TrainerConfig:
    return TrainerConfig(**{"steps": 40, "lr": 0.05, "warmup": 5, "precision": "no", "log_every": 10} | changes)


def test_it_learns_and_the_log_says_so(tmp_path: Path) -> None:
    model = Trainer(config(steps=200), tmp_path, "line").fit(Line(), batch)
    assert abs(model.a.weight.item() - 3) < 0.3
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 20 and not (tmp_path / "resume.safetensors").exists()


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_cut_off_and_continued_equals_an_uninterrupted_one(tmp_path: Path, ema: float) -> None:
    whole = Trainer(config(ema_decay=ema)).fit(Line(), batch)

    def cut(step: int) -> dict[str, Any]:
        if step == 25:
            raise KeyboardInterrupt
        return batch(step)

    settings = config(ema_decay=ema, checkpoint_every=10, log_every=4)
    with pytest.raises(KeyboardInterrupt):
        Trainer(settings, tmp_path).fit(Line(), cut)
    assert (tmp_path / "resume.safetensors").exists()
    resumed = Trainer(settings, tmp_path).fit(Line(), batch)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    logged = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert logged == list(range(4, 41, 4))  # step 24 was logged twice, once after the last checkpoint before the cut


class Picture(Line):
    """A convolution whose weights lie in memory as channels_last, as the encoders of image policies."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.wide = nn.Conv2d(4, 4, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        seen = self.wide(self.conv(batch["x"].reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4)))
        return super().forward(batch) + (seen.mean((1, 2, 3)) - batch["y"][:, 0]).square()


def test_resuming_keeps_the_memory_layout_of_the_optimizer(tmp_path: Path) -> None:
    whole = Trainer(config()).fit(Picture(), batch)

    def cut(step: int) -> dict[str, Any]:
        if step == 25:
            raise KeyboardInterrupt
        return batch(step)

    settings = config(checkpoint_every=10)
    with pytest.raises(KeyboardInterrupt):
        Trainer(settings, tmp_path).fit(Picture(), cut)
    resumed = Trainer(settings, tmp_path).fit(Picture(), batch)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_weights_are_normalised_over_the_whole_batch_and_micro_batches() -> None:
    """Weight 2 on every sample is weight 1; a sample of weight 0 does not exist; two halves are one batch."""

    def weighted(w: float) -> Any:
        return lambda step: batch(step) | {"weight": np.full(16, w, np.float32)}

    def padded(step: int) -> dict[str, Any]:
        b = batch(step)
        junk = {"x": np.full((16, 1), 9, np.float32), "y": np.zeros((16, 1), np.float32)}
        return {k: np.concatenate([b[k], junk[k]]) for k in b} | {"weight": np.repeat([1, 0], 16).astype(np.float32)}

    class Plain(Line):
        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return (self.a(batch["x"]) - batch["y"]).square().mean(1)

    one, two, none = (Trainer(config()).fit(Plain(), make) for make in (weighted(1), weighted(2), padded))
    torch.testing.assert_close(one.a.weight, two.a.weight)
    torch.testing.assert_close(one.a.weight, none.a.weight)

    accumulated = Trainer(config(accumulation=2)).fit(Plain(), batch)
    torch.testing.assert_close(one.a.weight, accumulated.a.weight)


def test_schedule_warms_up_and_ends_at_its_share() -> None:
    c = config(steps=100, warmup=10, lr=1.0, lr_final=0.1)
    assert learning_rate(c, 0) == pytest.approx(0.1) and learning_rate(c, 9) == pytest.approx(1.0)
    assert learning_rate(c, 99) < 0.11


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="precision"):
        Trainer(config(precision="fp8"))
    with pytest.raises(ValueError, match="batch of 16 samples does not split into 3"):
        Trainer(config(accumulation=3)).fit(Line(), batch)
    with pytest.raises(FloatingPointError, match="loss is nan"):
        Trainer(config()).fit(
            Line(), lambda step: {"x": np.full((4, 1), np.nan, np.float32), "y": np.zeros((4, 1), np.float32)}
        )
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device=cuda"):
            Trainer(config(), device="cuda")
