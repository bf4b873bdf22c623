"""Labellers: what each method weighs and marks."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agents.advantages import advantages
from agents.extraction import (
    awr,
    best,
    filtered_bc,
    label_bc,
    labeller,
    recap,
    success_bc,
    success_filtered_bc,
    success_random,
)
from agents.phases import of_steps, progress_phases, value_phases
from agents.registry import METHODS
from agents.settings import AdvantageConfig, ExtractionConfig
from episodes.labels import NEGATIVE, POSITIVE, Labels
from episodes.returns import recap_return, viva_return
from episodes.store import EpisodeStore
from tests.helpers import slow_phase
from tests.helpers.made_lift import SPEC, made_episode, made_store

TINY = ExtractionConfig(
    AdvantageConfig("gae", smoothing=21, time_cost="task"), keep=0.6, positive=0.6, awr_standardise=True,
    awr_temperature=3.0, batch_positive=0.8, phase_floor=0.5,
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    return made_store(tmp_path / "store")


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return slow_phase.made_store(tmp_path_factory.mktemp("slow") / "store", 0)


def values(store: EpisodeStore) -> list[np.ndarray]:
    """A state value that ignores the outcome: what the pictures show."""
    return [(1 + e.progress) / 2 for e in store]


def slow_values(store: EpisodeStore, rng: np.random.Generator, noise: float) -> list[np.ndarray]:
    """The right value of every frame, and noise on it."""
    curves = [np.r_[p, 1.0 if row["success"] else p[-1]] for p, row in zip(store.column("progress"), store.index)]
    return [(slow_phase.expected_value(p) + rng.normal(0, noise, len(p))).astype(np.float32) for p in curves]


def config(**changes: object) -> ExtractionConfig:
    return ExtractionConfig(advantage=AdvantageConfig(n=5), **changes)  # type: ignore[arg-type]


def exact_values(store: EpisodeStore, advantage: AdvantageConfig) -> list[np.ndarray]:
    """The value that knows each episode's end, in the scale and with the time cost of `advantage`."""
    result = []
    for row in store.index:
        T, success = row["length"], row["success"]
        if advantage.scale == "recap":
            result.append(recap_return(T, success, store.spec.max_steps, advantage.c_fail))
            continue
        v = viva_return(T, success)
        if advantage.time_cost == "task":
            v = v[-1] + (v - v[-1]) * T / store.spec.max_steps
        result.append(v)
    return [v.astype(np.float32) for v in result]


@pytest.mark.parametrize("kind", ["n_step", "gae"])
@pytest.mark.parametrize("scale", ["viva", "recap"])
@pytest.mark.parametrize("time_cost", ["own", "task"])
@pytest.mark.parametrize("truncation", ["bootstrap", "outcome"])
def test_an_exact_value_has_no_advantage(
    store: EpisodeStore, kind: str, scale: str, time_cost: str, truncation: str
) -> None:
    for n, smoothing in ((5, 1), (500, 21)):
        settings = AdvantageConfig(
            kind, n, smoothing=smoothing, time_cost=time_cost, truncation=truncation, scale=scale, c_fail=20
        )
        A = np.concatenate(advantages(store, exact_values(store, settings), settings))
        np.testing.assert_allclose(A, 0, atol=1e-6)


def test_chunk_advantages_are_in_progress_units(store: EpisodeStore) -> None:
    climb = [np.linspace(0.5, 1, row["length"] + 1, dtype=np.float32) for row in store.index]
    A = advantages(store, climb, AdvantageConfig("chunk", 6))
    for row, a in zip(store.index, A, strict=True):
        np.testing.assert_allclose(a, 5 / row["length"], rtol=1e-4)  # five steps of 1 / T, not half of that


