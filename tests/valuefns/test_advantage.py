"""Advantages: zero under the exact value, right at the end of an episode, WVM's tail as printed and as scaled."""

import numpy as np
import pytest

from valuefns.advantage import chunk, gae, n_step, surplus


def exact(T: int, outcome: float, cost: float) -> tuple[np.ndarray, np.ndarray]:
    """The exact value in progress units (T + 1,) and its rewards (T,), the last step free."""
    rewards = np.r_[np.full(T - 1, -cost), 0.0]
    return outcome + np.r_[np.cumsum(rewards[::-1])[::-1], 0.0], rewards


@pytest.mark.parametrize("outcome", [1.0, 0.0])
@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("smoothing", [1, 5, 21, 501])
@pytest.mark.parametrize("T", [1, 2, 3, 20, 60])
def test_the_exact_value_has_no_advantage_anywhere(outcome: float, ended: bool, smoothing: int, T: int) -> None:
    p, rewards = exact(T, outcome, 1 / 80)
    U = surplus(p, rewards, outcome if ended else None, smoothing)
    for A in (n_step(U, 1), n_step(U, 10), n_step(U, 500), gae(U, 0.95), gae(U, 0.0), gae(U, 1.0)):
        np.testing.assert_allclose(A, np.zeros(T), atol=1e-9)


def test_the_outcome_is_counted_once_where_it_is_known_and_the_rest_bootstraps() -> None:
    T, n, cost = 10, 3, 0.02
    p, rewards = np.full(T + 1, 0.4), np.r_[np.full(T - 1, -cost), 0.0]
    ended, timed_out = (n_step(surplus(p, rewards, outcome), n) for outcome in (1.0, None))
    np.testing.assert_allclose(ended[: T - n - 1], -n * cost)  # time cost only, equal values cancel
    np.testing.assert_allclose(timed_out[: T - n], ended[: T - n])
    assert ended[-1] == pytest.approx(1.0 - 0.4) and timed_out[-1] == pytest.approx(0)
    np.testing.assert_allclose(timed_out[T - n :], [-2 * cost, -cost, 0])  # what is left of the time, and no more


def test_gae_is_the_sum_of_its_definition() -> None:
    U, lam = np.random.default_rng(0).normal(size=13), 0.8
    slow = [sum(lam**k * (U[t + k + 1] - U[t + k]) for k in range(12 - t)) for t in range(12)]
    np.testing.assert_allclose(gae(U, lam), slow)
    np.testing.assert_allclose(gae(U, 0.0), n_step(U, 1))
    np.testing.assert_allclose(gae(U, 1.0), n_step(U, 12))


def test_smoothing_averages_frames_and_leaves_a_known_outcome_alone() -> None:
    noise = np.random.default_rng(1).normal(size=200)
    U = surplus(noise, np.zeros(199), smoothing=21)
    np.testing.assert_allclose(U[50], noise[40:61].mean())
    ends = surplus(noise, np.zeros(199), 7.0, smoothing=21)
    assert ends[-1] == 7.0 and np.abs(ends[-12:-1]).max() < 2, "what is known does not leak into estimates"


def test_a_rise_is_an_advantage_for_the_steps_before_it() -> None:
    p = np.full(31, 0.0)
    p[15:] = 0.8
    A = n_step(surplus(p, np.full(30, -0.01)), 5)
    assert (A[10:15] > 0.7).all() and (A[:10] < 0).all()


def test_chunk_tail() -> None:
    v = np.linspace(0, 1, 21)  # 20 steps, the last entry is the final observation and is not used
    printed, scaled = chunk(v, 6, "printed"), chunk(v, 6, "scaled")
    assert printed[-1] == 0 and printed[-2] < printed[0]
    np.testing.assert_allclose(scaled, scaled[0], rtol=1e-5)  # a steady climb is equally good everywhere
    np.testing.assert_array_equal(chunk(np.array([0.2, 0.7]), 6), [0.0])  # one step: nothing to rise over


@pytest.mark.parametrize(
    "call",
    [
        lambda v: chunk(v, 1),
        lambda v: chunk(v, 5, "cut"),
        lambda v: n_step(v, 0),
        lambda v: gae(v, 1.5),
        lambda v: surplus(v, v[1:], smoothing=4),
    ],
)
def test_bad_settings_are_named(call: object) -> None:
    with pytest.raises(ValueError, match="advantage"):
        call(np.zeros(5))  # type: ignore[operator]
