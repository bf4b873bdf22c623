"""Interquartile means, stratified bootstrap and probability of improvement, against rliable's own numbers."""

import numpy as np
import pytest

from episodes.aggregate import iqm, probability_of_improvement, stratified_iqm


def scores() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    return np.round(rng.beta(2, 2, size=(10, 3)), 3), np.round(rng.beta(2, 3, size=(8, 3)), 3)


# What rliable 1.2.0 gives for these scores (20,000 and 5,000 resamples of its own generator).
IQM_X, IQM_Y, IQM_X_INTERVAL = 0.5116875, 0.4076666666666667, (0.4120625, 0.604)
BETTER, BETTER_INTERVAL = 0.6, (0.44583333, 0.74166667)


def test_they_are_those_of_rliable() -> None:
    x, y = scores()
    value, low, high = stratified_iqm(x, resamples=20_000)
    assert (value, iqm(y)) == pytest.approx((IQM_X, IQM_Y))
    assert (low, high) == pytest.approx(IQM_X_INTERVAL, abs=0.006)
    value, low, high = probability_of_improvement(x, y)
    assert value == pytest.approx(BETTER) and (low, high) == pytest.approx(BETTER_INTERVAL, abs=0.02)


def test_rliable_itself_agrees_where_it_is_installed() -> None:
    metrics = pytest.importorskip("rliable.metrics", exc_type=Exception)
    x, y = scores()
    assert iqm(x) == pytest.approx(metrics.aggregate_iqm(x))
    assert probability_of_improvement(x, y)[0] == pytest.approx(metrics.probability_of_improvement(x, y))


def test_by_hand() -> None:
    assert iqm([0, 0, 1, 1]) == 0.5 and iqm([0, 0.4, 0.6, 9]) == 0.5 and iqm([1, 2, 6]) == 3
    assert probability_of_improvement([1, 2], [0, 2])[0] == (1 + 0 + 1 + 0.5) / 4
    assert probability_of_improvement([1.0], [0.0])[0] == 1 and np.isnan(stratified_iqm([1.0])[1:]).all()
    _, low, high = probability_of_improvement(np.full((4, 2), 0.3), np.full((5, 2), 0.3))
    assert low == high == 0.5


def test_runs_are_drawn_within_their_task() -> None:
    easy_and_hard = np.array([[0.0, 1.0]] * 5)  # no spread within a task: none in the interval
    assert stratified_iqm(easy_and_hard)[1:] == (0.5, 0.5)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: iqm([]), "at least one"),
        (lambda: stratified_iqm([0.1, np.nan]), "1 of 2 scores are NaN"),
        (lambda: probability_of_improvement([[1, 2]], [[1]]), "2 tasks against 1"),
        (lambda: stratified_iqm([0.1, 0.2], level=2), "level is 2"),
    ],
)
def test_refusals(call, said) -> None:
    with pytest.raises(ValueError, match=said):
        call()
