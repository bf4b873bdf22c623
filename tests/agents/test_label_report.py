"""The label report: shares by outcome, segment and phase, and the loud line for a starved phase."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents.controls import shuffle_within_phase
from agents.label_report import label_report, table, warnings
from agents.phases import of_steps, progress_phases
from episodes.labels import Labels
from episodes.store import EpisodeStore
from experiments.loop.run_folder import read_json, write_json
from tests.helpers import slow_phase
from tests.helpers.commands import foresight
from tests.helpers.made_lift import made_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return slow_phase.made_store(tmp_path_factory.mktemp("s") / "store", 0, 24, 6)


def labels_of(store: EpisodeStore, weight: np.ndarray, indicator: np.ndarray | None = None) -> Labels:
    ends = np.cumsum([row["length"] for row in store.index])[:-1]
    extra = {} if indicator is None else {"indicator": np.split(indicator, ends)}
    return Labels.from_arrays(store, "made", weight=np.split(weight.astype(np.float32), ends), **extra)


def test_equal_weights_keep_everything_once(store: EpisodeStore) -> None:
    phases = progress_phases(store)
    shares = label_report(store, labels_of(store, np.full(len(phases), 3.0)), phases)
    assert {(s.kept, s.weight, s.effective) for s in shares} == {(1.0, 1.0, 1.0)} and not warnings(shares)
    assert [s.group for s in shares if s.by == "phase"] == [f"{k / 10:.1f}-{(k + 1) / 10:.1f}" for k in range(10)]
    assert sum(s.steps for s in shares if s.by == "phase") == shares[1].steps  # the successes'
    assert sum(s.steps for s in shares if s.by == "outcome") == shares[0].steps == len(phases)


def test_a_starved_phase_is_said_loudly_and_alone(store: EpisodeStore) -> None:
    phases = progress_phases(store)
    weight = np.where(phases == 5, 0.1, 1.0)
    shares = label_report(store, labels_of(store, weight), phases, "mine")
    assert [s.group for s in shares if s.starved] == ["0.5-0.6"]
    (line,) = warnings(shares)
    assert line.startswith("mine starves a phase of its own successes: progress 0.5-0.6 has weight 0.1")
    assert "0.5-0.6" in table(shares) and table(shares).count("starved") == 1


def test_weights_are_what_the_acting_policy_learns(store: EpisodeStore) -> None:
    phases = progress_phases(store)
    won = of_steps(store, [row["success"] for row in store.index]).astype(bool)
    shares = label_report(store, labels_of(store, np.ones(len(phases)), won.astype(np.int8)), phases)
    by = {(s.by, s.group): s for s in shares}
    assert by["outcome", "success"].kept == 1 and by["outcome", "failure"].weight == 0
    assert by["all", "all steps"].effective == pytest.approx(won.mean())
    assert by["outcome", "success"].weight == pytest.approx(1 / won.mean())


def test_the_shuffled_control_keeps_each_phase_s_labels(store: EpisodeStore) -> None:
    phases = progress_phases(store)
    rng = np.random.default_rng(0)
    labels = labels_of(store, rng.random(len(phases)), rng.integers(0, 2, len(phases)).astype(np.int8))
    control = shuffle_within_phase(labels, phases, 0)
    control.require_for(store)
    for name, column in labels.columns.items():
        assert (control.columns[name] != column).mean() > 0.3
        for k in np.unique(phases):
            np.testing.assert_array_equal(np.sort(control.columns[name][phases == k]), np.sort(column[phases == k]))
    pairs = {name: set(zip(x.columns["weight"], x.columns["indicator"])) for name, x in (("a", labels), ("b", control))}
    assert pairs["a"] == pairs["b"], "a step's labels travel together"


def test_labels_of_another_store_or_without_weights_are_refused(store: EpisodeStore, tmp_path: Path) -> None:
    phases = progress_phases(store)
    with pytest.raises(ValueError, match=r"made for episodes .* label this store"):
        label_report(made_store(tmp_path / "other"), labels_of(store, np.ones(len(phases))), phases)
    bare = replace(labels_of(store, np.ones(len(phases))), columns={})
    with pytest.raises(ValueError, match="weigh no step"):
        label_report(store, bare, phases)


def test_steps_without_known_progress_have_no_phase(tmp_path: Path) -> None:
    store = made_store(tmp_path / "s")
    unknown = np.full(sum(row["length"] for row in store.index), -1)
    shares = label_report(store, labels_of(store, np.ones(len(unknown))), unknown)
    assert not [s for s in shares if s.by == "phase"]


def test_the_command_reports_any_labelled_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = slow_phase.made_store(tmp_path / "store", 1, 8, 3)
    weight = np.where(progress_phases(made) == 3, 0.05, 1.0)
    labels_of(made, weight).save(tmp_path / "mine.parquet")
    files = [f"labels=[{tmp_path / 'mine.parquet'}]", f"out={tmp_path / 'out' / 'r'}"]
    assert foresight("labels", tmp_path / "store", *files) == 0
    said = capsys.readouterr().out
    assert (
        "| mine | outcome | success |" in said
        and "WARNING: mine starves a phase of its own successes: progress 0.3" in said
    )
    assert (tmp_path / "out" / "r.svg").read_text().startswith("<?xml") and "starved" in (
        tmp_path / "out/r.md"
    ).read_text()

    assert foresight("label", tmp_path / "store", "value=progress") == 0  # values alone: methods make labels of them
    capsys.readouterr()
    assert foresight("labels", tmp_path / "store", "methods=[awr]") == 0
    assert "| awr on progress-" in capsys.readouterr().out


def test_the_command_says_in_one_line_what_it_cannot_report(tmp_path: Path) -> None:
    made = slow_phase.made_store(tmp_path / "store", 1, 4, 2)
    with pytest.raises(SystemExit, match=r"no labels; make some with foresight label STORE value=FOLDER"):
        foresight("labels", made.path)
    other = made_store(tmp_path / "other")
    labels_of(other, np.ones(sum(row["length"] for row in other.index))).save(tmp_path / "other.parquet")
    with pytest.raises(SystemExit, match="made for episodes"):
        foresight("labels", made.path, f"labels=[{tmp_path / 'other.parquet'}]")
    foresight("label", made.path, "value=progress")
    (head,) = (made.path / "labels").glob("*.json")
    write_json(head, read_json(head, dict, "") | {"scale": "recap"})
    with pytest.raises(SystemExit, match=r"scale=recap: its values lie in \[-1, 0\], these around"):
        foresight("labels", made.path)
    write_json(head, read_json(head, dict, "") | {"scale": "log"})
    with pytest.raises(SystemExit, match="values of the scale 'log'"):
        foresight("labels", made.path)
