"""Reading a value online where it needs no history: one frame, one value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from episodes.types import EnvSpec, Observation
from valuefns.views import observed_views

Read = Callable[[np.ndarray, np.ndarray, Sequence[str]], np.ndarray]
"""images (n, V, H, W, 3), proprio (n, P), n instructions -> values (n,)."""


class FrameStream:
    """A `ValueStream` of n environments that remembers their instructions alone."""

    def __init__(self, n: int, spec: EnvSpec, read: Read, what: str, proprio: bool = True) -> None:
        self.spec, self.read, self.what, self.proprio = spec, read, what, proprio
        self.instructions = [""] * n

    def reset(self, mask: np.ndarray, instructions: Sequence[str]) -> None:
        """Begin new episodes where mask (n,) is true."""
        self.instructions = [
            new if m else old for m, new, old in zip(mask, instructions, self.instructions, strict=True)
        ]

    def step(self, observations: Sequence[Observation | None]) -> np.ndarray:
        """The value of each slot's newest observation, float32 (n,)."""
        values = np.full(len(observations), np.nan, np.float32)
        asked = [i for i, o in enumerate(observations) if o is not None]
        seen = [o for o in observations if o is not None]
        if seen:
            images = observed_views(seen, self.spec, f"{self.what}, stream", self.proprio)
            values[asked] = self.read(
                images, np.stack([o.proprio for o in seen]), [self.instructions[i] for i in asked]
            )
        return values
