"""Settings dataclasses: ranges checked when one is made, and reading one back from json by its own field types."""

from __future__ import annotations

import math
import reprlib
import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

LAYERS = 1000
"""What a file may ask for: they are built one by one, before their weights are missed."""


def require(settings: Any, **ranges: tuple[float, float]) -> None:
    """Raise a ValueError naming the first setting that is not finite or lies outside its range [low, high]."""
    for name, (low, high) in ranges.items():
        value = getattr(settings, name)
        if not (math.isfinite(value) and low <= value <= high):
            allowed = f"at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
            raise ValueError(f"{type(settings).__name__}: {name}={value}; use a number {allowed}")


def require_one_of(settings: Any, **choices: tuple[str, ...]) -> None:
    """Raise a ValueError naming the first setting that is none of its choices."""
    for name, known in choices.items():
        value = getattr(settings, name)
        if value not in known:
            raise ValueError(f"{type(settings).__name__}: {name}={value!r}; choose {' or '.join(known)}")


def require_format(settings: Any, current: int) -> None:
    """Refuse settings of another format than the code's: they meant something else."""
    if settings.format != current:
        name = type(settings).__name__
        raise ValueError(f"{name}: format={settings.format}; this code makes format {current}: leave the setting out")


def from_json(cls: type[T], raw: Any) -> T:
    """The dataclass `cls` from the json of its `asdict`; a missing, unknown or mistyped field is a ValueError."""
    if not isinstance(raw, dict):
        raise ValueError(f"{cls.__name__} is {reprlib.repr(raw):.200}, expected an object")
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for name in sorted(set(raw) - set(known), key=str):
        raise ValueError(f"{cls.__name__} has no setting {name!r:.100}")
    for name, field in known.items():
        if name not in raw and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{cls.__name__} lacks the setting {name!r}")
    kinds = get_type_hints(cls)
    return cls(**{name: _value(kinds[name], value, f"{cls.__name__}: {name}") for name, value in raw.items()})


def _value(kind: Any, value: Any, what: str) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        if value is None and type(None) in get_args(kind):
            return None
        kind = next(k for k in get_args(kind) if k is not type(None))
    if is_dataclass(kind):
        return from_json(kind, value)  # type: ignore[arg-type]
    if get_origin(kind) is tuple and isinstance(value, list):
        parts = get_args(kind)
        if parts[1:] == (...,):
            parts = parts[:1] * len(value)
        if len(parts) == len(value):
            return tuple(_value(k, v, what) for k, v in zip(parts, value))
    elif get_origin(kind) is list and isinstance(value, list):
        return [_value(get_args(kind)[0], v, what) for v in value]
    elif kind is float and (type(value) is float or (type(value) is int and abs(value) < 2**1023)):
        return float(value)
    elif kind in (bool, int, str) and type(value) is kind:
        if kind is int and what.endswith(("blocks", "layers")) and value > LAYERS:
            raise ValueError(f"{what} is {value}; at most {LAYERS} are built")
        return value
    shown = f"{reprlib.repr(value):.200}"  # of lists in lists, or a list without end, the beginning
    raise ValueError(f"{what} is {shown}, expected {getattr(kind, '__name__', kind)}")
