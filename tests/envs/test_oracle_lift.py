"""The scripted demonstrator of Lift: experts succeed, every mistake is made and labelled, failures fail."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("robosuite", reason="pip install -e .[robosuite]")
from envs.oracles.lift import LiftOracle
from envs.oracles.mix import STYLES, OracleMix
from envs.robosuite_env import RoboSuiteEnv
from envs.rollout import Trial, rollout
from episodes.types import SEGMENTS, Episode

ADVANCE, HESITATION, RETRY, FAILURE, _ = range(len(SEGMENTS))


@pytest.fixture(scope="module")
def env() -> Iterator[RoboSuiteEnv]:
    env = RoboSuiteEnv(images=False)
    yield env
    env.close()


def run(env: RoboSuiteEnv, style: str, seeds: range, **settings: float) -> list[Episode]:
    oracle = LiftOracle([env], OracleMix.only(style))
    return list(rollout(oracle, [env], [Trial(s) for s in seeds], source="oracle", **settings))


def test_experts_succeed_and_only_advance(env: RoboSuiteEnv) -> None:
    episodes = run(env, "expert", range(6))
    assert all(e.success and e.terminated[-1] and e.rewards.sum() == 1 for e in episodes)
    assert all((e.segments == ADVANCE).all() and e.provenance.variant == "expert" for e in episodes)
    lengths = {len(e) for e in episodes}
    assert len(lengths) > 3 and min(lengths) >= 25 and max(lengths) <= 70
    assert all(e.progress[-1] == 1 and e.progress[0] < 0.3 for e in episodes)


def test_hesitations_may_come_at_any_moment(env: RoboSuiteEnv) -> None:
    episodes = run(env, "hesitation", range(5))
    assert all(e.success and (e.segments == HESITATION).any() for e in episodes)
    onsets = {int(np.argmax(e.segments == HESITATION)) for e in episodes}
    assert len(onsets) > 2
    for e in episodes:  # the hand barely moves meanwhile
        still = e.segments == HESITATION
        speed = np.linalg.norm(np.diff(e.proprio[:, :3], axis=0), axis=1)
        assert speed[still].mean() < 0.6 * speed[~still].mean()


def test_a_miss_closes_beside_the_cube_and_is_made_up_for(env: RoboSuiteEnv) -> None:
    for e in run(env, "retry_miss", range(4)):
        retry = np.flatnonzero(e.segments == RETRY)
        assert e.success and len(retry) > 5 and e.segments[0] == ADVANCE and e.segments[-1] == ADVANCE
        closing = e.actions[:, 6] > 0
        assert closing[retry].any(), "the gripper closes during the miss"
        assert e.proprio[1:][retry, 9].min() < 0.019, "on nothing: the fingers come nearer than the cube is wide"
        assert (np.diff(retry) == 1).all(), "one stretch: making up for it advances again"
        assert e.progress[retry].max() < 0.5 and e.progress[-1] == 1


def test_a_drop_loses_progress_and_is_no_success(env: RoboSuiteEnv) -> None:
    for e in run(env, "retry_drop", range(4)):
        retry = np.flatnonzero(e.segments == RETRY)
        assert e.success and len(retry) > 6
        before = e.progress[retry[0]]
        assert before > 0.65, "it was grasped and lifted"
        assert e.progress[retry].min() < before - 0.25, "dropping the cube must cost progress"
        assert e.progress[: retry[0] + 1].max() < 0.9, "released below the success height"
        assert e.segments[-1] == ADVANCE and e.progress[-1] == 1, "and is made up for"


def test_failures_fail_to_the_end(env: RoboSuiteEnv) -> None:
    for e in run(env, "failure", range(5)):
        assert not e.success and e.truncated[-1] and not e.terminated.any() and len(e) == 100
        first = int(np.argmax(e.segments == FAILURE))
        assert (e.segments[:first] == ADVANCE).all() and (e.segments[first:] == FAILURE).all() and first < 70
        assert e.progress.max() < 0.9


def test_twenty_hertz_too() -> None:
    env = RoboSuiteEnv(images=False, hz=20)
    assert all(e.success for e in run(env, "expert", range(100, 102)))
    env.close()


def test_mix_draws_every_style_in_its_share() -> None:
    mix, rng = OracleMix(), np.random.default_rng(0)
    drawn = [mix.sample(rng) for _ in range(4000)]
    shares = Counter(style for styles in drawn for style in styles)
    assert set(shares) == set(STYLES) - {"wrong_object"}, "which is asked for, never a default"
    assert shares["expert"] / 4000 == pytest.approx(0.42, abs=0.03)
    assert shares["failure"] / 4000 == pytest.approx(0.174, abs=0.03)
    assert all(len(s) <= 2 and (len(s) == 1 or "expert" not in s) for s in drawn)
    assert any(s == ("hesitation", "retry_miss") for s in drawn), "a degraded episode may combine two"


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"expert": 0.9}, "sum to 1.48"), ({"expert": -0.1}, "expert=-0.1"), ({"combine": 2.0}, "combine=2")],
)
def test_bad_mixes_are_named(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        OracleMix(**settings)
    with pytest.raises(ValueError, match=r"'clumsy'.*retry_drop"):
        OracleMix.only("clumsy")
