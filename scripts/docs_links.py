"""Links of the pages that leave docs/ (results, code): on the site they are names of files in the repository."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

LINK = re.compile(r'\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(((?:\.\./)+[^)#\s]+)(?:#[^)\s]*)?(?:\s+"([^"]*)")?\)')


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by MkDocs for every page before it is rendered; a figure says its file when it is pointed at."""
    here = PurePosixPath("docs", page.file.src_uri).parent

    def name(found: re.Match[str]) -> str:
        text, link, title = found.groups()
        parts: list[str] = []
        for part in (here / link).parts:
            if part == "..":
                parts.pop()
            else:
                parts.append(part)
        if parts[0] == "docs":
            return found[0]
        target = "/".join(parts)
        if title:
            return f'<span title="{target}: {title.replace(">", "&gt;")}">{text}</span>'
        return f"`{target}`" if text.strip("`") in target else f"{text} (`{target}`)"

    return LINK.sub(name, markdown)
