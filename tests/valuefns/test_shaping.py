"""Shaping terms: sums that telescope, optimal policies that stay (or do not), endings, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuefns.shaping.terms import Shaper, ShapingConfig, delta, gated, matched, potential, raw

YES, NO = np.array([True]), np.array([False])


def run(config: ShapingConfig, values: list[float], terminated: bool) -> np.ndarray:
    """Terms (T,) of one episode whose observations have the `values` (T + 1,)."""
    shaper = Shaper(config, 1)
    shaper.begin(YES, np.array([values[0]]))
    terms = []
    for t, v in enumerate(values[1:], 1):
        end = np.array([terminated and t == len(values) - 1])
        given_value = v if shaper.asks(end)[0] else np.nan  # a value that was not asked for must not matter
        terms.append(shaper.step(np.zeros(1), np.array([given_value]), end)[0])
    return np.array(terms)


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.floats(-3, 3), min_size=2, max_size=30),
    gamma=st.floats(0, 1),
    every=st.integers(1, 7),
    terminated=st.booleans(),
)
def test_the_sum_telescopes_exactly_also_between_readings(values, gamma, every, terminated):
    config = ShapingConfig("potential", gamma=gamma, every=every)
    terms = run(config, values, terminated)
    T = len(terms)
    last = 0.0 if terminated else values[T - T % every]  # the newest reading is held at a truncation
    discounted = float(np.sum(gamma ** np.arange(T) * terms))
    assert discounted == pytest.approx(gamma**T * last - values[0], abs=1e-9)


def test_the_terms_by_hand():
    values = [0.25, 0.5, 1.0]
    np.testing.assert_allclose(run(ShapingConfig("potential", gamma=0.5), values, True), [0.0, -0.5])
    np.testing.assert_allclose(run(ShapingConfig("potential", gamma=0.5), values, False), [0.0, 0.0])
    np.testing.assert_allclose(run(ShapingConfig("delta", gamma=0.5), values, True), [0.25, 0.5])
    np.testing.assert_allclose(run(ShapingConfig("raw", gamma=0.5), values, True), [0.5, 1.0])
    np.testing.assert_allclose(run(ShapingConfig("gated", gamma=0.5, gate=0.8), values, True), [0.0, 1.0])
    np.testing.assert_allclose(run(ShapingConfig("potential", gamma=0.5, weight=2.0), values, True), [0.0, -1.0])
    scaled = ShapingConfig("raw", low=0.25, high=0.75)
    np.testing.assert_allclose(run(scaled, values, False), [0.5, 1.5])
    assert not run(ShapingConfig("none"), values, True).any()


def test_slots_are_apart_and_idle_ones_stay():
    shaper = Shaper(ShapingConfig("potential", gamma=0.5), 2)
    shaper.begin(np.array([True, True]), np.array([0.2, 0.4]))
    rewards = shaper.step(np.array([1.0, 1.0]), np.array([0.6, np.nan]), np.zeros(2, bool), np.array([True, False]))
    np.testing.assert_allclose(rewards, [1.0 + 0.3 - 0.2, 1.0])
    rewards = shaper.step(np.zeros(2), np.array([0.6, 0.8]), np.zeros(2, bool))
    np.testing.assert_allclose(rewards, [0.3 - 0.6, 0.4 - 0.4])


def random_mdp(rng: np.random.Generator, states: int = 6, actions: int = 3):
    """Transition probabilities (S, A, S) and rewards (S, A, S); the last state is terminal."""
    P = rng.dirichlet(np.full(states, 0.4), size=(states, actions))
    R = rng.normal(size=(states, actions, states))
    return P, R


def q_values(P: np.ndarray, R: np.ndarray, gamma: float) -> np.ndarray:
    """Value iteration to the fixed point, Q (S - 1, A) of the states that are not terminal."""
    V = np.zeros(len(P))
    for _ in range(3000):
        Q = (P * (R + gamma * V)).sum(-1)[:-1]
        new = np.append(Q.max(1), 0.0)
        if np.abs(new - V).max() < 1e-12:
            break
        V = new
    return Q


def shaped(R: np.ndarray, phi: np.ndarray, gamma: float, kind: str) -> np.ndarray:
    """Rewards with the term of every transition, made by the functions the wrappers use."""
    S = len(R)
    here, there = np.broadcast_to(phi[:, None, None], R.shape), np.broadcast_to(phi[None, None], R.shape)
    terminal = np.broadcast_to(np.arange(S) == S - 1, R.shape)
    if kind == "potential":
        return R + potential(gamma, here, there, terminal)
    return R + {"delta": delta(here, there), "raw": raw(there), "gated": gated(there, 0.5)}[kind]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), gamma=st.floats(0.1, 0.97), size=st.floats(0, 20))
def test_a_potential_keeps_every_optimal_policy(seed, gamma, size):
    rng = np.random.default_rng(seed)
    P, R = random_mdp(rng)
    phi = size * rng.normal(size=len(P))  # also of the terminal state, where it must not matter
    before, after = q_values(P, R, gamma), q_values(P, shaped(R, phi, gamma, "potential"), gamma)
    np.testing.assert_allclose(after, before - phi[:-1, None], atol=1e-7)  # hence the same order of actions
    gap = np.sort(before, 1)[:, -1] - np.sort(before, 1)[:, -2]
    clear = gap > 1e-6
    assert (before.argmax(1) == after.argmax(1))[clear].all()


def test_the_naive_delta_changes_optimal_policies():
    changed = {"delta": 0, "raw": 0, "potential": 0}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        P, R = random_mdp(rng)
        phi = 5 * rng.normal(size=len(P))
        best = q_values(P, R, 0.9).argmax(1)
        for kind in changed:
            changed[kind] += bool((q_values(P, shaped(R, phi, 0.9, kind), 0.9).argmax(1) != best).any())
    assert changed["potential"] == 0
    assert changed["delta"] > 20 and changed["raw"] > 20


def test_the_naive_delta_pays_for_going_round():
    """From 0, action 0 ends with reward 1; action 1 goes to 1 and back. A round pays (1 - gamma) Phi(1)."""
    gamma, P = 0.9, np.zeros((3, 2, 3))
    P[0, 0, 2] = P[0, 1, 1] = P[1, :, 0] = P[2, :, 2] = 1
    R = np.zeros_like(P)
    R[0, 0, 2] = 1
    phi = np.array([0.0, 10.0, 0.0])
    assert q_values(P, R, gamma)[0].argmax() == 0
    assert q_values(P, shaped(R, phi, gamma, "potential"), gamma)[0].argmax() == 0
    round_trip = 10 * (1 - gamma) / (1 - gamma**2)
    Q = q_values(P, shaped(R, phi, gamma, "delta"), gamma)
    assert Q[0].argmax() == 1 and Q[0, 1] == pytest.approx(round_trip)


@pytest.mark.parametrize("every", [1, 3])
def test_a_time_limit_is_not_an_ending(every):
    """The shaped return with the agent's bootstrap is V - Phi at a truncation, and without one at a termination."""
    rng, gamma, T = np.random.default_rng(0), 0.9, 6
    phi, rewards = rng.normal(size=T + 1), rng.normal(size=T)
    V_end = 3.0  # true value of the last observation
    for terminated in (False, True):
        terms = run(ShapingConfig("potential", gamma=gamma, every=every), list(phi), terminated)
        bootstrap = 0.0 if terminated else V_end - phi[T - T % every]  # what the shaped agent's critic says there
        mine = np.sum(gamma ** np.arange(T) * (rewards + terms)) + gamma**T * bootstrap
        true = np.sum(gamma ** np.arange(T) * rewards) + gamma**T * (0.0 if terminated else V_end)
        assert mine == pytest.approx(true - phi[0])