@pytest.mark.parametrize("seed", range(5))
def test_noise_on_the_right_value_starves_no_phase_and_praises_no_time_out(slow: EpisodeStore, seed: int) -> None:
    rng = np.random.default_rng(seed)
    noisy = slow_values(slow, rng, 0.02)
    won = of_steps(slow, [row["success"] for row in slow.index]).astype(bool)
    phases = progress_phases(slow)
    assert min(np.bincount(phases[won], minlength=10)) >= 500
    marked = recap(slow, noisy, TINY)
    for kept in (filtered_bc(slow, noisy, TINY).columns["weight"] > 0, marked.columns["indicator"] == POSITIVE):
        share = [kept[won & (phases == k)].mean() for k in range(10)]
        assert min(share) >= 0.5 * kept.mean() and min(share) >= 0.5 * kept[won].mean(), share
    failures = [row["episode_index"] for row in slow.index if not row["success"]]
    last = np.concatenate([marked.column("indicator", e)[-10:] for e in failures])
    assert (last == POSITIVE).mean() <= 0.3


@pytest.mark.parametrize("method", [awr, recap])
def test_a_time_out_that_the_value_sees_coming_is_no_good_end(
    slow: EpisodeStore, method: Callable[..., Labels]
) -> None:
    """A value that has given up says .3 and sees no clock; paid out, the .5 at the limit would look like a gain."""
    rng = np.random.default_rng(0)
    v = slow_values(slow, rng, 0.02)
    failures = [i for i, row in enumerate(slow.index) if not row["success"]]
    for i in failures:
        v[i] = (0.3 + rng.normal(0, 0.02, len(v[i]))).astype(np.float32)
    labels = method(slow, v, TINY)
    name = "indicator" if "indicator" in labels else "weight"
    last = np.concatenate([labels.column(name, slow.index[i]["episode_index"])[-10:] for i in failures])
    assert last.mean() <= (0.3 if name == "indicator" else 0.6), last.mean()  # weights have mean 1


def test_a_floor_lifts_a_starved_phase_and_keeps_the_share_of_all() -> None:
    rng = np.random.default_rng(0)
    phase = np.repeat([0, 1, 2, -1], 500)
    A = rng.normal(size=2000) - 3 * (phase == 1) - 6 * (phase == -1)
    for floor in (0.0, 0.5):
        kept = best(A, 0.4, floor, phase)
        assert abs(kept.mean() - 0.4) < 2e-3
        assert (kept[phase == 1].mean() >= 0.2) == (floor > 0)
        assert not kept[phase == -1].any(), "failures have no floor"
        for k in (0, 1, 2):
            assert A[phase == k][kept[phase == k]].min() >= A[phase == k][~kept[phase == k]].max()


def test_success_and_label_filters(store: EpisodeStore) -> None:
    v = values(store)
    for method in (success_bc, label_bc):
        labels = method(store, v, config())
        for row in store.index:
            assert set(labels.column("weight", row["episode_index"])) == {float(row["success"])}


def test_the_random_control_keeps_as_many_steps_as_the_filter_and_knows_the_outcome_alone(slow: EpisodeStore) -> None:
    v = slow_values(slow, np.random.default_rng(0), 0.0)
    won = of_steps(slow, [row["success"] for row in slow.index]).astype(bool)
    kept = success_random(slow, v, TINY).columns["weight"] > 0
    assert kept.sum() == round(0.6 * len(won)) and not kept[~won].any()
    np.testing.assert_array_equal(kept, success_random(slow, v, TINY).columns["weight"] > 0)
    other = success_random(slow, v, dataclasses.replace(TINY, seed=1)).columns["weight"] > 0
    assert (kept != other).any()
    both = success_filtered_bc(slow, v, TINY).columns["weight"] > 0
    assert both[won].mean() == pytest.approx(0.6, abs=0.02) and not both[~won].any()


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


def test_standardised_awr_is_centred_on_the_median(slow: EpisodeStore) -> None:
    v = slow_values(slow, np.random.default_rng(0), 0.02)
    A = np.concatenate(advantages(slow, v, TINY.advantage)).astype(np.float64)
    raw = np.minimum(np.exp(3 * (A - np.median(A)) / A.std()), 2)
    np.testing.assert_allclose(awr(slow, v, TINY).columns["weight"], raw / raw.mean(), rtol=1e-4)


@pytest.mark.parametrize("method", [awr, filtered_bc, recap])
def test_equal_advantages_are_no_preference(store: EpisodeStore, method: Callable[..., Labels]) -> None:
    """An exact value: what is left of its advantages is rounding, which a standard deviation would blow up."""
    labels = method(store, exact_values(store, TINY.advantage), TINY)
    np.testing.assert_array_equal(labels.columns["weight"], 1)
    if "indicator" in labels:
        assert (labels.columns["indicator"] == POSITIVE).all()


