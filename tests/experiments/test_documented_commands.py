"""Every `foresight` command that a page shows has settings that the command takes, and names that are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from agents.registry import METHODS
from experiments.cli.settings import composed, key_values
from experiments.cli.table import find

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
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
        plain = [word if re.search(r"=[\[{]", word) else word.partition(",")[0] for word in plain]
    plain = [re.sub(r"^(value(?:fn)?)=FOLDER$", r"\1=./FOLDER", word) for word in plain]  # a name has no slash
    return [word for word in plain if not re.search(r"=\[?\.\.\.|group=variant|key=value", word)]


def _unknown(config: DictConfig) -> set[str]:
    """Rows, models, values and methods that the command would look up in vain."""
    study, named = OmegaConf.select(config, "study") or {}, set()
    tables = [("rows", "ablation.rows"), ("study.values", "values")]
    if OmegaConf.select(config, "ablation") is None and OmegaConf.select(config, "valuefn") is None:
        tables.append(("models", "valuefns"))
    for chosen, known in tables:
        if (there := OmegaConf.select(config, known)) is not None:
            named |= set(OmegaConf.select(config, chosen)) - set(there)
    methods = [*(OmegaConf.select(config, "methods") or []), *study.get("methods", []), *study.get("plain", [])]
    return named | {method for method in methods if method not in METHODS.names()}


SHOWN = [(str(page.relative_to(ROOT)), line) for page in PAGES for line in dict.fromkeys(_commands(page.read_text()))]


@pytest.mark.parametrize(("page", "line"), SHOWN, ids=[f"{page}: {line}" for page, line in SHOWN])
def test_it_is_taken(page: str, line: str) -> None:
    _, name, *words = shlex.split(line, comments=True)
    words = words if any(" " in word for word in words) else _given(words)
    command = find(name)
    assert command is not None, name
    if words == ["--help"]:
        return
    if "+cluster=slurm" in words:
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    assert not _unknown(composed(command, key_values(command, words)))


def test_no_page_names_a_flag() -> None:
    """Settings are key=value; flags are of other programs."""
    theirs = {"--num_machines", "--machine_rank", "--main_process_ip", "--help"}
    for page in PAGES:
        spans = re.findall(r"`(--[\w-]+)[^`]*`", page.read_text())
        assert set(spans) <= theirs, page.name
