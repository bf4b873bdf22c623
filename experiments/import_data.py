"""Import a dataset of another program into a new episode store: LeRobotDataset v2.1 / v3.0, or HDF5 demonstrations.

python -m experiments.import_data SOURCE TARGET [--success yes|no|@COLUMN|FILE.csv] [--image-size 96] ...

docs/data.md says what is unknown after an import, and what the options take. SOURCE is only read; TARGET must be new.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from episodes.importing import FORMATS, import_dataset
from episodes.importing.oxe import OXE
from episodes.importing.target import BadEpisodes
from episodes.lerobot_layout import ENCODINGS
from episodes.stopping import refusing
from experiments.data.import_options import Printer, known_from


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a dataset folder or an HDF5 file")
    parser.add_argument("target", type=Path, help="a new folder for the store")
    parser.add_argument("--format", choices=("auto", *FORMATS), default="auto")
    parser.add_argument("--success", help="yes or no (all), @COLUMN, @COLUMN>0.5, or a csv file: episode,success")
    parser.add_argument("--instruction", help="a text (all), @COLUMN, or a csv file: episode,instruction")
    parser.add_argument("--recorded-by", default="human", help='"human", "oracle" or "policy:NAME"')
    parser.add_argument("--cameras", help="comma-separated names; without it all")
    parser.add_argument("--state", help="comma-separated vectors that make the proprioception")
    parser.add_argument("--action", help="the vector of the actions")
    parser.add_argument("--actions", choices=("absolute", "delta"), help="what they are, where the file is wrong")
    parser.add_argument("--hz", type=float, help="the control rate, where the source does not say it")
    parser.add_argument("--image-size", help="pixels H,W (or one number) that pictures are fitted to, rest black")
    parser.add_argument("--tolerance", type=float, default=0.5, help="share of a frame that timestamps may be off")
    parser.add_argument("--skip", default="", help="comma-separated episodes of the source to leave out; bad: all such")
    parser.add_argument("--encoding", choices=ENCODINGS, default="png", help="of the store's pictures")
    parser.add_argument("--oxe", choices=tuple(OXE), help="an Open X-Embodiment data set: its conventions are known")
    parser.add_argument("--spec", type=Path, help="a JSON file of EnvSpec fields that the source does not say")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    with refusing("import"):
        run(args)
    return 0


def run(args: argparse.Namespace) -> None:
    try:
        store = import_dataset(args.source, args.target, known_from(args), args.format, args.encoding, Printer())
    except BadEpisodes as error:
        for _, message in error.bad:
            print(f"import: {message}", file=sys.stderr)
        numbers = ",".join(str(number) for number, _ in error.bad)
        sys.exit(f"import: {len(error.bad)} episodes cannot be read; mend them, or --skip {numbers}")
    rows = store.index
    steps, won = sum(row["length"] for row in rows), sum(row["success"] for row in rows)
    unknown = ", ".join(json.loads(rows[0]["extra"]).get("unknown", [])) or "nothing"
    print(f"{store.path}: {len(rows)} episodes, {steps} steps, {won} successes; unknown: {unknown}")
    if unused := [row["episode_index"] for row in rows if "success_not_used" in json.loads(row["extra"])]:
        own = json.loads(rows[unused[0]]["extra"])["success_not_used"]
        print(f"--success {args.success} was not used for {len(unused)} episodes: {own} of the source says otherwise")
    size = sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file())
    print(f"{size / 2**20:.1f} MB, pictures as {store.encoding}")
    print(store.spec.to_json())


if __name__ == "__main__":
    raise SystemExit(main())
