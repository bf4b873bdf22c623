"""The pages' templates: `render` fills one of this folder, with the style sheet that all of them share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

HERE = Path(__file__).parent


def render(name: str, filters: Mapping[str, Callable[..., Any]], **context: Any) -> str:
    """The page as HTML; everything in `context` is escaped unless it is Markup, and a missing name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    css = Markup((HERE / "page.css").read_text(encoding="utf-8"))
    html = environment.get_template(name).render(css=css, **context).lstrip()  # macros leave blank lines in front
    return re.sub(r"<table>.*?</table>", _labelled, html, flags=re.S)


def _labelled(table: re.Match[str]) -> str:
    """The table with its column's name on every cell of its body: on a phone a row is drawn as lines of them."""
    head, end, body = table[0].rpartition("</thead>")
    names = [re.sub(r"<[^>]*>", "", name).strip() for name in re.findall(r"<th[^>]*>(.*?)</th>", head, re.S)]

    def row(found: re.Match[str]) -> str:
        cells = iter(names)
        return re.sub(r"<(td|th)\b", lambda m: f'<{m[1]} data-column="{next(cells, "")}"', found[0])

    return head + end + re.sub(r"<tr\b.*?</tr>", row, body, flags=re.S) if names else table[0]
