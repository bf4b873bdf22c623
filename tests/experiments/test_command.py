"""`foresight`: its list, its help, the grammar, and what it says of a word that is wrong."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from experiments.cli import help as told
from experiments.cli.settings import key_values
from experiments.cli.table import COMMANDS, GROUPS, find
from experiments.loop.checks import check
from tests import ROOT
from tests.helpers.commands import foresight, settings_of


def test_alone_it_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert foresight() == 0
    said = capsys.readouterr().out
    assert all(f"  {c.name} " in said and c.does in said for c in COMMANDS)
    assert {c.group for c in COMMANDS} == set(GROUPS)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)
def test_help_has_purpose_examples_and_settings(command, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert foresight(command.name, "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    examples = [line for line in lines if line.startswith((f"  foresight {command.name}", "  accelerate launch"))]
    assert lines[0].startswith(f"foresight {command.name} ") and lines[2].endswith((".", "?", ";"))
    assert examples and len(examples) <= told.EXAMPLES
    assert all(len(line) <= 160 for line in lines), max(lines, key=len)
    settings = [line for line in lines if line.startswith("  ") and "=" in line.split()[0]]
    assert settings or command.shown
    for key in command.shown:
        assert any(line.strip().startswith((f"{key}=", f"{key} ")) for line in lines), key


def test_every_example_in_a_docstring_is_one_the_command_takes() -> None:
    for command in COMMANDS:
        text = (ROOT / "experiments" / command.file).read_text()
        for line in text.splitlines():
            words = shlex.split(line, comments=True) if line.startswith("    foresight ") else []
            if words[:2] == ["foresight", command.name]:
                several = [w for w in words[2:] if w != "-m"]
                key_values(command, several)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recapp"], "foresight: 'recapp' is no command; did you mean recap?"),
        (["recap", "valuefn=vivaa"], "recap: valuefn=vivaa: did you mean viva"),
        (
            ["recap", "evalution.trials=3"],
            "recap: evalution.trials: no setting of recap; did you mean evaluation",
        ),
        (["recap", "evaluation.trials=many"], "recap: evaluation.trials=many: Value 'many' of type 'str' could not be"),
        (["recap", "labeller.keep=2"], "recap: ExtractionConfig: keep=2.0; use a number from 0 to 1"),
        (["recap", "methods=[bc,awrr]"], "recap: method 'awrr' is not known; did you mean awr?"),
        (["recap", "preset=tin"], "recap: preset=tin: did you mean tiny?"),
        (["recap", "valuefn=no_such_module:Value"], "recap: value no_such_module:Value cannot be imported"),
        (["recap", "--seed", "3"], "recap: --seed: settings are key=value; write seed=VALUE"),
        (["recap", "lift"], "recap: lift: settings are key=value"),
        (["recap", "valuefn.gamma=1"], "recap: valuefn.gamma: no setting of recap"),
        (["label", "a"], "label: valuefn is not given"),
        (["label", "a", "value=clock", "devise=cuda"], "label: devise: no setting of label; did you mean device?"),
        (["import", "a", "target=b", "hz=3,5"], "import: hz=3,5: one value at a time; a list is hz=[a,b]"),
        (["import", "a", "b"], "import: b: one word may stand without its key, the source; write KEY=b"),
        (["import", "a", "target=b", "-m"], "import: -m: this command runs once"),
        (["sweep", "random", "slots=0"], "sweep: SimplerSweepConfig: slots=0; use a number from 1 to 1000"),
        (["export"], "export: store is not given: foresight export STORE"),
    ],
)
def test_a_wrong_word_is_one_line(words: list[str], said: str) -> None:
    with pytest.raises(SystemExit) as ended:
        foresight(*words)
    assert str(ended.value).startswith(said) and "\n" not in str(ended.value)


def test_operands_and_odd_values_are_read() -> None:
    label = settings_of("label", "a b/c", "it's", "value=x/y")
    assert label.stores == ["a b/c", "it's"] and label.valuefn.folder == "x/y"
    assert settings_of("label", "stores=[a,b]", "value=clock").stores == ["a", "b"]
    given = settings_of(
        "import", "s", "target=t", "success=@done>0.5", "instruction=lift, then place", "image_size=[96,96]"
    )
    assert (given.success, given.instruction, given.image_size) == ("@done>0.5", "lift, then place", [96, 96])
    assert settings_of("sweep", "ws://127.0.0.1:8000", "adapter=bridge").policy == "ws://127.0.0.1:8000"
    assert settings_of("recap", "methods=[bc,awr]", "seed=3").methods == ["bc", "awr"]


def test_an_ablation_of_a_policy_has_its_own_settings() -> None:
    assert "policy" in settings_of("ablate", "ablation=videovla").__dict__
    assert "valuefns" in settings_of("ablate", "ablation=viva").__dict__


def test_completion_knows_commands_settings_and_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert told.candidates(["foresight", "rec"]) == [c.name for c in COMMANDS]
    assert "evaluation.trials=" in told.candidates(["foresight", "recap", "eval"])
    assert "viva_tiny" in told.candidates(["foresight", "recap", "valuefn=vi"])
    assert foresight("completion", "bash") == 0
    script = capsys.readouterr().out
    assert subprocess.run(["bash", "-n", "-c", script]).returncode == 0 and "complete -o default" in script


def test_nothing_heavy_is_imported_before_the_settings_are_known() -> None:
    """`--help`, a typo, a refusal and a dry run answer without torch."""
    program = (
        "import sys\nfrom experiments.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'mujoco', 'robosuite', 'cv2'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    for words in ([], ["recap", "--help"], ["recap", "valuefn=vivaa"], ["recap", "folds=900"], ["label", "x"],
                  ["sweep", "random", "dry_run=true"]):  # fmt: skip
        done = subprocess.run([sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stderr)


def test_every_file_of_the_top_floor_is_a_command() -> None:
    files = {p.name for p in (ROOT / "experiments").glob("*.py")} - {"__init__.py"}
    files -= {"value_ablation.py"}  # says its new name
    assert files == {c.file for c in COMMANDS if "/" not in c.file} and len(files) <= 24
    assert all(find(c.name) is c for c in COMMANDS)


def test_topreward_is_not_refused_for_its_own_scale() -> None:
    """Its `scale` says how log probabilities become progress, not in what scale values are."""
    words = ["valuefn=topreward", "valuefn.backend.model=some/model", "valuefn.backend.key_env=''"]
    check(settings_of("recap", *words))
    with pytest.raises(ValueError, match=r"valuefn\.scale=recap: advantages are computed in ViVa's scale"):
        check(settings_of("recap", "valuefn=distributional_tiny", "valuefn.scale=recap"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "agents.serve", "policy=x"], "agents.serve is now: foresight serve FOLDER port=8000"),
        (["-m", "experiments.ranking", "a=b"], "experiments.ranking is now: python -m experiments.simpler.ranking"),
        (
            ["experiments/value_ablation.py", "ablation=viva"],
            "value_ablation.py is now: foresight ablate ablation=viva",
        ),
        (["-m", "experiments.label", "S", "--value", "F"], "label: --value: settings are key=value; write value=VALUE"),
        (
            ["-m", "experiments.import_data", "S", "T"],
            "import: T: one word may stand without its key, the source; write KEY=T",
        ),
    ],
)
def test_an_old_command_says_its_new_name_in_one_line(words: list[str], said: str) -> None:
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(said[:40]) and done.stderr.count("\n") == 1, done.stderr
