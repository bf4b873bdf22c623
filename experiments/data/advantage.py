"""Labels of a store by a method: the advantage of every step, and the weight or the indicator made of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from agents.extraction import labeller
from agents.label_report import label_report, table, warnings
from agents.phases import progress_phases
from agents.settings import ExtractionConfig
from episodes.files import make_once, refuse_link
from episodes.labels import Labels
from episodes.store import Episodes, EpisodeStore
from episodes.store_index import named
from experiments.data.schemas import AdvantageCommandConfig
from experiments.loop.addresses import digest
from experiments.loop.run_folder import read_json, write_json

UNREAD = ("bc", "success_bc", "success_random", "label_bc")
"""Methods that read no value."""
AGAIN = "label the store again"


def run_all(config: DictConfig) -> None:
    """Make the labels, or find them where the same command has made them, and print their report."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, AdvantageCommandConfig)
    store = EpisodeStore.open(Path(settings.store))
    labels, view, path = advantages_of(store, settings)
    print(f"{path}: {', '.join(sorted(labels.columns))} of {len(labels.episodes)} episodes", flush=True)
    if left := len(store) - len(view):
        print(f"  left out: {left} episodes that have no values", flush=True)
    shares = label_report(view, labels, progress_phases(view), settings.method)
    print(table(shares))
    for line in warnings(shares):
        print(f"WARNING: {line}", flush=True)


def advantages_of(store: EpisodeStore, settings: AdvantageCommandConfig) -> tuple[Labels, Episodes, Path]:
    """The labels of a method, the episodes that have them, and the file they are in; made once."""
    method = labeller(settings.method)
    source = None if settings.method in UNREAD else values_file(store, settings.labels)
    view: Episodes = store
    made_of, extraction = "", settings.labeller
    values: list[np.ndarray] = []
    if source is not None:
        known = Labels.load(source)
        view = labelled(store, known, source)
        values, extraction = values_of(source, known, view, extraction)
        made_of = known.content_hash
    key = digest(settings.method, extraction, made_of)
    path = store.path / "labels" / f"{settings.method.replace(':', '.')}-{key[:12]}-{view.content_hash[:12]}.parquet"
    refuse_link(path.parent, "a store's labels folder")

    def make() -> None:
        made = method(view, values, extraction)
        columns = dict(made.columns)
        if values:
            columns["value"] = np.concatenate([v[:-1] for v in values]).astype(np.float32)
        name = f"{made.made_by} on {source.stem}" if source else made.made_by
        write_json(path.with_suffix(".json"), {"scale": extraction.advantage.scale, "values": str(source or "")})
        replace(made, made_by=name, made_by_hash=key, columns=columns).save(path)

    make_once(path, path.exists, make)
    return Labels.load(path, view), view, path


def values_file(store: EpisodeStore, given: str) -> Path:
    """The file of values to read: the one that is named, or the only one in the store."""
    if given:
        return Path(given)
    found = [path for path in sorted((store.path / "labels").glob("*.parquet")) if _only_values(path)]
    if not found:
        raise ValueError(
            f"{store.path / 'labels'}: no values; make some with foresight label {store.path} value=FOLDER"
        )
    if len(found) > 1:
        raise ValueError(f"{store.path / 'labels'}: values by {len(found)} models; name one: labels={found[0]}")
    return found[0]


def _only_values(path: Path) -> bool:
    return set(Labels.load(path).columns) == {"value"}


def labelled(store: EpisodeStore, labels: Labels, path: Path) -> Episodes:
    """The view of the episodes that a file of labels speaks of; labels of others are a ValueError."""
    known = set(labels.episodes)
    view = store.select(lambda row: row["episode_index"] in known)
    try:
        labels.require_for(view)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return view


def values_of(
    path: Path, labels: Labels, store: Episodes, extraction: ExtractionConfig
) -> tuple[list[np.ndarray], ExtractionConfig]:
    """The values (T + 1,) in a file, those of final observations too, and the settings in the values' own scale.

    Where the file was made before final values were kept, that of an episode's last step stands for it, and it is said.
    """
    file = path.with_suffix(".json")
    head: dict[str, Any] = read_json(file, dict, AGAIN) if file.exists() else {"scale": extraction.advantage.scale}
    if "scale" not in head or not isinstance(head.get("final", {}), dict):
        raise ValueError(f"{file}: it says no scale of its values, or no final ones by episode; {AGAIN}")
    scale, final = str(head["scale"]), head.get("final")
    if scale not in ("viva", "recap"):
        raise ValueError(f"{path}: values of the scale {scale!r}; advantages are made of ViVa's or RECAP's")
    steps = [labels.column("value", row["episode_index"]) for row in store.index]
    if final is None:
        print(f"  {path.name}: no values of final observations; the last step's stands for them", flush=True)
        last = [float(v[-1]) for v in steps]
    else:
        with named(file, AGAIN):
            last = [float(final[str(row["episode_index"])]) for row in store.index]
    values = [np.append(v, np.float32(x)) for v, x in zip(steps, last, strict=True)]
    advantage = replace(extraction.advantage, scale=scale)
    return values, replace(extraction, advantage=advantage)
