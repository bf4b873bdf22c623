"""The scripted demonstrator of Stack; its wrong object is the green cube, put down elsewhere or on the red one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from envs.oracles.pick_and_place import PickAndPlaceOracle
from envs.oracles.picker import Scene, Vector
from envs.tasks.pick_and_place import centre, outline


class StackScene(Scene):
    """Stack's table and two cubes as the oracle sees them (m, world frame)."""

    surface, clear, safe, lowest = 0.8, (0.085, 0.11), 0.93, 0.0
    place_tolerance, release = 0.006, 0.004
    wander = ((-0.18, 0.12), (-0.2, 0.2), (0.95, 1.08))

    @property
    def item(self) -> Any:
        return self.raw.cubeA

    def neighbours(self, item: Any) -> list[Any]:
        return [cube for cube in (self.raw.cubeA, self.raw.cubeB) if cube is not item]

    def open_side(self, item: Any) -> Vector:
        (other,) = self.neighbours(item)
        return (centre(self.raw, item) - centre(self.raw, other))[:2]

    def on(self, cube: Any) -> Callable[[], Vector]:
        """The middle of a cube's upper side."""
        return lambda: np.array([*centre(self.raw, cube)[:2], outline(self.raw, cube)[:, 2].max()])

    def place(self, rng: np.random.Generator) -> Callable[[], Vector]:
        return self.on(self.raw.cubeB)

    def wrong(self, rng: np.random.Generator) -> tuple[Any, Callable[[], Vector], bool]:
        if rng.random() < 0.5:
            return self.raw.cubeB, self.on(self.raw.cubeA), True
        home = centre(self.raw, self.raw.cubeB)
        home[:2] += self.open_side(self.raw.cubeB) * rng.uniform(0.1, 0.4)
        home[2] = self.surface
        return self.raw.cubeB, lambda: home, False


class StackOracle(PickAndPlaceOracle):
    """Stacks the red cube on the green one."""

    scene = StackScene
    seconds = (3.5, 2.1)


ORACLE = StackOracle
