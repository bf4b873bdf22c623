"""Return definitions against the numbers of the papers, and the identities that advantages rest on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from episodes import SEGMENTS
from episodes.returns import (
    annotated_return,
    episode_return,
    oracle_return,
    progress_return,
    recap_return,
    recap_rewards,
    viva_cost_to_go,
    viva_return,
    viva_rewards,
)
from tests.helpers.some_episodes import make_episode

ADVANCE, HESITATE, RETRY, FAIL, UNLABELLED = range(5)
steps = st.integers(1, 60)


def test_the_segments_of_stores_on_disk_keep_their_names() -> None:
    assert SEGMENTS == ("advance", "hesitation", "retry", "failure", "unlabelled")


def test_progress() -> None:
    np.testing.assert_allclose(progress_return(5), [0, 0.25, 0.5, 0.75, 1])
    with pytest.raises(ValueError, match="T is 1"):
        progress_return(1)


def test_annotated_hesitation_by_hand() -> None:
    # T = 11, segment [2, 4]: 10 - 2 effective steps, 1/8 each
    expected = [0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 8]
    np.testing.assert_allclose(annotated_return(11, 2, 4, "hesitation"), np.array(expected) / 8)


def test_annotated_retry_by_hand() -> None:
    # T = 12, segment [4, 6], x = 2: r = 1/8 up and down; then 1 - 2/8 over the last 5 steps
    expected = [0, 1, 2, 3, 4, 3, 2, *(2 + 6 / 5 * np.arange(1, 6))]
    np.testing.assert_allclose(annotated_return(12, 4, 6, "retry"), np.array(expected) / 8)
    # the other divisor: 12 - 1 - 4 = 7, all slopes 1/7
    expected = [0, 1, 2, 3, 4, 3, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(annotated_return(12, 4, 6, "retry", "T-1-2x"), np.array(expected) / 7)
    # longer than what was gained: clamped at 0
    assert annotated_return(20, 2, 7, "retry")[7] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 0, 3, "hesitation"), "0 < m < n < T-1"),
        ((10, 3, 3, "hesitation"), "0 < m < n < T-1"),
        ((10, 3, 9, "retry"), "0 < m < n < T-1"),
        ((10, 1, 6, "retry"), "T-2x = 0"),
        ((11, 1, 6, "retry", "T-1-2x"), "T-1-2x = 0"),
        ((20, 13, 17, "retry"), r"1\.083 > 1"),
        ((20, 3, 7, "pause"), "kind is 'pause'"),
        ((20, 3, 7, "retry", "T"), "retry_divisor is 'T'"),
    ],
)
def test_annotated_rejects(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        annotated_return(*arguments)  # type: ignore[arg-type]


@given(st.integers(4, 80), st.data())
def test_annotated_is_the_oracle_curve_of_one_segment(T: int, data: st.DataObject) -> None:
    """With equal slopes WVM's curve and ours are the same curve: T frames are T - 1 steps."""
    m = data.draw(st.integers(1, T - 3))
    n = data.draw(st.integers(m + 1, T - 2))
    labels = np.zeros(T - 1, np.int8)
    labels[m:n] = HESITATE
    np.testing.assert_allclose(annotated_return(T, m, n, "hesitation"), oracle_return(labels, True), atol=1e-12)
    assume(n <= 2 * m and T - 1 - 2 * (n - m) > 0 and m <= T - 1 - 2 * (n - m))
    labels[m:n] = RETRY
    np.testing.assert_allclose(annotated_return(T, m, n, "retry", "T-1-2x"), oracle_return(labels, True), atol=1e-12)


def test_oracle_by_hand() -> None:
    labels = [ADVANCE, ADVANCE, HESITATE, RETRY, RETRY, RETRY, ADVANCE, ADVANCE, ADVANCE, ADVANCE]
    np.testing.assert_allclose(oracle_return(labels, True), np.array([0, 1, 2, 2, 1, 0, 0, 1, 2, 3, 4]) / 4)
    np.testing.assert_allclose(oracle_return([ADVANCE, ADVANCE, FAIL, FAIL], False), [0, 0.25, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(oracle_return([ADVANCE, ADVANCE, RETRY], False, rate=0.1), [0, 0.1, 0.2, 0.1])
    with pytest.raises(ValueError, match="step 1 is unlabelled"):
        oracle_return([ADVANCE, UNLABELLED], True)
    with pytest.raises(ValueError, match="no net advance"):
        oracle_return([ADVANCE, RETRY], True)
    with pytest.raises(ValueError, match=r"rate 0\.1 given for a success"):
        oracle_return([ADVANCE], True, rate=0.1)
    with pytest.raises(ValueError, match="no steps"):
        oracle_return([], True)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), st.booleans())
