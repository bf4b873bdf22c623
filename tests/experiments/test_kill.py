"""Nothing is lost: a killed run continues to the same numbers, and workers and processes change none of them."""

import random
import time
from pathlib import Path

import pytest

from tests.helpers.kill_and_resume import campaign, fingerprint, start


@pytest.mark.slow
def test_killed_runs_and_other_worker_counts_end_in_the_same_numbers(tmp_path: Path) -> None:
    """Episodes with images and states, values, weights, actions (by their trials), tables: equal bit for bit.

    The long form with 50 kills: python -m tests.helpers.kill_and_resume --kills 50
    """
    started = time.monotonic()
    assert start(tmp_path / "untouched").wait() == 0, (tmp_path / "untouched/log").read_text()[-3000:]
    seconds = time.monotonic() - started
    expected = fingerprint(tmp_path / "untouched")
    assert (
        len([name for name in expected if name.startswith("episodes ")]) == 6
    )  # demonstrations, two own stores, pairs
    assert start(tmp_path / "one", workers=1).wait() == 0
    one = fingerprint(tmp_path / "one")
    assert [name for name in expected if expected[name] != one.get(name)] == []
    killed = campaign(tmp_path, 5, random.Random(1), seconds, expected)
    assert sum(killed.values()) == 5
