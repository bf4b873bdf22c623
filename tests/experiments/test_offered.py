"""A package beside ours adds a task, a value, a method and a policy; what is broken in it is said in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agents.registry import METHODS, POLICIES
from episodes.registry import Registry
from experiments.loop.checks import check
from tests import ROOT
from tests.helpers.commands import settings_of
from valuefns.make import make_value
from valuefns.registry import VALUES

MODULE = '''
"""What a package of somebody else offers."""
from dataclasses import dataclass, replace

import numpy as np

from agents.flow import FlowPolicy
from agents.extraction import success_bc
from agents.settings import FlowConfig
from envs.oracles.lift import ORACLE
from envs.tasks.lift import TASK as LIFT
from valuefns.protocol import ValueFunction

TASK = replace(LIFT, name="lift_again", env_id="offered/LiftAgain-v0", instruction="lift it again", oracle=ORACLE)


class HalfValue(ValueFunction):
    """Every frame is worth a half: it has no settings."""

    name = "half"

    def fit(self, store, folder=None):
        return self

    def score(self, episode, causal=False):
        return np.linspace(0.5, 1.0, len(episode) + 1, dtype=np.float32)


@dataclass
class SlopeConfig:
    """Settings of the slope."""

    name: str = "slope"
    slope: float = 0.25


class SlopeValue(ValueFunction):
    """A value with settings of its own."""

    settings = SlopeConfig
    name = "slope"

    def __init__(self, config):
        self.config = config

    def fit(self, store, folder=None):
        return self

    def score(self, episode, causal=False):
        return (0.5 + self.config.slope * np.linspace(0, 1, len(episode) + 1)).astype(np.float32)


def won(store, values, config):
    """Clone the successes."""
    return success_bc(store, values, config)


@dataclass
class OtherFlowConfig(FlowConfig):
    """The flow policy's settings under another name."""

    name: str = "other_flow"


class OtherFlow(FlowPolicy):
    settings = OtherFlowConfig
    name = "other_flow"


NOT_A_VALUE = object()
'''

POINTS = """
[foresight.tasks]
lift_again = offered:TASK

[foresight.values]
half = offered:HalfValue
slope = offered:SlopeValue
odd = offered:NOT_A_VALUE
broken = offered_broken:Value
twice = offered:HalfValue
viva = offered:HalfValue

[foresight.labellers]
won = offered:won

[foresight.policies]
other_flow = offered:OtherFlow
"""


def install(folder: Path) -> Path:
    """A folder as `pip install --target` leaves it, with two packages."""
    folder.mkdir(parents=True)
    (folder / "offered.py").write_text(MODULE)
    (folder / "offered_broken.py").write_text("import a_library_that_is_not_here\n")
    for name, points in (("offered", POINTS), ("second", "[foresight.values]\ntwice = offered:SlopeValue\n")):
        info = folder / f"{name}-1.5.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(points)
    return folder


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_the_whole_loop_runs_on_the_parts_of_another_package(tmp_path: Path) -> None:
    """Through the command, in processes of its own, no file of the repository touched."""
    site = install(tmp_path / "site")
    small = [
        "preset=tiny",
        "collect.episodes=6",
        "folds=2",
        "evaluation.trials=2",
        "evaluation.max_steps=12",
        "videos=1",
    ]
    words = ["task=lift_again", "valuefn=slope", "valuefn.slope=0.4", "policy=other_flow", "policy.training.steps=4"]
    words += ["methods=[bc,won]", "workers=2", "videos=1", *small]
    words += [f"runs={tmp_path / 'runs'}", f"cache={tmp_path / 'cache'}"]
    path = os.pathsep.join([str(site), str(ROOT)])
    command = [sys.executable, str(ROOT / "experiments" / "recap_sim.py"), *words]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    run = next((tmp_path / "runs" / "recap_sim").iterdir())
    assert (run / "report.html").exists() and '"won"' in (run / "summary.json").read_text()


def test_a_part_may_be_named_where_it_stands(beside: Path) -> None:
    value = make_value(VALUES.settings("offered:HalfValue")("offered:HalfValue"), None)  # type: ignore[arg-type]
    assert value.name == "half"
    assert VALUES.settings("slope")().slope == 0.25
    assert "half" in VALUES.names() and "won" in METHODS.names() and "other_flow" in POLICIES.names()


@pytest.mark.parametrize(
    "name, said",
    [
        ("vivaa", r"value 'vivaa' is not known; did you mean viva\?"),
        ("something-else", "value 'something-else' is not known; choose from viva, "),
        ("broken", r"value offered 1.5 \(offered_broken:Value\) cannot be imported: ModuleNotFoundError"),
        ("twice", r"value 'twice' is offered by .*offered 1.5 .* and second 1.5 .*; uninstall one"),
        ("viva", r"value 'viva' of offered 1.5 \(offered:HalfValue\) has the name of one of Foresight's own"),
        ("odd", "value odd: <object .*> is no subclass of valuefns.protocol:ValueFunction"),
        ("offered:Nothing", "value offered:Nothing cannot be imported: ImportError: module offered has no 'Nothing'"),
        ("no_such_module:Value", "value no_such_module:Value cannot be imported: ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_used_is_one_line(beside: Path, name: str, said: str) -> None:
    from valuefns.protocol import ValueFunction

    with pytest.raises(ValueError, match=said) as caught:
        VALUES.part(name, ValueFunction)
    assert "\n" not in str(caught.value)


def test_nothing_is_imported_before_it_is_asked_for(beside: Path) -> None:
    assert "broken" in VALUES.names()
    VALUES.require("broken")
    assert Registry("part", "foresight.nobody", {"own": 1}).find("own") == 1
    assert "offered_broken" not in sys.modules


def test_the_command_line_takes_a_part_where_it_stands(beside: Path) -> None:
    given = settings_of("recap", "valuefn=offered:HalfValue", "methods=[bc,offered:won]", "task=offered:TASK")
    assert given.valuefn.name == "offered:HalfValue" and given.task.env_id == "offered:TASK"
    check(given)
    assert settings_of("recap", "valuefn=offered:SlopeValue", "valuefn.slope=0.5").valuefn.slope == 0.5
    with pytest.raises(ValueError, match=r"valuefn\.slop: no setting of recap; did you mean valuefn\.slope"):
        settings_of("recap", "valuefn=offered:SlopeValue", "valuefn.slop=0.5")
