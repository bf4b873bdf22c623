"""The doctor's visit: every check, as a table or as json."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from omegaconf import DictConfig

from experiments.models.doctor import CHECKS, PROBLEM, Finding

COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", PROBLEM: "red"}


def examine() -> list[Finding]:
    """Run every check; one that fails itself is a problem of its name."""
    found = []
    for check in CHECKS:
        try:
            found.append(check())
        except Exception as error:  # a doctor that stops at the first surprise is no help
            name = check.__name__.replace("_", " ")
            found.append(Finding(name, PROBLEM, f"{type(error).__name__}: {error}", "run make setup again"))
    return found


def show(findings: Sequence[Finding]) -> None:
    """Print the findings as a table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("check", "", "found", "what to do", box=None, pad_edge=False)
    for f in findings:
        table.add_row(f.check, f"[{COLOURS[f.level]}]{f.level}[/]", escape(f.found), escape(f.fix))
    Console().print(table)


def run_all(config: DictConfig) -> None:
    """Print what was found; exit status 1 where something is a problem."""
    findings = examine()
    healthy = all(f.level != PROBLEM for f in findings)
    if config.json:
        print(json.dumps({"healthy": healthy, "checks": [asdict(f) for f in findings]}, indent=1))
    else:
        show(findings)
    if not healthy:
        sys.exit(1)
