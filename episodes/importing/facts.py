"""Success and instruction of single episodes: from the source's columns, a rule, a csv file, or one word for all."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from episodes.importing.known import Known, said
from episodes.importing.reading import Fault, read_text, reading_source

SUCCESS = ("next.success", "is_success", "success", "is_episode_successful", "episode_success")
"""Columns that say by themselves whether an episode succeeded (in any of its rows)."""

_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?"
_RULE = re.compile(rf"@(?P<name>[^<>=]+?)\s*(?:(?P<sign>>=|<=|>|<)\s*(?P<number>{_NUMBER}))?")
_YES, _NO = ("yes", "true", "1", "1.0", "success"), ("no", "false", "0", "0.0", "failure")
Column = Callable[[str], Any]
"""name -> the values of one episode (an array, one value, or None where the source has no such column)."""


def resolved(known: Known) -> Known:
    """`known` with csv files read; a malformed one is a DatasetError that names it."""
    success, instruction = known.success, known.instruction
    if isinstance(success, str) and success.endswith(".csv"):
        known = replace(known, success=_read(Path(success), "success", _outcome))
    elif isinstance(success, str) and not _RULE.fullmatch(success):
        raise ValueError(f"success={success!r}: give yes, no, @COLUMN, @COLUMN>NUMBER or a file that ends in .csv")
    if isinstance(instruction, str) and instruction.endswith(".csv"):
        known = replace(known, instruction=_read(Path(instruction), "instruction", str))
    return known


def _outcome(text: str) -> bool:
    if text.strip().lower() not in _YES + _NO:
        raise Fault("csv", f"success {text!r} is neither yes nor no")
    return text.strip().lower() in _YES


def _read(path: Path, name: str, convert: Callable[[str], Any]) -> dict[int, Any]:
    with reading_source(path, otherwise="csv"):
        text = read_text(path)
        first = text.partition("\n")[0]
        between = max(",;\t", key=first.count)  # spreadsheets write what their country separates by
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter=between)
        table.fieldnames = [field.strip().lower() for field in table.fieldnames or ()]
        if not {"episode", name} <= set(table.fieldnames or ()):
            raise Fault("csv", f"its first line is {said(table.fieldnames or ())}, episode and {name} are needed")
        found: dict[int, Any] = {}
        for row in table:
            if not re.fullmatch(r"\d+(\.0*)?", (row["episode"] or "").strip()) or row[name] is None:
                raise Fault("csv", f"line {table.line_num} has no episode number or no {name}")
            number = int(row["episode"].partition(".")[0])
            if number in found:
                raise Fault("csv", f"episode {number} stands in it twice")
            found[number] = convert(row[name])
        return found


def success_of(
    known: Known, number: int, column: Column, names: Callable[[], list[str]]
) -> tuple[bool, dict[str, Any]]:
    """Whether episode `number` of the source succeeded, and what `extra` keeps of a word for all that is not so.

    A csv file, then a rule, then the source's own column, then the word for all decides; a Fault where nothing does.
    names(): the source's columns, for the message.
    """
    given = known.success
    if isinstance(given, Mapping):
        if number not in given:
            raise Fault("csv", f"the given successes have no episode {number}")
        return bool(given[number]), {}
    if isinstance(given, str):
        return _by_rule(given, column, names), {}
    own = {name: told for name in SUCCESS if (told := _told(name, column(name))) is not None}
    if len(set(own.values())) > 1:
        raise Fault("success_contradicts", ", ".join(f"{n} says {'yes' if told else 'no'}" for n, told in own.items()))
    if not own and given is None:
        raise Fault("success", f"does not say whether it succeeded (no {SUCCESS[0]}, its columns are {said(names())})")
    if not own:
        return bool(given), {}
    name, told = next(iter(own.items()))
    return told, {"success_not_used": name} if given is not None and given != told else {}


def _told(name: str, values: Any) -> bool | None:
    """Whether a column says yes in any row; None where it is absent or has nothing but missing values."""
    if values is None:
        return None
    found = {_yes_or_no(name, value) for value in set(np.atleast_1d(values).tolist())} - {None}
    return any(found) if found else None


def _yes_or_no(name: str, value: Any) -> bool | None:
    value = value.decode() if isinstance(value, bytes) else value
    if value is None or value != value:
        return None
    if isinstance(value, str) and value.strip().lower() in _YES + _NO:
        return value.strip().lower() in _YES
    if isinstance(value, str) or value not in (-1, 0, 1):
        raise Fault("success_values", f"{name} has the value {value!r}, neither yes nor no")
    return bool(value > 0)


def _by_rule(rule: str, column: Column, names: Callable[[], list[str]]) -> bool:
    parts = _RULE.fullmatch(rule)
    assert parts is not None, "resolved() has checked it"
    name = parts["name"]
    try:
        values = column(name)
    except Fault as error:
        raise Fault("success_column", str(error)) from None
    if values is None:
        raise Fault("success_column", f"has no column {name!r}; its columns are {said(names())}")
    if parts["sign"] is None:
        told = _told(name, values)
        if told is None:
            raise Fault("success_values", f"{name} has no value in this episode")
        return told
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise Fault("success_column", f"{name} holds texts, which {rule!r} cannot compare") from None
    compare: dict[str, Any] = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal}
    return bool(compare[parts["sign"]](numbers, float(parts["number"])).any())


def instruction_of(known: Known, number: int, column: Column, own: Callable[[], str]) -> tuple[str, dict[str, Any]]:
    """The instruction of episode `number`, and what `extra` keeps of the source's where another one was given.

    own(): the source's instruction, or a Fault where it has none.
    """
    given = known.instruction
    if given is None:
        return _written(own()), {}
    if isinstance(given, Mapping):
        if number not in given:
            raise Fault("csv", f"the given instructions have no episode {number}")
        text: Any = given[number]
    elif given.startswith("@"):
        values = column(given[1:])
        if values is None:
            raise Fault("instruction", f"has no column {given[1:]!r}")
        several = sorted({str(v.decode() if isinstance(v, bytes) else v) for v in np.atleast_1d(values).tolist()})
        if len(several) != 1:
            raise Fault("episode_instruction", f"{given[1:]} has {len(several)} texts in this episode, one is needed")
        text = several[0]
    else:
        text = given
    try:
        before = _written(own())
    except Fault:
        return str(text), {}
    return str(text), {} if before == text else {"source_instruction": before}


def _written(text: str) -> str:
    """The text, if it says something that a file can hold."""
    if not text.strip():
        raise Fault("episode_instruction", "its instruction is empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Fault("episode_instruction", f"its instruction {text!r} has no UTF-8 form") from None
    return text