def test_recap_share_per_task_and_forced_corrections(tmp_path: Path) -> None:
    store = EpisodeStore.create(tmp_path / "s", SPEC)
    corrected = np.zeros(20, bool)
    corrected[3:6] = True
    store.append([made_episode(0), dataclasses.replace(made_episode(1, success=False), intervention=corrected)])
    other = [dataclasses.replace(made_episode(s), instruction="another task") for s in (2, 3)]
    store.append(other)
    noise = np.random.default_rng(0)
    v = [x + noise.normal(0, 0.01, len(x)) for x in values(store)]
    labels = recap(store, v, config(positive=0.3))
    for episodes in ((0, 1), (2, 3)):
        marked = np.concatenate([labels.column("indicator", e) for e in episodes]) == POSITIVE
        assert 0.25 <= marked.mean() <= 0.45
    assert (labels.column("indicator", 1)[3:6] == POSITIVE).all()
    assert (labels.columns["weight"] == 1).all()


def test_recap_shares_the_weight_of_a_batch_between_its_tokens(store: EpisodeStore) -> None:
    noise = np.random.default_rng(0)
    labels = recap(store, [x + noise.normal(0, 0.01, len(x)) for x in values(store)], config(batch_positive=0.8))
    w, positive = labels.columns["weight"], labels.columns["indicator"] == POSITIVE
    assert w.mean() == pytest.approx(1, abs=1e-5) and w[positive].sum() / w.sum() == pytest.approx(0.8, abs=1e-5)
    assert len(set(w[positive])) == len(set(w[labels.columns["indicator"] == NEGATIVE])) == 1


def test_phases_of_the_value_are_equally_many_steps_of_the_successes(slow: EpisodeStore) -> None:
    v = slow_values(slow, np.random.default_rng(0), 1e-3)
    phase, won = value_phases(slow, v), of_steps(slow, [row["success"] for row in slow.index]).astype(bool)
    assert (phase[~won] == -1).all()
    counts = np.bincount(phase[won])
    assert len(counts) == 10 and np.ptp(counts) <= 1


def test_bad_input_in_one_line(store: EpisodeStore, tmp_path: Path) -> None:
    v = values(store)
    failures = store.select(lambda row: not row["success"])
    for call, message in (
        (lambda: labeller("ppo"), "filtered_bc"),
        (lambda: success_bc(failures, v, config()), r"success_bc: no episode of .* succeeded"),
        (lambda: success_random(failures, v, config()), r"success_random: no episode of .* succeeded"),
        (lambda: awr(store, v[:-1], config()), r"values of 5 episodes do not fit the 6"),
        (lambda: awr(store, [x[:-1] for x in v], config()), "do not fit"),
        (lambda: awr(store, [x - 1 for x in v], config()), r"scale=viva: its values lie in \[0, 1\].*use scale=recap"),
        (lambda: awr(store, [x * np.nan for x in v], config()), "the value of episode 0 .* is not finite"),
        (lambda: AdvantageConfig(smoothing=20), "smoothing=20; use an odd number"),
        (lambda: AdvantageConfig(truncation="cut"), "truncation='cut'"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert "\n" not in str(error.value)
    awr(failures, values(failures), config())  # a store without a success still has advantages


def test_one_step_episodes_and_short_ones_have_labels(tmp_path: Path) -> None:
    store = EpisodeStore.create(tmp_path / "s", SPEC)
    store.append([made_episode(0, 1), made_episode(1, 2), made_episode(2, 1, success=False), made_episode(3, 9)])
    for kind in ("n_step", "gae", "chunk"):
        settings = dataclasses.replace(TINY, advantage=AdvantageConfig(kind, 5, smoothing=21, time_cost="task"))
        for method in map(labeller, METHODS.names()):
            labels = method(store, values(store), settings)
            assert np.isfinite(labels.columns["weight"]).all() and list(labels.lengths) == [1, 2, 1, 9]
