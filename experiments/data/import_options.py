"""What the command line of an import says, as the importer wants it, and what it prints meanwhile."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from episodes.importing import Known
from episodes.importing.oxe import oxe_known
from episodes.importing.reading import read_text
from episodes.importing.target import Progress

EVERY = 5.0  # seconds between two lines of progress


def known_from(args: argparse.Namespace) -> Known:
    """What the command line says; a bad number or JSON file is a ValueError that names it."""

    def names(text: str | None) -> tuple[str, ...] | None:
        return None if text is None else tuple(part.strip() for part in text.split(","))

    skip = [part.strip() for part in args.skip.split(",") if part.strip()]
    if bad := [part for part in skip if not part.isdecimal() and part != "bad"]:
        raise ValueError(f"--skip: {bad[0]!r} is not an episode number; use for instance 3,7 or bad")
    spec: dict[str, Any] = {}
    if args.spec is not None:
        try:
            spec = json.loads(read_text(args.spec))
        except (OSError, ValueError) as error:
            raise ValueError(f"{args.spec}: {error}; give a JSON object of EnvSpec fields") from error
        if not isinstance(spec, dict):
            raise ValueError(f"{args.spec}: holds no JSON object; give one of EnvSpec fields")
    success: bool | str | None = args.success
    if success in ("yes", "no"):
        success = success == "yes"
    known = Known(
        spec=spec,
        success=success,
        instruction=args.instruction,
        source=args.recorded_by,
        cameras=names(args.cameras),
        state=names(args.state),
        action=args.action,
        actions=args.actions,
        hz=args.hz,
        image_size=None if args.image_size is None else pixels(args.image_size, "--image-size"),
        tolerance=args.tolerance,
        skip=frozenset(int(part) for part in skip if part != "bad"),
        skip_bad="bad" in skip,
    )
    return oxe_known(args.oxe, known) if args.oxe else known


def pixels(text: str, what: str) -> tuple[int, int]:
    """(H, W) from "96" or "96,128"; anything else is a ValueError."""
    parts = text.replace("x", ",").split(",")
    if len(parts) not in (1, 2) or not all(part.strip().isdecimal() and int(part) for part in parts):
        raise ValueError(f"{what} {text!r}: give pixels, for instance 96 or 96,128 (height,width)")
    return int(parts[0]), int(parts[-1])


class Printer:
    """Prints the progress of an import to the standard error, a line every EVERY seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, now: Progress) -> None:
        if time.monotonic() - self._last < EVERY:
            return
        self._last = time.monotonic()
        within = f", {now.pictures} pictures of the next" if now.pictures else ""
        bad = f", {now.bad} cannot be read" if now.bad else ""
        print(f"  {now.done} of {now.of} episodes{within}{bad}", file=sys.stderr, flush=True)
