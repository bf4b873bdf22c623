"""The rollout loop: episodes depend on their trial alone; chunks, noise, ledger, recording and workers."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("robosuite", reason="pip install -e .[robosuite]")
from envs.oracles.lift import LiftOracle
from envs.oracles.mix import OracleMix
from envs.robosuite_env import RoboSuiteEnv
from envs.rollout import Trial, TrialLedger, evaluate_trials, record, rollout
from envs.takeover import Takeover, TakeoverConfig
from episodes.store import EpisodeStore
from episodes.types import Episode

make_env = partial(RoboSuiteEnv, image_size=32, cameras=("wrist",), max_steps=36)
make_oracle = partial(LiftOracle, mix=OracleMix())


class Scripted:
    """Answers with chunks of 4: dimension 0 counts the act calls, dimension 1 the position in the chunk."""

    def __init__(self, n: int) -> None:
        self.n, self.calls, self.asked = n, np.zeros(n, int), []

    def reset(self, mask: np.ndarray, seeds: np.ndarray, instructions: Sequence[str]) -> None:
        self.calls[mask] = 0

    def act(self, observations: Sequence[object]) -> np.ndarray:
        self.asked.append([o is not None for o in observations])
        chunks = np.zeros((self.n, 4, 7), np.float32)
        chunks[:, :, 0] = 0.01 * self.calls[:, None]
        chunks[:, :, 1] = 0.01 * np.arange(4)
        self.calls += [o is not None for o in observations]
        return chunks


@pytest.fixture(scope="module")
def pair() -> Iterator[list[RoboSuiteEnv]]:
    envs = [make_env(), make_env()]
    yield envs
    for env in envs:
        env.close()


def same(a: Episode, b: Episode) -> bool:
    arrays = ("proprio", "actions", "rewards", "terminated", "truncated", "segments", "progress")
    return (
        all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)
        and all(np.array_equal(a.images[c], b.images[c]) for c in a.images)
        and (a.success, a.provenance, a.hz) == (b.success, b.provenance, b.hz)
    )


def test_episodes_depend_on_their_trial_alone(pair: list[RoboSuiteEnv]) -> None:
    trials = [Trial(s) for s in (5, 1, 6)]
    settings = {"source": "oracle", "action_noise": 0.1, "iteration": 2}
    one = list(rollout(make_oracle(pair[:1]), pair[:1], trials, **settings))
    two = list(rollout(make_oracle(pair), pair, trials, **settings))
    backwards = list(rollout(make_oracle(pair), pair, trials[::-1], **settings))[::-1]
    assert [e.provenance.seed for e in two] == [5, 1, 6], "trial order, though lengths differ"
    assert len({len(e) for e in one}) > 1
    assert all(same(a, b) and same(a, c) for a, b, c in zip(one, two, backwards, strict=True))
    assert one[0].provenance.iteration == 2 and one[0].provenance.variant
    assert one[0].images["wrist"].shape == (len(one[0]) + 1, 32, 32, 3)


class TwoSentences(RoboSuiteEnv):
    """Lift whose instruction changes after six steps, as that of SIMPLER's place apple does."""

    instruction = property(lambda self: "first" if self._steps < 6 else "second")


def test_the_actor_hears_the_instruction_that_is_in_force() -> None:
    class Hearing(Scripted):
        heard: list[str] = []  # noqa: RUF012

        def act(self, observations: Sequence[object]) -> np.ndarray:
            self.heard += [o.instruction for o in observations if o is not None]  # type: ignore[attr-defined]
            return super().act(observations)

    env = TwoSentences(image_size=32, cameras=("wrist",), max_steps=12)
    (episode,) = rollout(Hearing(1), [env], [Trial(1)], source="policy:x", draw_all=False)
    env.close()
    assert Hearing.heard == ["first", "first", "second"] and episode.instruction == "first"


def test_noise_is_executed_but_not_recorded(pair: list[RoboSuiteEnv]) -> None:
    actor = Scripted(1)
    clean, noisy = (
        next(rollout(actor, pair[:1], [Trial(1)], source="policy:x", action_noise=sigma)) for sigma in (0.0, 0.3)
    )
    assert np.array_equal(clean.actions, noisy.actions)
    assert not np.array_equal(clean.proprio, noisy.proprio)
    assert np.array_equal(clean.proprio[:, 9:], noisy.proprio[:, 9:]) or np.allclose(
        clean.proprio[:, 9:], noisy.proprio[:, 9:], atol=2e-3
    ), "the gripper gets no noise"
    assert (clean.segments == 4).all() and clean.provenance.variant == "", "an actor without labels leaves none"