def test_terminal_values_are_read_only_where_they_count():
    both = np.array([True, False])
    for kind, wanted in (("potential", [False, True]), ("delta", [True, True]), ("none", [False, False])):
        assert Shaper(ShapingConfig(kind), 2).asks(both).tolist() == wanted
    sparse = Shaper(ShapingConfig("potential", every=2), 2)
    sparse.begin(np.ones(2, bool), np.zeros(2))
    assert not sparse.asks(np.zeros(2, bool)).any()
    sparse.step(np.zeros(2), np.full(2, np.nan), np.zeros(2, bool))
    assert sparse.asks(np.zeros(2, bool)).all()
    assert Shaper(ShapingConfig("raw", every=2), 1).asks(YES).all()


def test_scales_are_matched_to_the_reward_of_a_success():
    assert matched([0.4, 0.6], [0.9, 1.1]) == (0.5, 1.0)
    with pytest.raises(ValueError, match="must rise"):
        matched([0.5], [0.4])
    with pytest.raises(ValueError, match="record some successes"):
        matched([0.5], [])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused(bad):
    shaper = Shaper(ShapingConfig("potential"), 2)
    with pytest.raises(ValueError, match="environment 1 is"):
        shaper.begin(np.ones(2, bool), np.array([0.0, bad]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "magic"}, "choose none or potential"),
        ({"gamma": 1.1}, "gamma=1.1"),
        ({"every": 0}, "every=0"),
        ({"low": 1.0, "high": 1.0}, "high must be above low"),
        ({"weight": float("nan")}, "weight=nan"),
    ],
)
def test_settings_are_checked(changes, said):
    with pytest.raises(ValueError, match=said):
        ShapingConfig(**changes)
