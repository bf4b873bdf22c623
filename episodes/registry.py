"""What is chosen by a name: the project's own parts, those of installed packages, and `module:attribute`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any


@dataclass
class Named:
    """The settings of a part that has none of its own: its name."""

    name: str = ""


class Registry:
    """The parts of one kind by name; nothing is imported before it is asked for.

    own: name -> the part, or where it is (module:attribute). group: the entry points (importlib.metadata) under which
    installed packages offer theirs. A part is what its kind asks for, or the settings dataclass of one, whose `made_by`
    (module:attribute) is the part: settings that import no torch are checked at once.
    """

    def __init__(self, noun: str, group: str, own: Mapping[str, Any]) -> None:
        self.noun, self.group, self.own = noun, group, dict(own)

    def names(self) -> list[str]:
        """Every name that can be asked for."""
        return [*self.own, *sorted({point.name for point in self._points()} - set(self.own))]

    def require(self, name: str) -> None:
        """A ValueError where no part has this name, with the nearest ones; imports nothing."""
        if name in self.own or ":" in name or any(point.name == name for point in self._points()):
            return
        near = get_close_matches(name, self.names(), n=3, cutoff=0.5)
        choices = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(self.names())}"
        raise ValueError(f"{self.noun} {name!r} is not known; {choices}")

    def find(self, name: str) -> Any:
        """The part of a name: what `own`, the one entry point of this name or `module:attribute` gives."""
        self.require(name)
        points = [point for point in self._points() if point.name == name]
        if name in self.own:
            if points:
                raise ValueError(f"{self.noun} {name!r} of {_where(points[0])} has the name of one of Foresight's own")
            found = self.own[name]
            return load(found) if isinstance(found, str) else found
        if len(points) > 1:
            raise ValueError(f"{self.noun} {name!r} is offered by {' and '.join(map(_where, points))}; uninstall one")
        where, source = (points[0].value, _where(points[0])) if points else (name, name)
        try:
            return load(where)
        except Exception as error:  # whatever a foreign module raises while it is imported
            raise ValueError(f"{self.noun} {source} cannot be imported: {type(error).__name__}: {error}") from error

    def settings(self, name: str) -> type[Any]:
        """The settings dataclass of a part: the part itself, its `settings`, or `Named`."""
        found = self.find(name)
        return found if hasattr(found, "made_by") else getattr(found, "settings", None) or Named

    def part(self, name: str, base: type | None = None) -> Any:
        """The part itself, not its settings; one that is no subclass of `base` is a ValueError."""
        found = self.find(name)
        part = load(found.made_by) if hasattr(found, "made_by") else found
        if base is not None and not (isinstance(part, type) and issubclass(part, base)):
            raise ValueError(f"{self.noun} {name}: {part!r} is no subclass of {base.__module__}:{base.__qualname__}")
        return part

    def _points(self) -> list[EntryPoint]:
        return list(entry_points(group=self.group))


def load(where: str) -> Any:
    """The object at `module:attribute`; an ImportError where it has no such attribute."""
    module, _, attribute = where.partition(":")
    found = import_module(module)
    if not hasattr(found, attribute):
        raise ImportError(f"module {module} has no {attribute!r}")
    return getattr(found, attribute)


def _where(point: EntryPoint) -> str:
    package = f"{point.dist.name} {point.dist.version}" if point.dist else "a package"
    return f"{package} ({point.value})"
