"""Links of the pages that leave docs/ (results, code): on the site they are names of files in the repository."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by MkDocs for every page before it is rendered."""
    here = PurePosixPath("docs", page.file.src_uri).parent

    def name(found: re.Match[str]) -> str:
        parts: list[str] = []
        for part in (here / found[2]).parts:
            if part == "..":
                parts.pop()
            else:
                parts.append(part)
        if parts[0] == "docs":
            return found[0]
        target = "/".join(parts)
        return f"`{target}`" if found[1].strip("`") in target else f"{found[1]} (`{target}`)"

    return LINK.sub(name, markdown)