def test_oracle_stays_in_its_range_and_moves_with_its_labels(labels: list[int], success: bool) -> None:
    if success:
        u = 0
        for label in labels:
            u = max(0, u + (label == ADVANCE) - (label == RETRY))
        assume(u > 0)
    v = oracle_return(labels, success)
    assert v.shape == (len(labels) + 1,) and v[0] == 0 and v.min() >= 0 and v.max() <= 1
    if success:
        assert v[-1] == 1
    elif set(labels) != {ADVANCE}:
        assert v.max() < 1
    for label, step in zip(labels, np.diff(v), strict=True):
        assert {ADVANCE: step >= 0, HESITATE: step == 0, RETRY: step <= 0, FAIL: step == 0}[label]


def test_viva_by_hand() -> None:
    np.testing.assert_allclose(viva_cost_to_go(4, True), [0.75, 0.5, 0.25, 0, 0])
    np.testing.assert_allclose(viva_cost_to_go(4, False), [1.75, 1.5, 1.25, 1, 1])
    np.testing.assert_allclose(viva_return(4, True), [0.625, 0.75, 0.875, 1, 1])
    np.testing.assert_allclose(viva_return(4, False), [0.125, 0.25, 0.375, 0.5, 0.5])


@given(steps)
def test_viva_ranges_and_margin(T: int) -> None:
    won, lost = viva_cost_to_go(T, True), viva_cost_to_go(T, False)
    assert won.min() >= 0 and won.max() < 1 and lost.min() >= 1 and lost.max() < 2
    np.testing.assert_allclose(lost - won, 1)
    assert (viva_return(T, True) > 0.5).all() and (viva_return(T, False) <= 0.5).all()
    if T > 1:  # p = 2V - 1 rises as progress over T frames does, by (T-1)/T in all
        np.testing.assert_allclose(2 * viva_return(T, True)[:T] - 1, 1 - (1 - progress_return(T)) * (T - 1) / T)


def test_recap_by_hand() -> None:
    np.testing.assert_allclose(recap_return(4, True, 10, 3), [-0.3, -0.2, -0.1, 0, 0])
    np.testing.assert_allclose(recap_return(4, False, 10, 3), [-0.6, -0.5, -0.4, -0.3, -0.3])
    np.testing.assert_allclose(recap_return(4, False, 10, 8), [-1, -1, -0.9, -0.8, -0.8])
    np.testing.assert_allclose(recap_return(4, False, 10, 8, "joint"), np.array([-11, -10, -9, -8, -8]) / 18)
    np.testing.assert_allclose(recap_return(4, True, 10, 8, "joint"), np.array([-3, -2, -1, 0, 0]) / 18)
    np.testing.assert_allclose(recap_rewards(4, True, 10, 3), [-0.1, -0.1, -0.1, 0])
    np.testing.assert_allclose(recap_rewards(4, False, 10, 8), [0, -0.1, -0.1, 0], atol=1e-12)
    for arguments, message in [((11, True, 10, 1), "max_steps 10"), ((1, True, 10, -1), "c_fail is -1")]:
        with pytest.raises(ValueError, match=message):
            recap_return(*arguments)
    with pytest.raises(ValueError, match="failure_scale is 'none'"):
        recap_return(1, True, 10, 1, "none")  # type: ignore[arg-type]


@settings(max_examples=200)
@given(steps, st.booleans(), st.integers(0, 100), st.floats(0, 500), st.sampled_from(["clip", "joint"]), st.data())
def test_exact_values_have_no_advantage(
    T: int, success: bool, spare: int, c_fail: float, scale: str, data: st.DataObject
) -> None:
    """sum_{k=t}^{t+N-1} r_k + V(t+N) - V(t) = 0 for every t and N, in both scales."""
    N = data.draw(st.integers(1, T))
    recap = (T, success, T + spare, c_fail, scale)
    for V, r in (
        (viva_return(T, success), viva_rewards(T)),
        (recap_return(*recap), recap_rewards(*recap)),  # type: ignore[arg-type]
    ):
        assert V.shape == (T + 1,) and r.shape == (T,)
        np.testing.assert_allclose(r + V[1:] - V[:-1], 0, atol=1e-12)
        for t in range(T - N + 1):
            assert abs(r[t : t + N].sum() + V[t + N] - V[t]) < 1e-9
    V = recap_return(*recap)  # type: ignore[arg-type]
    assert V.min() >= -1 and V.max() <= 0
    if success:
        assert V.min() > -1


def test_returns_of_an_episode_by_name() -> None:
    episode = make_episode(T=6, success=False, segments=np.array([0, 0, 2, 0, 3, 3], np.int8))
    np.testing.assert_array_equal(episode_return(episode, "viva"), viva_return(6, False))
    np.testing.assert_array_equal(episode_return(episode, "oracle"), oracle_return(episode.segments, False))
    np.testing.assert_array_equal(episode_return(episode, "recap", 20, 5), recap_return(6, False, 20, 5))
    with pytest.raises(ValueError, match="'progress' is not defined for every episode"):
        episode_return(episode, "progress")  # type: ignore[arg-type]
