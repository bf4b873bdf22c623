"""Complete an episode store for LeRobot: python -m experiments.export_data STORE

A store is a LeRobotDataset v3.0 already; this writes what only training with LeRobot needs, meta/stats.json. The next
append removes that file: run this again then.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from episodes.lerobot_layout import STATS_PATH
from episodes.lerobot_stats import write_stats
from episodes.stopping import refusing


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    args = parser.parse_args(arguments)
    with refusing("export"):
        stats = write_stats(args.store)
    print(f"{args.store / STATS_PATH}: {len(stats)} features; open with LeRobotDataset(NAME, root={str(args.store)!r})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
