"""Metrics of values: what a clock, a constant and the truth score."""

import numpy as np
import pytest

from valuefns.bench import metrics

T = 60
CLOCK = np.arange(T) / (T - 1)
TRUTH = np.interp(np.arange(T), [0, 20, 35, T - 1], [0.0, 0.5, 0.2, 1.0])


def test_probes() -> None:
    assert metrics.voc(CLOCK) == pytest.approx(1)
    assert np.isnan(metrics.voc(np.full(T, 0.3)))  # a constant has no order: undefined, neither 0 nor 1
    assert metrics.retry_voc(TRUTH, TRUTH) == pytest.approx(1)
    assert metrics.retry_voc(CLOCK, TRUTH) == pytest.approx(-1)
    assert np.isnan(metrics.retry_voc(CLOCK, CLOCK))
    assert metrics.spearman(TRUTH, TRUTH) == pytest.approx(1)


def test_only_windows_where_the_truth_strictly_falls_count() -> None:
    truth = np.array([0.0, 1, 0.9, 0.8, 0.7, 0.7, 0.9, 0.85, 1])
    windows, short = metrics.falling(truth)
    assert windows == [(1, 4)] and short == 1  # 0.9 -> 0.85 has two frames


def test_hesitation() -> None:
    waiting = np.zeros(T, bool)
    waiting[10:30] = True
    flat = np.full(T, 0.4)
    assert metrics.hesitation_rmse(flat, flat, waiting) == 0
    assert metrics.hesitation_rmse(flat + 0.1, flat, waiting) == pytest.approx(0.1)
    assert metrics.hesitation_drift(flat, waiting) == pytest.approx(0, abs=1e-9)
    assert metrics.hesitation_drift(CLOCK, waiting) == pytest.approx(19 / 59)
    assert np.isnan(metrics.hesitation_drift(CLOCK, np.zeros(T, bool)))
    rng = np.random.default_rng(0)
    noisy = [metrics.hesitation_drift(flat + rng.normal(0, 0.1, T), waiting) for _ in range(300)]
    assert abs(np.mean(noisy)) < 0.02  # noise alone does not drift


def test_runs() -> None:
    assert metrics.runs(np.array([1, 1, 0, 0, 1, 0, 1], bool)) == [(0, 1), (4, 4), (6, 6)]
    assert metrics.runs(np.zeros(3, bool)) == []
