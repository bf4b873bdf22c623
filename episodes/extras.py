"""How an optional part is installed: from this checkout, or, where Foresight was installed itself, from the index."""

from __future__ import annotations

from pathlib import Path

DISTRIBUTION = "foresight-rl"
CHECKOUT = Path(__file__).parents[1]


def install(extra: str) -> str:
    """The command that installs an extra; `pip install foresight` would be somebody else's package."""
    if (CHECKOUT / "pyproject.toml").is_file():
        return f"pip install -e '.[{extra}]'"
    return f"pip install '{DISTRIBUTION}[{extra}]'"
