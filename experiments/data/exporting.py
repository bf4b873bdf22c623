"""What only training with LeRobot needs of a store: its statistics."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from episodes.lerobot_layout import STATS_PATH
from episodes.lerobot_stats import write_stats


def run_all(config: DictConfig) -> None:
    """Write the statistics of a store and say how to open it."""
    store = Path(config.store)
    stats = write_stats(store)
    print(f"{store / STATS_PATH}: {len(stats)} features; open with LeRobotDataset(NAME, root={str(store)!r})")
