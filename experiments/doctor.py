"""What this machine lacks for Foresight, and the one line that mends it.

python -m experiments.doctor          # a table; exit code 1 when something is a problem
python -m experiments.doctor --json   # the same for programs
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from episodes.stopping import stopping
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 when nothing is a problem, else 1."""
    parser = argparse.ArgumentParser(prog="python -m experiments.doctor", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one json object for programs")
    as_json = parser.parse_args(arguments).json
    with stopping():
        findings = examine()
    healthy = all(f.level != PROBLEM for f in findings)
    if as_json:
        print(json.dumps({"healthy": healthy, "checks": [asdict(f) for f in findings]}, indent=1))
    else:
        show(findings)
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
