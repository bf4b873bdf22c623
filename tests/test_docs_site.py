"""The documentation builds as a site: no link, anchor, page or name in it is missing."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, "\n".join(line for line in built.stderr.splitlines() if "INFO" not in line)
    home = (tmp_path / "site" / "index.html").read_text()
    assert not re.findall(r'(?:src="|<link[^>]*stylesheet[^>]*href=")https?:', home), "nothing is loaded from elsewhere"
    api = (tmp_path / "site" / "api" / "agents" / "index.html").read_text()
    assert "awr" in api and "advantage-weighted" in api.lower()
