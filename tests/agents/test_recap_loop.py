"""The RECAP loop: what each iteration is fitted on, also when it was interrupted."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.extraction import bc
from agents.recap import improve
from agents.settings import ExtractionConfig
from episodes.store import EpisodeStore
from episodes.types import Episode
from tests.helpers.made_lift import made_store
from tests.helpers.some_episodes import assert_same


class Loop:
    """The stages of a loop on a store, without learning: they note what they were given."""

    def __init__(self, path: Path) -> None:
        self.store = EpisodeStore.open(path, "a")
        self.fitted: list[tuple[int, int, int]] = []  # iteration, episodes of the value and of the policy

    def run(self, stop_after: int | None = None) -> None:
        sizes: dict[int, int] = {}

        def fit_values(data: Any, k: int) -> list[np.ndarray]:
            sizes[k] = len(data)
            return [np.zeros(row["length"] + 1, np.float32) for row in data.index]

        def fit_policy(data: Any, labels: Any, k: int) -> Any:
            assert list(labels.lengths) == [row["length"] for row in data.index]
            self.fitted.append((k, sizes[k], len(data)))
            if k == stop_after:
                raise KeyboardInterrupt
            return None

        def collect(policy: Any, k: int) -> Iterator[Episode]:
            for i in range(2):
                episode = self.store[0]
                yield replace(episode, provenance=replace(episode.provenance, seed=100 * k + i, iteration=k))

        for _ in improve(self.store, fit_values, bc, ExtractionConfig(), fit_policy, collect, iterations=3):
            pass


def demonstrations(path: Path) -> Path:
    store = made_store(path, successes=2, failures=1)
    store.close()
    return path


def test_every_iteration_is_fitted_on_all_data_so_far(tmp_path: Path) -> None:
    loop = Loop(demonstrations(tmp_path / "store"))
    loop.run()
    assert loop.fitted == [(0, 3, 3), (1, 5, 5), (2, 7, 7)]


@pytest.mark.parametrize("stop_after", [0, 1, 2])
def test_an_interrupted_loop_goes_on_with_the_same_data(tmp_path: Path, stop_after: int) -> None:
    """Also after its rollouts were stored: an earlier iteration never sees the data of a later one."""
    whole = Loop(demonstrations(tmp_path / "whole"))
    whole.run()
    cut = Loop(demonstrations(tmp_path / "cut"))
    with pytest.raises(KeyboardInterrupt):
        cut.run(stop_after)
    cut.store.close()
    again = Loop(tmp_path / "cut")
    again.run()
    assert again.fitted == whole.fitted
    assert len(again.store) == len(whole.store) and again.store.content_hash == whole.store.content_hash
    assert_same(again.store[-1 + len(again.store)], whole.store[-1 + len(whole.store)])
