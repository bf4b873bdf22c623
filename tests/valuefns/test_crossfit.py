"""Cross-fitting: nobody scores an episode it has seen, and workers change nothing."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import tiny
from tests.helpers.made_lift import made_store
from valuefns.crossfit import cross_fit, fold_of
from valuefns.oracle import OracleValue
from valuefns.settings import ConstantConfig, OracleConfig


def test_folds_cover_every_episode_once_and_evenly() -> None:
    assigned = fold_of(11, 3, seed=0)
    assert sorted(np.bincount(assigned)) == [3, 4, 4]
    with pytest.raises(ValueError, match="folds=12"):
        fold_of(11, 12, seed=0)


def test_each_episode_is_scored_by_a_value_fitted_without_it(tmp_path: Path) -> None:
    """The constant value is the mean of what it was fitted on: recompute it without the held-out fold."""
    from episodes.returns import viva_return

    store = made_store(tmp_path / "store", successes=5, failures=3)
    values = cross_fit(ConstantConfig(), tiny.PCA, store, folds=4, folder=tmp_path / "v", seed=3)
    assigned = fold_of(len(store), 4, seed=3)
    for i, v in enumerate(values):
        others = [r for r, k in zip(store.index, assigned, strict=True) if k != assigned[i]]
        mean = np.concatenate([viva_return(r["length"], r["success"])[:-1] for r in others]).mean()
        np.testing.assert_allclose(v, mean, rtol=1e-6)
        assert len(v) == store.index[i]["length"] + 1


@pytest.mark.slow
def test_two_workers_give_the_same_values_as_one(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", successes=3, failures=1)
    one, two = (
        cross_fit(tiny.viva(4), tiny.PCA, store, folds=2, folder=tmp_path / str(w), seed=1, workers=w) for w in (1, 2)
    )
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_oracle_needs_the_simulators_progress(tmp_path: Path) -> None:
    import dataclasses

    store = made_store(tmp_path / "store", successes=1, failures=0)
    value = OracleValue(OracleConfig()).fit(store)
    v, T = value.score(store[0]), len(store[0])
    assert v[0] == pytest.approx(1 - (T - 1) / (2 * store.spec.max_steps)) and v[-1] == pytest.approx(1.0)
    unknown = dataclasses.replace(store[0], progress=np.full(len(store[0]) + 1, np.nan, np.float32))
    with pytest.raises(ValueError, match="no simulator progress"):
        value.score(unknown)
