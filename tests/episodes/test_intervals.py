"""Intervals against published numbers, closed forms and their own coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from episodes.intervals import bootstrap_groups, bootstrap_mean, bootstrap_of, paired_bootstrap, wilson


def test_wilson_against_known_values() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@given(st.integers(1, 500), st.data())
def test_wilson_properties(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    mirrored = wilson(n - k, n)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))
    wide = wilson(k, n, level=0.99)
    assert wide[0] <= low and high <= wide[1]


def test_undefined_is_nan_and_nonsense_is_refused() -> None:
    assert all(map(math.isnan, wilson(0, 0)))
    assert all(map(math.isnan, bootstrap_mean([])))
    assert all(map(math.isnan, paired_bootstrap([], [])))
    mean, low, high = bootstrap_mean([0.3])
    assert mean == 0.3 and math.isnan(low) and math.isnan(high)
    with pytest.raises(ValueError, match="k is 3 of n 2"):
        wilson(3, 2)
    with pytest.raises(ValueError, match="level is 95"):
        wilson(1, 2, level=95)
    with pytest.raises(ValueError, match="1 of 2 values are NaN"):
        bootstrap_mean([1, math.nan])
    with pytest.raises(ValueError, match="pair the same trials"):
        paired_bootstrap([[1, 2]], [[1, 2, 3]])
    with pytest.raises(ValueError, match="shape"):
        bootstrap_mean(np.zeros((2, 2, 2)))


def test_bootstrap_mean_is_close_to_the_normal_interval() -> None:
    x = np.random.default_rng(0).normal(3, 2, 400)
    mean, low, high = bootstrap_mean(x)
    half = 1.96 * x.std() / 20
    assert mean == pytest.approx(x.mean()) and (low, high) == pytest.approx((mean - half, mean + half), abs=0.02)
    assert bootstrap_mean(x) == (mean, low, high) != bootstrap_mean(x, seed=1)


def test_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for k in range(300):
        _, low, high = bootstrap_mean(rng.exponential(1.0, 60), level=0.9, seed=k, resamples=400)
        hits += low <= 1 <= high
    assert 0.84 < hits / 300 < 0.94


def test_pairing_removes_the_difficulty_of_trials() -> None:
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=(4, 50)) * 10
    a, b = difficulty + 0.5 + rng.normal(size=(4, 50)) * 0.1, difficulty
    mean, low, high = paired_bootstrap(a, b)
    assert low < 0.5 < high and high - low < 0.1
    assert paired_bootstrap(b, a) == pytest.approx((-mean, -high, -low))
    shuffled = rng.permuted(b, axis=1)
    _, low, high = paired_bootstrap(a, shuffled)
    assert high - low > 1


def test_data_seeds_are_a_level_of_their_own() -> None:
    """Differences that agree within a seed and disagree between seeds leave a wide interval, however many trials."""
    effect = np.array([-1.0, 0.0, 1.0, 2.0])
    a = np.repeat(effect[:, None], 1000, axis=1)
    mean, low, high = paired_bootstrap(a, np.zeros_like(a))
    assert mean == 0.5 and low < -0.3 and high > 1.3
    flat = paired_bootstrap(a.ravel(), np.zeros(4000))
    assert flat[2] - flat[1] < 0.1


def test_shared_trials_widen_the_interval_when_trials_differ() -> None:
    trial = np.random.default_rng(0).normal(size=30)
    a = np.repeat(trial[None], 8, axis=0)
    nested, crossed = (paired_bootstrap(a, 0 * a, shared_trials=s) for s in (False, True))
    assert crossed[2] - crossed[1] > 2 * (nested[2] - nested[1])
    assert crossed[1:] == pytest.approx(bootstrap_mean(trial)[1:], abs=0.05)


def test_groups_of_different_sizes_are_drawn_as_groups_first() -> None:
    rng = np.random.default_rng(0)
    equal = rng.normal(size=(3, 40)) + np.array([[0.0], [1.0], [2.0]])
    assert bootstrap_groups(list(equal)) == pytest.approx(bootstrap_mean(equal), abs=0.05)
    mean, low, high = bootstrap_groups([[1.0] * 30, [0.0] * 2, []])
    assert mean == 0.5 and (low, high) == (0.0, 1.0)  # each seed counts once, however many values it has
    assert bootstrap_groups([[], []])[0] != bootstrap_groups([[], []])[0]  # NaN
    assert bootstrap_groups([[2.0]])[0] == 2.0 and math.isnan(bootstrap_groups([[2.0]])[1])


def test_the_interval_of_any_statistic() -> None:
    x = np.random.default_rng(0).normal(size=50)
    mean, low, high = bootstrap_of(lambda i: float(x[i].mean()), 50, resamples=2000)
    assert (mean, low, high) == pytest.approx(bootstrap_mean(x), abs=0.03)
    assert math.isnan(bootstrap_of(lambda i: math.nan, 5)[0])
    value, low, _ = bootstrap_of(lambda i: 1.0 if len(set(i.tolist())) == 5 else math.nan, 5)
    assert value == 1.0 and math.isnan(low), "most resamples are undefined"
