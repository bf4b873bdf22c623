"""Every `foresight` command that a page shows has settings that the command takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from experiments.cli.settings import composed, key_values
from experiments.cli.table import find

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OTHERS = ("heights:", "my_", "=height")  # parts of packages that the page only imagines: test_offered.py makes some


def _commands(text: str) -> list[str]:
    """Commands in fenced blocks (continued lines joined) and in sentences, without those that stop at an ellipsis."""
    blocks, rest = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL), re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", rest)]
    found = []
    for line in lines:
        for part in re.split(r"\s*(?:&&|;)\s+", line):
            if re.match(r"(?:\.venv/bin/)?foresight [a-z]", part) and not any(name in part for name in OTHERS):
                found.append(part)
    return found


def _given(words: list[str]) -> list[str]:
    """The words as somebody gives them: all that may be left out, of alternatives the first, no ellipses."""
    optional = " ".join(words)
    for setting in re.findall(r"(?<= )\[([a-z_.]+=(?:\[\.\.\.\]|[^\]])*)\](?= |$)", optional):
        optional = optional.replace(f"[{setting}]", setting)
    plain = [word.partition("|")[0] for word in optional.split(" ") if word and word != "-m"]
    if "-m" in words:  # one run of many
        plain = [word.partition(",")[0] for word in plain]
    return [word for word in plain if not re.search(r"=\[?\.\.\.|group=variant|key=value", word)]


SHOWN = [(page.name, line) for page in PAGES for line in dict.fromkeys(_commands(page.read_text()))]


@pytest.mark.parametrize(("page", "line"), SHOWN, ids=[f"{page}: {line}" for page, line in SHOWN])
def test_it_is_taken(page: str, line: str) -> None:
    _, name, *words = shlex.split(line, comments=True)
    words = words if any(" " in word for word in words) else _given(words)
    command = find(name)
    assert command is not None, name
    if "+cluster=slurm" in words:
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    composed(command, key_values(command, words))


def test_no_page_names_a_flag() -> None:
    """Settings are key=value; flags are of other programs."""
    theirs = {"--num_machines", "--machine_rank", "--main_process_ip", "--help"}
    for page in PAGES:
        spans = re.findall(r"`(--[\w-]+)[^`]*`", page.read_text())
        assert set(spans) <= theirs, page.name
