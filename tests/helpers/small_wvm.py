"""What the tests of WVM and of its windows share."""

from pathlib import Path

import torch

from episodes.store import EpisodeStore
from episodes.types import Episode
from tests.helpers.made_lift import SPEC
from valuefns.wvm_model import WVMModel


def a_store(path: Path, episodes: list[Episode]) -> EpisodeStore:
    """A store of these episodes."""
    with EpisodeStore.create(path, SPEC) as store:
        store.append(episodes)
    return EpisodeStore.open(path)


def loss_of(model: WVMModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The losses (B,), always with the same noise."""
    torch.manual_seed(1)
    return model(batch)
