"""The scripted demonstrator of the four PickPlace tasks; its wrong place is another compartment of the goal bin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from envs.oracles.pick_and_place import PickAndPlaceOracle
from envs.oracles.picker import PALM, Scene, Vector
from envs.tasks.pick_and_place import FLOOR, WALL, centre, compartment

WALL_HALF = 0.01  # m, half of a wall's thickness
NEARER = 0.05  # m, how far the far compartments' targets move towards the robot: their middles are near its reach


class BinsScene(Scene):
    """PickPlace's two bins as the oracle sees them (m, world frame)."""

    surface, clear, safe, lowest = 0.8 + FLOOR, (0.10, 0.13), 0.97, 0.8 + WALL - PALM
    place_tolerance, release = 0.025, 0.012
    wander = ((0.0, 0.22), (-0.35, 0.3), (1.02, 1.15))

    @property
    def item(self) -> Any:
        return self.raw.objects[self.raw.object_id]

    def open_side(self, item: Any) -> Vector:
        return (self.raw.bin1_pos - centre(self.raw, item))[:2]

    def overshoot(self, corners: Vector, z: float) -> Vector:
        if z + PALM > 0.8 + WALL:
            return np.zeros(corners.shape[2])
        where = centre(self.raw, self.item)[:2]
        rooms = [(self.raw.bin1_pos[:2], self.raw.bin_size[:2] / 2)]
        rooms += [(target[:2], self.raw.bin_size[:2] / 4) for target in self.raw.target_bin_placements]
        middle, half = min(rooms, key=lambda room: np.abs((where - room[0]) / room[1]).max())
        beyond = np.abs(corners - middle[:, None]) - (half - WALL_HALF)[:, None]
        return np.maximum(beyond.max((0, 1)), 0.0)

    def place(self, rng: np.random.Generator) -> Callable[[], Vector]:
        return self._in(self.raw.object_id, rng)

    def _in(self, index: int, rng: np.random.Generator) -> Callable[[], Vector]:
        target = compartment(self.raw, index)
        target[:2] += rng.uniform(-0.012, 0.012, 2)
        if target[1] > 0.3:
            target[1] -= NEARER
        if target[0] > 0.1:
            target[0] -= 0.3 * NEARER
        return lambda: target

    def wrong(self, rng: np.random.Generator) -> tuple[Any, Callable[[], Vector], bool]:
        others = [k for k in range(4) if k != self.raw.object_id]
        return self.item, self._in(int(rng.choice(others)), rng), False


class BinsOracle(PickAndPlaceOracle):
    """Puts the object into its compartment."""

    scene = BinsScene
    seconds = (2.5, 4.7)


assert BinsScene.clear[0] > WALL - FLOOR, "an object must pass over the walls"
