"""What other programs need of a store: LeRobot's statistics, and labels as columns or files of theirs."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from episodes.exporting.columns import exchange_columns, write_columns
from episodes.exporting.rows import dataset_info, row_labels
from episodes.exporting.tables import write_table
from episodes.labels import Labels
from episodes.lerobot_layout import STATS_PATH
from episodes.lerobot_stats import write_stats
from episodes.store import EpisodeStore
from experiments.data.schemas import ExportConfig
from experiments.loop.run_folder import read_json


def run_all(config: DictConfig) -> None:
    """Write the statistics of a store, or export labels of it, and say how to open what came of it."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, ExportConfig)
    store = Path(settings.store)
    if settings.labels:
        export_labels(settings)
        return
    stats = write_stats(store)
    print(f"{store / STATS_PATH}: {len(stats)} features; open with LeRobotDataset(NAME, root={str(store)!r})")


def export_labels(settings: ExportConfig) -> None:
    """Write labels for the rows of the dataset that the store came from, or of the store itself."""
    store, path = EpisodeStore.open(Path(settings.store)), Path(settings.labels)
    root = Path(settings.source) if settings.source else store.path
    dataset_info(root)
    labels = Labels.load(path)
    rows = row_labels(labels, store, root)
    if settings.format != "columns":
        folder = root if settings.in_place else Path(settings.target)
        made = write_table(rows, settings.format, folder, value_scale(labels, path), settings.tag)
        print(f"{made}: {len(rows.index)} rows")
    else:
        place = root if settings.in_place else Path(settings.target)
        if settings.in_place:
            exchange_columns(rows, root, settings.prefix)
        else:
            write_columns(rows, root, place, settings.prefix)
        names = ", ".join(f"{settings.prefix}{name}" for name in rows.columns)
        print(f"{place}: {names} of {len(rows.index)} rows; open with LeRobotDataset(NAME, root={str(place)!r})")
    if rows.unlabelled:
        told = ", ".join(map(str, rows.unlabelled[:10])) + (", ..." if len(rows.unlabelled) > 10 else "")
        print(f"  {len(rows.unlabelled)} episodes have no labels, and weight 0: {told}")


def value_scale(labels: Labels, path: Path) -> str:
    """The scale of the values in a file, as `foresight label` and `foresight advantage` wrote beside it."""
    head = path.with_suffix(".json")
    scale = str(read_json(head, dict, "label the store again").get("scale", "viva")) if head.exists() else "viva"
    if scale not in ("viva", "recap") and "value" in labels:
        raise ValueError(f"{path}: values of the scale {scale!r}; progress is made of ViVa's or RECAP's")
    return scale
