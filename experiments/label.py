"""Label any episode store by any value function, and rank data sets by what it says of them.

    python -m experiments.label STORE --value FOLDER            # a trained value; or clock, random, progress, oracle
    python -m experiments.label STORE_A STORE_B --value FOLDER  # both, ranked by mean VOC

Writes <STORE>/labels/<value>-<hash>.parquet (column `value` of every step; `Labels.load` reads it) block by block:
a stopped run continues. Source of the ranking: GVL section 5, mean VOC of a data set.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from episodes.stopping import refusing
from episodes.store import EpisodeStore
from experiments.data.import_options import pixels
from experiments.data.labelling import label, mean_voc, named_value, require_value
from experiments.loop.checks import check_device
from valuefns.oracle import OracleValue


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+", type=Path, help="episode stores")
    parser.add_argument("--value", required=True, help="folder of a trained value, or clock, random, progress, oracle")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--image-size", help="pixels H,W at which pictures are read, padded; without it as stored")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    with refusing("label"):
        check_device(args.device)
        value, value_hash = named_value(args.value, args.device)
        rows = []
        size = None if args.image_size is None else pixels(args.image_size, "--image-size")
        stores = [EpisodeStore.open(place, image_size=size) for place in args.stores]
        for store in stores:  # before the first is labelled
            require_value(value, store)
        for store in stores:
            if isinstance(value, OracleValue):
                value.fit(store)
            labels, path, failed = label(store, value, value_hash)
            print(f"{path}: {len(labels.episodes)} episodes labelled, {len(failed)} left out", flush=True)
            for episode, reason in failed.items():
                print(f"  left out: episode {episode}: {reason}", flush=True)
            rows.append(mean_voc(store, labels, value.fps))
        rows.sort(key=lambda row: -row["voc"] if row["voc"] == row["voc"] else np.inf)  # type: ignore[operator]
        print("rank  mean VOC  95 %              n  undefined  store")
        for rank, row in enumerate(rows, 1):
            interval = f"[{row['low']:.3f}, {row['high']:.3f}]"
            print(f"{rank:4d}  {row['voc']:8.3f}  {interval:<16} {row['n']:4d}  {row['undefined']:9d}  {row['store']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
