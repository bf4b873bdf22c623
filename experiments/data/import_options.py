"""What the settings of an import say, as the importer wants it, and what it prints meanwhile."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from episodes.importing import Known
from episodes.importing.oxe import oxe_known
from episodes.importing.reading import read_text
from episodes.importing.target import Progress
from experiments.data.schemas import ImportConfig, pair

EVERY = 5.0  # seconds between two lines of progress


def known_from(args: ImportConfig) -> Known:
    """What the settings say; a bad JSON file is a ValueError that names it."""

    def names(given: list[str]) -> tuple[str, ...] | None:
        return tuple(given) or None

    spec: dict[str, Any] = {}
    if args.spec is not None:
        try:
            spec = json.loads(read_text(Path(args.spec)))
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
        image_size=pair(args.image_size),
        tolerance=args.tolerance,
        skip=frozenset(int(part) for part in args.skip if part != "bad"),
        skip_bad="bad" in args.skip,
    )
    return oxe_known(args.oxe, known) if args.oxe else known


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
