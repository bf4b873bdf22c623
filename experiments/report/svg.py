"""Matplotlib figures as inline SVG that takes colours and fonts from the page: one figure for light, dark and print."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Okabe and Ito's colour-blind safe hues; the page redefines each variable for a dark background.
INK, MUTED, RULE = "#1b1d21", "#6b7079", "#d5d8dd"
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0173b2", "#e69f01", "#019e73", "#d55e01", "#aa4a94", "#9aa0a8"
VARIABLES = {
    INK: "--ink", MUTED: "--muted", RULE: "--rule", BLUE: "--blue", ORANGE: "--orange", GREEN: "--green",
    RED: "--red", PURPLE: "--purple", GREY: "--grey",
}  # fmt: skip
SEGMENT_COLOURS = {"advance": GREEN, "hesitation": ORANGE, "retry": PURPLE, "failure": RED, "unlabelled": GREY}

STYLE = {
    "font.family": "DejaVu Sans",  # widths for the layout; the page's own sans-serif replaces it
    "font.size": 8.5, "axes.titlesize": 8.5, "axes.labelsize": 8.5, "xtick.labelsize": 7.5, "ytick.labelsize": 7.5,
    "legend.fontsize": 8, "legend.frameon": False, "axes.titlelocation": "left", "axes.titlepad": 5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7, "axes.edgecolor": MUTED,
    "axes.labelcolor": INK, "text.color": INK, "axes.titlecolor": INK, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "xtick.major.width": 0.7, "ytick.major.width": 0.7,
    "xtick.major.size": 2.5, "ytick.major.size": 2.5, "grid.color": RULE, "grid.linewidth": 0.6,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none", "lines.linewidth": 1.4,
    "svg.fonttype": "none", "text.parse_math": False,  # "$" in a user's name is a dollar sign
}  # fmt: skip


@contextmanager
def style() -> Iterator[None]:
    """Draw figures inside this; nothing global stays changed."""
    with matplotlib.rc_context(STYLE):
        yield


def inline_svg(figure: Figure, name: str, alt: str) -> Markup:
    """The figure as an `<svg role="img">` with `alt` as its label; ids are prefixed by `name`, unique on the page."""
    buffer = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):  # a fixed salt: the same run gives the same bytes
        FigureCanvasSVG(figure)
        no_date = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", bbox_inches="tight", pad_inches=0.03, metadata=no_date)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style type=\"text/css\">.*?</style>", "", text, flags=re.S)
    # Only what is used keeps its id: matplotlib numbers every group, and those numbers repeat from figure to figure.
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
    # Matplotlib writes only the colours of this palette; text of users cannot hold them outside an attribute's style.
    for colour, variable in VARIABLES.items():
        text = re.sub(rf"(fill|stroke): {colour}\b", rf"\1: var({variable}, {colour})", text)
    text = text.replace("'DejaVu Sans'", "var(--sans, sans-serif)")
    view = re.search(r'viewBox="([^"]+)"', text)
    assert view is not None, "matplotlib writes a viewBox"
    width = float(view[1].split()[2]) * 96 / 72  # points to CSS pixels
    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
    head += f'aria-label="{escape(alt)}" viewBox="{view[1]}" style="width:{width:.0f}px">'
    return Markup(head + text[text.index(">") + 1 :].strip())
