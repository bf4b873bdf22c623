"""The oracle value: time to go from staged progress, exact where the pace is known."""

from pathlib import Path

import numpy as np
import pytest

from agents.advantages import advantages
from agents.phases import of_steps, progress_phases
from agents.settings import AdvantageConfig
from tests.helpers import slow_phase
from tests.helpers.made_lift import made_episode, made_store
from valuefns.bench.probes import ProgressValue
from valuefns.oracle import OracleValue


def test_it_is_the_expected_time_to_go_and_never_falls_with_progress(tmp_path: Path) -> None:
    store = slow_phase.made_store(tmp_path / "s", 0, 30, 4)
    value = OracleValue().fit(store)
    for episode in (store[0], store[7]):
        v = value.score(episode)
        assert v.dtype == np.float32 and v.shape == (len(episode) + 1,) and (np.diff(v) >= 0).all()
        np.testing.assert_allclose(v, slow_phase.expected_value(episode.progress), atol=0.02)
    assert value.score(store[0])[-1] == 1.0 and value.score(store[33])[-1] < 0.95  # a time-out stays where it stopped


def test_a_slow_phase_is_no_worse_than_a_fast_one_unlike_staged_progress(tmp_path: Path) -> None:
    store = slow_phase.made_store(tmp_path / "s", 0, 30, 4)
    won = of_steps(store, [row["success"] for row in store.index]).astype(bool)
    slow = np.isin(progress_phases(store), (5, 6)) & won
    settings = AdvantageConfig("n_step", 5, time_cost="task")
    gap = {}
    for value in (OracleValue().fit(store), ProgressValue()):
        A = np.concatenate(advantages(store, value.score_all(store), settings))
        gap[value.name] = float(A[won & ~slow].mean() - A[slow].mean()) / float(A[won].std())
    assert abs(gap["oracle"]) < 0.3 and gap["progress"] > 1.5, gap


def test_what_it_cannot_know_is_said(tmp_path: Path) -> None:
    failures = made_store(tmp_path / "f", successes=0, failures=2)
    with pytest.raises(ValueError, match=r"no episode of .* succeeded"):
        OracleValue().fit(failures)
    value = OracleValue().fit(made_store(tmp_path / "s"))
    unknown = made_episode(3)
    unknown.progress[4] = np.nan
    with pytest.raises(ValueError, match="seed 3 has no simulator progress; use viva"):
        value.score(unknown)
