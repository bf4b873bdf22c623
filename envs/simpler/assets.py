"""Where the robots, objects and photographs lie."""

from __future__ import annotations

import os
from pathlib import Path


def asset_folder() -> Path:
    """The folder that holds `data/`: MS_ASSET_DIR."""
    return Path(os.environ["MS_ASSET_DIR"])
