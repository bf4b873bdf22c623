"""A reader and a shaper for n environments: what the wrappers of every library have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from episodes.types import EnvSpec
from valuefns.protocol import ValueFunction
from valuefns.shaping.readers import Moment, Reader, StreamReader
from valuefns.shaping.terms import Bools, Floats, Shaper, ShapingConfig


class Rewarder:
    """Turns the rewards of n environments into shaped ones; one model call for all that must be read.

    `source` is a causal ValueFunction, which must fit the environment, or a Reader; `get(name)` returns an attribute of
    the environment; space is that of one observation, as wrappers have left it.
    """

    def __init__(
        self,
        source: ValueFunction | Reader,
        config: ShapingConfig,
        n: int,
        get: Callable[[str], Any],
        space: Any = None,
    ) -> None:
        if isinstance(source, ValueFunction):
            spec = _spec(get, source.name)
            _require_drawn(get, config, spec, space)
            source = StreamReader(source, spec, n, config.every, space)
        self.reader, self.config, self.n = source, config, n
        self.shaper = Shaper(config, n)

    @property
    def card(self) -> dict[str, Any]:
        """What made the rewards: the value, its version, and every setting of the term."""
        return {**self.reader.card, **asdict(self.config)}

    def begin(self, mask: Bools, observations: Sequence[Any], infos: Sequence[Any]) -> None:
        """Episodes have begun in the slots of mask (n,) with these observations."""
        if self.shaper.reads and mask.any():
            moments = [Moment(observations[i], infos[i], 0) if mask[i] else None for i in range(self.n)]
            self.shaper.begin(mask, self.reader.read(moments, mask))

    def step(
        self,
        rewards: Floats,
        observations: Sequence[Any],
        infos: Sequence[Any],
        terminated: Bools,
        active: Bools | None = None,
    ) -> Floats:
        """Shaped rewards (n,). observations and infos are those REACHED: the last of an episode, not the next's first.

        `active` (n,): the slots that made a step (all of them by default).
        """
        active = np.ones(self.n, bool) if active is None else active
        asked = self.shaper.asks(terminated) & active
        clock = self.shaper.clock + 1
        moments = [Moment(observations[i], infos[i], int(clock[i])) if asked[i] else None for i in range(self.n)]
        values = self.reader.read(moments, np.zeros(self.n, bool))
        return self.shaper.step(rewards, values, terminated, active)


def _require_drawn(get: Callable[[str], Any], config: ShapingConfig, spec: EnvSpec, space: Any) -> None:
    """A ValueError where the value would be read at steps at which `Viewed` draws nothing."""
    try:
        drawn = get("view_every")
    except AttributeError:
        return
    if config.every % drawn and not all(camera in getattr(space, "spaces", {}) for camera in spec.cameras):
        raise ValueError(
            f"shaping: the value is read every {config.every} steps, Viewed draws every {drawn}; give both the same, "
            f"Viewed(env, every={config.every})"
        )


def _spec(get: Callable[[str], Any], name: str) -> EnvSpec:
    """The EnvSpec of what a value would see in the environment."""
    for attribute in ("view_spec", "spec_"):
        try:
            return get(attribute)
        except AttributeError:
            pass
    raise ValueError(
        f"value {name!r}: the environment has no view_spec or spec_, so nothing says that they fit; use one of "
        "foresight's own"
    )
