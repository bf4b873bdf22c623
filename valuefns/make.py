"""From settings to a value function; what a name stands for is imported only when asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from networks.checkpoint import load_config
from networks.saved import find_value
from networks.settings import LatentsConfig
from valuefns.protocol import ValueFunction
from valuefns.registry import VALUES


def value_class(name: str) -> type[ValueFunction]:
    """The class behind a name; one that is no ValueFunction is a ValueError."""
    found: type[ValueFunction] = VALUES.part(name, ValueFunction)
    return found


def make_value(config: Any, latents: LatentsConfig, seed: int = 0, device: str = "cpu") -> ValueFunction:
    """Build the untrained value function that `config` (a settings dataclass with a `name`) describes.

    `latents` is for values that read latent frames; the others ignore it.
    """
    return value_class(config.name).make(config, started_latents(config, latents), seed, device)


def started_latents(config: Any, latents: LatentsConfig) -> LatentsConfig:
    """The latents of the saved value whose weights training starts from (`config.init`); without one, `latents`.

    Errors (ValueError): that value is another model than `config` describes; the first setting that differs is named.
    """
    if not getattr(config, "init", ""):
        return latents
    found: Any = value_class(config.name)
    own: LatentsConfig = found.started(config, latents)
    return own


def load_value(folder: str | Path, device: str = "cpu", kind: Any = "") -> ValueFunction:
    """Load a learned value function from its folder, from a run, or from the hub (owner/name[@revision]).

    folder: the value's own; a run's, or one of runs (the newest run), which gives its first fold's value.
    kind: its name, where the caller knows it. Without one the folder says, and then only a registered name will do:
    a file must not choose what is imported. ValueError: what is missing there, in one line.
    """
    folder = find_value(folder)
    if not kind:
        kind = load_config(folder).get("kind")
        if kind not in VALUES.names():
            known = ", ".join(name for name, part in VALUES.own.items() if "training" in part.__dataclass_fields__)
            raise ValueError(f"value {folder}: unknown kind {kind!r}; name the folder of a value ({known})")
    found: Any = value_class(kind)
    if not hasattr(found, "load"):
        raise ValueError(f"value {folder}: {kind} has no `load(folder, device)`; give its class one, beside `save`")
    loaded: ValueFunction = found.load(folder, device)
    return loaded


def planned_value(config: Any, latents: LatentsConfig, views: int, size: int) -> Any:
    """What the planner builds for the value that `config` describes; None for one without parameters to train."""
    return value_class(config.name).planned(config, latents, views, size)
