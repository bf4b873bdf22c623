"""From what a model wrote to percentages: tolerant of form, never inventing a number."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

_NUMBER = r"\d+(?:[.,]\d+)?"
_UNIT = r"\s*(?:%|percent\b)"
_VALUE = re.compile(  # a range's ends are one value: their middle
    rf"(?<![\w.,])(?P<sign>[-−])?(?P<low>{_NUMBER})(?P<unit>{_UNIT})?"
    rf"(?:\s*(?:-|–|—|−|\bto\b|\band\b(?=\s*{_NUMBER}{_UNIT}))\s*(?P<high>{_NUMBER})(?P<unit_high>{_UNIT})?)?(?!\w)"
)
_MARK = re.compile(  # "Frame 3:", "**Frame #3**", "Frames 3-5 -", '"frame": 3,'
    r"(?P<start>^[^\w\n]*)?\bframes?\b(?P<key>[\"'])?[_*\s]*[:=#№(]?\s*(?P<first>\d+)(?:\s*(?:-|–|to)\s*(?P<last>\d+))?"
    r"(?P<end>[\"'*_\])\s]*[:|,;=–—-])?",
    re.IGNORECASE | re.MULTILINE,
)
_LINE = re.compile(r"^[^\w\n-]*(?P<first>\d+)\s*[.):|\]](?!\d)(?P<last>)", re.MULTILINE)  # "3. ...", "| 3 | ..."
_ASKED = (  # the prompt's own words first
    re.compile(r"\b(?:completion|percentages?)\b[^\d\n%−;-]*", re.IGNORECASE),
    re.compile(
        r"\b(?:progress|completed?|done|value)\b[\s:=*_\"'~≈]*(?:(?:is|of|at|about|around|roughly)\s+)*", re.IGNORECASE
    ),
)
_NOTHING = re.compile(r"\b(n/?a|unknown|none|null|unclear|not visible|cannot|can't|unable)\b", re.IGNORECASE)


_THOUGHT = r"(?:\w+[:_])?(?:think(?:ing)?|reason(?:ing)?|thoughts?|scratchpad|reflection)"  # <seed:think>
_OPENS = re.compile(
    rf"<{_THOUGHT}>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>(?:analysis|commentary)<\|message\|>",
    re.IGNORECASE,
)
_CLOSES = re.compile(
    rf"</{_THOUGHT}>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|channel\|>final<\|message\|>", re.IGNORECASE
)


def without_reasoning(text: str) -> str:
    """What a model said after its chain of thought; nothing where that was cut off before its end.

    The opening mark may be missing (some templates put it into the prompt), the closing one decides.
    """
    closes = list(_CLOSES.finditer(text))
    answer = text[closes[-1].end() :] if closes else text
    opened = _OPENS.search(answer)
    return answer[: opened.start()] if opened else answer


def parse_percentages(text: str, n: int, cut: bool = False) -> np.ndarray:
    """Read the answer for frames 1..n: float64 (n,) in [0, 100], NaN where it gives none.

    Understood: lines or JSON, frames in any order or missing, "Frames 3-5", markdown, decimals (point or comma), ranges
    (their middle), "N/A". Of two values for a frame the last counts. Numbers outside 0 to 100 are not values. An answer
    without any per-cent sign whose numbers all lie in [0, 1], one strictly inside, is read as shares.
    cut: the answer was cut off, so that its last value may lack digits: it is dropped.
    """
    found = _from_json(text)
    if not found:
        found = _from_text(text, cut)
    values = np.full(n, np.nan)
    numbers = [v for v, _ in found.values()]
    shares = bool(numbers) and not any(unit for _, unit in found.values()) and max(numbers) <= 1
    shares = shares and any(0 < v < 1 for v in numbers)
    for frame, (value, _) in found.items():
        value = 100 * value if shares else value
        if 1 <= frame <= n and 0 <= value <= 100:
            values[frame - 1] = value
    return values


def parse_choice(text: str, choices: dict[str, Any]) -> Any:
    """The choice whose word the answer ends with, or None: the last line with exactly one of the words decides."""
    words = re.compile(rf"\b({'|'.join(map(re.escape, choices))})\b", re.IGNORECASE)
    for line in reversed(text.strip().splitlines()):
        found = {w.lower() for w in words.findall(line)}
        if len(found) == 1:
            return {k.lower(): v for k, v in choices.items()}[found.pop()]
        if found:
            return None
    return None


def parse_json(text: str) -> Any:
    """The first complete JSON object or list in an answer (bare, fenced, or with words around it), or None."""
    decoder = json.JSONDecoder()
    for start in (m.start() for m in re.finditer(r"[\[{]", text)):
        try:
            return decoder.raw_decode(text[start:])[0]
        except ValueError:
            continue
    return None


def _from_json(text: str) -> dict[int, tuple[float, bool]]:
    raw = parse_json(text) if re.match(r"\s*(```\w*\s*)?[\[{]", text) else None
    if isinstance(raw, dict) and len(raw) == 1 and isinstance(next(iter(raw.values())), (list, dict)):
        raw = next(iter(raw.values()))  # {"frames": [...]}
    found = {}
    if isinstance(raw, dict):
        for key, value in raw.items():
            number = re.fullmatch(r"\D*(\d+)\D*", key)
            reading = _reading(value)
            if number and reading:
                found[int(number[1])] = reading
    elif isinstance(raw, list):
        for entry in raw:
            if isinstance(entry, dict):
                frame = next((v for k, v in entry.items() if re.search(r"frame|index|^i(d)?$", k, re.I)), None)
                number = re.fullmatch(r"\D*(\d+)\D*", str(frame))
                reading = _reading(entry)
                if number and reading:
                    found[int(number[1])] = reading
    return found


def _reading(value: Any) -> tuple[float, bool] | None:
    """(number, has a per-cent sign) of a JSON value: a number, a text, or an object with a field that asks for it."""
    if isinstance(value, dict):
        value = next((v for k, v in value.items() if any(a.search(k.replace("_", " ")) for a in _ASKED)), None)
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value), False
    match = _VALUE.fullmatch(str(value).strip().lstrip("~≈ "))
    return _number(match) if match else None


def _from_text(text: str, cut: bool) -> dict[int, tuple[float, bool]]:
    # a mark inside a sentence ("like frame 5") is none: it starts a line, ends in a colon or is a JSON key
    marks = [
        m for m in _MARK.finditer(text) if m["start"] is not None or m["key"] or (m["end"] or "")[-1:] in tuple(":|")
    ]
    if not marks:
        marks = list(_LINE.finditer(text))
    found: dict[int, tuple[float, bool]] = {}
    for i, mark in enumerate(marks):
        last = i + 1 == len(marks)
        segment = text[mark.end() : len(text) if last else marks[i + 1].start()]
        reading = _of_segment(segment, cut and last)
        if reading is not None:
            first, final = int(mark["first"]), int(mark["last"] or mark["first"])
            for frame in range(first, final + 1) if final - first < 1000 else ():
                found[frame] = reading
    return found


def _of_segment(segment: str, cut: bool) -> tuple[float, bool] | None:
    """The value of one frame: after the word that asks for it, else the last per cent, else a number standing alone."""
    for match in (m for asked in _ASKED for m in reversed(list(asked.finditer(segment)))):
        value = _VALUE.match(segment, match.end())
        if value:
            if cut and value.end() == len(segment.rstrip()) and not _has_unit(value):
                return None
            return _number(value)
        if _NOTHING.search(match[0]):
            return None
    with_unit = [v for v in _VALUE.finditer(segment) if _has_unit(v)]
    if with_unit:
        return None if _NOTHING.search(segment, with_unit[-1].end()) else _number(with_unit[-1])
    alone = _VALUE.fullmatch(segment.strip(" \t\r\n*_:|,;.\"'`}])~≈"))
    return _number(alone) if alone and not cut else None


def _number(match: re.Match[str]) -> tuple[float, bool]:
    low = float(match["low"].replace(",", "."))
    value = (low + float(match["high"].replace(",", "."))) / 2 if match["high"] else low
    return (-value if match["sign"] else value), _has_unit(match)


def _has_unit(match: re.Match[str]) -> bool:
    return bool(match["unit"] or match["unit_high"])
