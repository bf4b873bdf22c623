"""What a message tells people to install is what works where they are."""

from pathlib import Path

import pytest

from episodes import extras
from tests import ROOT


def test_a_checkout_and_a_wheel_have_their_own_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert extras.install("ray") == "pip install -e '.[ray]'"
    monkeypatch.setattr(extras, "CHECKOUT", tmp_path)
    assert extras.install("ray") == "pip install 'foresight-rl[ray]'"


def test_no_message_names_the_package_of_somebody_else() -> None:
    files = [p for room in ("episodes", "networks", "envs", "valuefns", "agents", "experiments", "docs") for p in
             (ROOT / room).rglob("*") if p.suffix in (".py", ".md")]  # fmt: skip
    named = [str(p) for p in [*files, ROOT / "README.md"] if "install foresight[" in p.read_text()
             or "install 'foresight[" in p.read_text()]  # fmt: skip
    assert not named
    assert f'name = "{extras.DISTRIBUTION}"' in (ROOT / "pyproject.toml").read_text()
