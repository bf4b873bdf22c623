"""Labels of stores by one value, and the stores ranked by what it says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from episodes.store import EpisodeStore
from experiments.data.labelling import label, mean_voc, named_value
from experiments.data.schemas import LabelConfig, pair
from experiments.loop.checks import check_device
from valuefns.oracle import OracleValue
from valuefns.views import require_store


def run_all(config: DictConfig) -> None:
    """Label every store, then print their ranking."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, LabelConfig)
    check_device(settings.device)
    value, value_hash = named_value(settings.value, settings.device)
    rows = []
    stores = [EpisodeStore.open(Path(place), image_size=pair(settings.image_size)) for place in settings.stores]
    for store in stores:  # before the first is labelled
        require_store(value, store)
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
