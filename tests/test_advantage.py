"""Advantages: zero under the exact value, right at the end of an episode, WVM's tail as printed and as scaled."""

import numpy as np
import pytest

from episodes.returns import viva_return, viva_rewards
from valuefns.advantage import chunk, n_step


@pytest.mark.parametrize("success", [True, False])
@pytest.mark.parametrize("n", [1, 7, 20, 500])
def test_the_exact_value_has_no_advantage_anywhere(success: bool, n: int) -> None:
    T = 20
    exact = viva_return(T, success)
    np.testing.assert_allclose(n_step(exact, viva_rewards(T), exact[:T], n), 0, atol=1e-6)


def test_the_tail_counts_the_outcome_once_and_the_rest_bootstraps() -> None:
    T, n = 10, 3
    v = np.full(T + 1, 0.7)
    A = n_step(v, viva_rewards(T), viva_return(T, False)[:T], n)
    np.testing.assert_allclose(A[: T - n], -n / (2 * T), atol=1e-6)  # time cost only, constant values cancel
    np.testing.assert_allclose(A[T - n :], viva_return(T, False)[T - n : T] - 0.7, atol=1e-6)
    assert A[-1] == pytest.approx(0.5 - 0.7)


def test_a_rise_is_an_advantage_for_the_steps_before_it() -> None:
    T = 30
    v = np.full(T + 1, 0.5)
    v[15:] = 0.9
    A = n_step(v, viva_rewards(T), np.full(T, 0.9), 5)
    assert (A[10:15] > 0.2).all() and (A[:10] < 0).all()


def test_chunk_tail() -> None:
    v = np.linspace(0, 1, 21)  # 20 steps, the last entry is the final observation and is not used
    printed, scaled = chunk(v, 6, "printed"), chunk(v, 6, "scaled")
    assert printed[-1] == 0 and printed[-2] < printed[0]
    np.testing.assert_allclose(scaled, scaled[0], rtol=1e-5)  # a steady climb is equally good everywhere


@pytest.mark.parametrize(
    "call", [lambda v: chunk(v, 1), lambda v: chunk(v, 5, "cut"), lambda v: n_step(v, v[1:], v[1:], 0)]
)
def test_bad_settings_are_named(call: object) -> None:
    with pytest.raises(ValueError, match="advantage"):
        call(np.zeros(5))  # type: ignore[operator]