@pytest.mark.parametrize(("execute", "position"), [(None, [0, 1, 2, 3, 0, 1]), (2, [0, 1, 0, 1, 0, 1])])
def test_chunks_are_executed_as_asked(pair: list[RoboSuiteEnv], execute: int | None, position: list[int]) -> None:
    episode = next(rollout(Scripted(1), pair[:1], [Trial(1)], source="policy:x", execute=execute))
    np.testing.assert_allclose(episode.actions[:6, 1], 0.01 * np.array(position), atol=1e-6)
    assert len(episode) == 36 and episode.truncated[-1]


def test_slots_in_the_middle_of_a_chunk_are_not_asked(pair: list[RoboSuiteEnv]) -> None:
    actor = Scripted(2)
    list(rollout(actor, pair, [Trial(1), Trial(2), Trial(3)], source="policy:x"))
    assert [True, True] in actor.asked and [False, False] not in actor.asked
    assert [True, False] in actor.asked, "the third trial runs alone, and the idle slot is passed None"


def test_too_short_chunks_are_named(pair: list[RoboSuiteEnv]) -> None:
    with pytest.raises(ValueError, match=r"Scripted.*\(1, 4, 7\).*execute=5"):
        next(rollout(Scripted(1), pair[:1], [Trial(1)], source="policy:x", execute=5))


def test_an_oracle_takes_over_from_a_policy_that_has_stalled(pair: list[RoboSuiteEnv]) -> None:
    """The policy stands nearly still; after a second without progress the oracle acts, whatever the slots."""

    def corrected(envs: list[RoboSuiteEnv], patience: float, seeds: Sequence[int]) -> list[Episode]:
        takeover = Takeover(LiftOracle(envs, OracleMix.only("expert")), TakeoverConfig(patience=patience))
        trials = [Trial(s) for s in seeds]
        return list(rollout(Scripted(len(envs)), envs, trials, source="policy:x", takeover=takeover))

    one, two = corrected(pair[:1], 1.0, [1, 2]), corrected(pair, 1.0, [1, 2])
    assert all(same(a, b) for a, b in zip(one, two, strict=True))
    for episode in one:
        first = int(episode.intervention.argmax())
        assert first == 10, "one second at 10 Hz"
        assert episode.intervention[first:].all(), "until the end"
        np.testing.assert_array_equal(episode.segments[:first], 4)  # the policy's own steps are unlabelled
        assert not (episode.segments[first:] == 4).any()
        assert episode.progress[-1] > episode.progress[first] + 0.2, "the oracle goes to work"
    assert not corrected(pair[:1], 60.0, [1])[0].intervention.any()


def test_takeover_waits_for_the_best_progress_to_rise() -> None:
    takeover = Takeover(Scripted(1), TakeoverConfig(patience=0.3, gain=0.1))
    assert not takeover.due([0.0, 0.0, 0.0], hz=10) and takeover.due([0.0, 0.0, 0.0, 0.0], hz=10)
    assert not takeover.due([0.0, 0.0, 0.2, 0.0, 0.0], hz=10), "it rose, and what is lost may be won again"
    assert takeover.due([0.0, 0.03, 0.06, 0.09], hz=10), "creeping is not progress"
    with pytest.raises(ValueError, match="patience=-1"):
        TakeoverConfig(patience=-1.0)


def test_ledger_survives_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    ledger = TrialLedger(path)
    for seed in (3, 1):
        ledger.add({"key": Trial(seed).key, "seed": seed, "success": True})
    with pytest.raises(ValueError, match="seed=3 is already"):
        ledger.add({"key": "seed=3"})
    with open(path, "ab") as file:
        file.write(b'{"key": "seed=2", "seed": 2, "success": true, "steps": 12345, "sec')  # the machine died here
    again = TrialLedger(path)
    assert [row["seed"] for row in again.rows] == [3, 1]
    assert again.pending([Trial(s) for s in (1, 2, 3, 4)]) == [Trial(2), Trial(4)]
    again.add({"key": "seed=2", "seed": 2, "success": False})
    assert [json.loads(line)["seed"] for line in path.read_text().splitlines()] == [3, 1, 2]
    path.write_bytes(b"nonsense\n" + path.read_bytes())
    with pytest.raises(ValueError, match="line 1 is not a row"):
        TrialLedger(path)


