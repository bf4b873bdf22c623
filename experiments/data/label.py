"""Labels of stores by one value, and the stores ranked by what it says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from episodes.store import EpisodeStore
from experiments.data.labelling import chosen_value, label, mean_voc, require_applied
from experiments.data.schemas import LabelConfig, pair
from experiments.loop.applied import said_of_applied
from experiments.loop.checks import check_backend, check_device
from experiments.loop.pinned import pin
from valuefns.views import require_store


def run_all(config: DictConfig) -> None:
    """Label every store, then print their ranking."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, LabelConfig)
    check_device(settings.device)
    require_applied(settings.valuefn, "labels")
    settings, _ = pin(settings)
    check_backend(settings.valuefn)
    value, value_hash = chosen_value(settings.valuefn, settings.seed, settings.device)
    rows = []
    stores = [EpisodeStore.open(Path(place), image_size=pair(settings.image_size)) for place in settings.stores]
    for store in stores:  # before the first is labelled
        require_store(value, store)
    for store in stores:
        if told := said_of_applied(settings.valuefn, store):
            print(f"{store.path}: {told}", flush=True)
        value.fit(store)  # what is to be trained was refused: this is for those that look at the data, as the oracle
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
