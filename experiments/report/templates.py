"""The pages' templates: `render` fills one of this folder, with the style sheet that all of them share."""

from __future__ import annotations

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
    return environment.get_template(name).render(css=css, **context).lstrip()  # macros leave blank lines in front
