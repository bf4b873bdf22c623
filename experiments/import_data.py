"""Import a dataset of another program into a new episode store: LeRobotDataset v2.1 / v3.0 or robomimic HDF5.

python -m experiments.import_data SOURCE TARGET [--format auto|lerobot|robomimic|foresight] [--success yes|no] ...

docs/data.md says what is unknown after an import. SOURCE is only read; TARGET must be new.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from episodes.importing import FORMATS, Known, import_dataset
from episodes.importing.oxe import OXE, oxe_known
from episodes.stopping import stopping


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a dataset folder or an HDF5 file")
    parser.add_argument("target", type=Path, help="a new folder for the store")
    parser.add_argument("--format", choices=("auto", *FORMATS), default="auto")
    parser.add_argument("--success", choices=("yes", "no"), help="of every episode, where the source does not say")
    parser.add_argument("--instruction", help="of every episode, where the source has none or several")
    parser.add_argument("--recorded-by", default="human", help='"human", "oracle" or "policy:NAME"')
    parser.add_argument("--cameras", help="comma-separated names; without it all")
    parser.add_argument("--state", help="comma-separated vectors that make the proprioception")
    parser.add_argument("--skip", default="", help="comma-separated numbers of source episodes to leave out")
    parser.add_argument("--oxe", choices=tuple(OXE), help="an Open X-Embodiment data set: its conventions are known")
    parser.add_argument("--spec", type=Path, help="a JSON file of EnvSpec fields that the source does not say")
    return parser.parse_args(arguments)


def known_from(args: argparse.Namespace) -> Known:
    """What the command line says; a bad number or JSON file is a ValueError that names it."""

    def names(text: str | None) -> tuple[str, ...] | None:
        return None if text is None else tuple(part.strip() for part in text.split(","))

    skip = [part.strip() for part in args.skip.split(",") if part.strip()]
    if bad := [part for part in skip if not part.isdecimal()]:
        raise ValueError(f"--skip: {bad[0]!r} is not an episode number; use for instance 3,7")
    spec: dict[str, Any] = {}
    if args.spec is not None:
        try:
            spec = json.loads(args.spec.read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"{args.spec}: {error}; give a JSON object of EnvSpec fields") from error
        if not isinstance(spec, dict):
            raise ValueError(f"{args.spec}: holds no JSON object; give one of EnvSpec fields")
    known = Known(
        spec=spec,
        success=None if args.success is None else args.success == "yes",
        instruction=args.instruction,
        source=args.recorded_by,
        cameras=names(args.cameras),
        state=names(args.state),
        skip=frozenset(map(int, skip)),
    )
    return oxe_known(args.oxe, known) if args.oxe else known


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    try:
        with stopping():
            store = import_dataset(args.source, args.target, known_from(args), args.format)
    except ValueError as error:
        print(f"import: {error}", file=sys.stderr)
        return 1
    rows = store.index
    steps, won = sum(row["length"] for row in rows), sum(row["success"] for row in rows)
    unknown = ", ".join(json.loads(rows[0]["extra"]).get("unknown", [])) or "nothing"
    print(f"{store.path}: {len(rows)} episodes, {steps} steps, {won} successes; unknown: {unknown}")
    print(store.spec.to_json())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
