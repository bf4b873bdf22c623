"""Labellers: what each method weighs and marks."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from made_lift import SPEC, made_episode, made_store

from agents.extraction import (
    LABELLERS,
    AdvantageConfig,
    ExtractionConfig,
    advantages,
    awr,
    filtered_bc,
    label_bc,
    labeller,
    recap,
    success_bc,
)
from episodes.labels import POSITIVE
from episodes.store import EpisodeStore


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    return made_store(tmp_path / "store")


def values(store: EpisodeStore) -> list[np.ndarray]:
    """A state value that ignores the outcome: what the pictures show."""
    return [(1 + e.progress) / 2 for e in store]


def config(**changes: object) -> ExtractionConfig:
    return ExtractionConfig(advantage=AdvantageConfig(n=5), **changes)  # type: ignore[arg-type]


def test_success_and_label_filters(store: EpisodeStore) -> None:
    v = values(store)
    for method in (success_bc, label_bc):
        labels = method(store, v, config())
        for row in store.index:
            assert set(labels.column("weight", row["episode_index"])) == {float(row["success"])}


def test_percentile_keeps_its_share_and_prefers_progress(store: EpisodeStore) -> None:
    noise = np.random.default_rng(0)  # made values rise so evenly that many advantages are equal
    v = [x + noise.normal(0, 0.01, len(x)) for x in values(store)]
    labels = filtered_bc(store, v, config(keep=0.4))
    kept = labels.columns["weight"]
    assert abs(kept.mean() - 0.4) < 0.03
    outcome = np.repeat([r["success"] for r in store.index], [r["length"] for r in store.index])
    assert kept[outcome].mean() > kept[~outcome].mean()


def test_binary_keeps_zero_and_strict_drops_it(store: EpisodeStore) -> None:
    flat = [np.full(r["length"] + 1, 0.5) for r in store.index]
    chunked = ExtractionConfig(advantage=AdvantageConfig("chunk", 5), filter="binary")
    assert filtered_bc(store, flat, chunked).columns["weight"].all()
    chunked.filter = "strict"
    with pytest.raises(ValueError, match="no step has an advantage"):
        filtered_bc(store, flat, chunked)


def test_awr_weights_are_clipped_mean_one_and_rise_with_the_advantage(store: EpisodeStore) -> None:
    v = values(store)
    A = np.concatenate(advantages(store, v, config().advantage))
    w = awr(store, v, config(awr_temperature=10.0, awr_clip=2.0)).columns["weight"]
    assert w.mean() == pytest.approx(1, abs=1e-5)
    order = np.argsort(A)
    assert (np.diff(w[order]) >= -1e-6).all()
    raw = np.minimum(np.exp(10 * A), 2)
    np.testing.assert_allclose(w, raw / raw.mean(), rtol=1e-4)


def test_recap_share_per_task_and_forced_corrections(tmp_path: Path) -> None:
    store = EpisodeStore.create(tmp_path / "s", SPEC)
    corrected = np.zeros(20, bool)
    corrected[3:6] = True
    store.append([made_episode(0), dataclasses.replace(made_episode(1, success=False), intervention=corrected)])
    other = [dataclasses.replace(made_episode(s), instruction="another task") for s in (2, 3)]
    store.append(other)
    v = values(store)
    labels = recap(store, v, config(positive=0.3))
    for episodes in ((0, 1), (2, 3)):
        marked = np.concatenate([labels.column("indicator", e) for e in episodes]) == POSITIVE
        assert 0.15 <= marked.mean() <= 0.45
    assert (labels.column("indicator", 1)[3:6] == POSITIVE).all()
    assert (labels.columns["weight"] == 1).all()


def test_unknown_method_lists_the_known() -> None:
    with pytest.raises(ValueError, match="filtered_bc"):
        labeller("ppo")
    assert set(LABELLERS) >= {"bc", "filtered_bc", "success_bc", "label_bc", "awr", "recap"}
