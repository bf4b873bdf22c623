"""The import of a data set: what came of it, and every episode that could not be read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from episodes.importing import import_dataset
from episodes.importing.target import BadEpisodes
from experiments.data.import_options import Printer, known_from
from experiments.data.schemas import ImportConfig


def run_all(config: DictConfig) -> None:
    """Import SOURCE into the new store TARGET and say what is in it."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, ImportConfig)
    source, target, known = Path(settings.source), Path(settings.target), known_from(settings)
    try:
        store = import_dataset(source, target, known, settings.format, settings.encoding, Printer())
    except BadEpisodes as error:
        for _, message in error.bad:
            print(f"import: {message}", file=sys.stderr)
        numbers = ",".join(str(number) for number, _ in error.bad)
        sys.exit(f"import: {len(error.bad)} episodes cannot be read; fix them, or skip=[{numbers}]")
    rows = store.index
    steps, won = sum(row["length"] for row in rows), sum(row["success"] for row in rows)
    unknown = ", ".join(json.loads(rows[0]["extra"]).get("unknown", [])) or "nothing"
    print(f"{store.path}: {len(rows)} episodes, {steps} steps, {won} successes; unknown: {unknown}")
    if unused := [row["episode_index"] for row in rows if "success_not_used" in json.loads(row["extra"])]:
        own = json.loads(rows[unused[0]]["extra"])["success_not_used"]
        print(f"success={settings.success} was not used for {len(unused)} episodes: {own} of the source says otherwise")
    size = sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file())
    print(f"{size / 2**20:.1f} MB, pictures as {store.encoding}")
    print(store.spec.to_json())