def test_evaluation_continues_from_its_ledger(tmp_path: Path, pair: list[RoboSuiteEnv]) -> None:
    trials = [Trial(s) for s in (0, 1, 2)]
    ledger = TrialLedger(tmp_path / "trials.jsonl")
    part = evaluate_trials(make_env, make_oracle, trials[1:2], source="oracle", ledger=ledger)
    rows = evaluate_trials(make_env, make_oracle, trials, source="oracle", ledger=TrialLedger(ledger.path), slots=2)
    assert [row["seed"] for row in rows] == [0, 1, 2] and rows[1] == part[0]
    episodes = list(rollout(make_oracle(pair[:1]), pair[:1], trials, source="oracle"))
    assert [(r["success"], r["steps"], r["seconds"]) for r in rows] == [
        (e.success, len(e), len(e) / 10) for e in episodes
    ]
    assert [r["seed"] for r in TrialLedger(ledger.path).rows] == [1, 0, 2]


ROW: dict[str, Any] = {
    "key": "seed=7", "seed": 7, "success": True, "steps": 5, "seconds": 0.5, "progress": 1.0, "variant": "",
    "source": "oracle", "env_id": "made/lift",
}  # fmt: skip
HOSTILE = [float("nan"), float("inf"), -1, 10**30, 1e300, None, "x", "x" * 5000, "\ud800", [0] * 10**5, {}, [[[]]], 2]


@pytest.mark.parametrize("column", sorted(set(ROW) - {"key"}))
def test_a_row_that_cannot_be_is_refused_in_one_line_that_names_its_column(tmp_path: Path, column: str) -> None:
    """Whoever may write the file may write anything; nothing of it reaches a table."""
    good = {
        "seed": [], "success": [], "steps": [2], "seconds": [2], "progress": [2, HOSTILE[0]], "variant": ["x"],
        "source": [], "env_id": ["x"],
    }[column]  # fmt: skip
    hostile = [value for value in HOSTILE if not any(value is fine or value == fine for fine in good)]
    for i, value in enumerate(hostile):
        path = tmp_path / f"{i}.jsonl"
        path.write_text(json.dumps(ROW | {column: value, "else": [[1]]}) + "\n")
        with pytest.raises(ValueError, match=f"{column} is ") as refused:
            evaluate_trials(make_env, make_oracle, [Trial(7)], source="oracle", ledger=TrialLedger(path))
        assert len(str(refused.value)) < 400 and "\n" not in str(refused.value)
    path.write_text(json.dumps({k: v for k, v in ROW.items() if k != column}) + "\n")
    with pytest.raises(ValueError, match=f"no {column}"):
        evaluate_trials(make_env, make_oracle, [Trial(7)], source="oracle", ledger=TrialLedger(path))
    path.write_text(json.dumps(ROW | {"else": [[1]]}) + "\n")
    rows = evaluate_trials(make_env, make_oracle, [Trial(7)], source="oracle", ledger=TrialLedger(path))
    assert rows == [ROW], "a column that nobody asked for goes no further"


def test_pictures_that_nobody_is_asked_about_are_not_drawn(pair: list[RoboSuiteEnv]) -> None:
    seen: list[np.ndarray] = []

    class Watching(Scripted):
        def act(self, observations: Sequence[object]) -> np.ndarray:
            seen.extend(o.images["wrist"].copy() for o in observations if o is not None)
            return super().act(observations)

    drawn = list(rollout(Watching(2), pair, [Trial(1), Trial(2)], source="x", execute=3))
    looked, renderings = seen.copy(), []
    seen.clear()
    with pytest.MonkeyPatch.context() as patch:
        look = RoboSuiteEnv.look
        patch.setattr(RoboSuiteEnv, "look", lambda env: renderings.append(1) or look(env))
        blind = list(rollout(Watching(2), pair, [Trial(1), Trial(2)], source="x", execute=3, draw_all=False))
    assert len(seen) == len(looked) and all(map(np.array_equal, seen, looked))
    assert len(renderings) <= len(seen) + 2, "the last step of an episode may be drawn in vain"
    assert all(b.images == {} and same(b, a) for a, b in zip(drawn, blind, strict=True))
    with pytest.raises(ValueError, match="draw_all"):
        next(rollout(Scripted(1), pair[:1], [Trial(1)], source="x", takeover=object(), draw_all=False))


@pytest.mark.slow
def test_recording_is_the_same_on_one_and_two_workers_and_continues(tmp_path: Path) -> None:
    trials = [Trial(s) for s in range(3)]
    hashes = []
    for workers in (1, 2):
        spec = (env := make_env()).spec_
        env.close()
        with EpisodeStore.create(tmp_path / f"store{workers}", spec) as store:
            for part in (trials[:1], trials):  # the second call finds seed 0 done
                record(make_env, make_oracle, part, store, source="oracle", workers=workers, block=2, action_noise=0.1)
            assert [row["seed"] for row in store.index] == [0, 1, 2]
            hashes.append(store.content_hash)
    assert hashes[0] == hashes[1]
