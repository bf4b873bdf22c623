"""The moves of a scripted pick-and-place: approach, grasp, lift, carry, lower, release, retreat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.oracles.base import CLOSE, OPEN, Hand, Script
from envs.tasks.base import grasped
from envs.tasks.pick_and_place import centre, outline

Vector = npt.NDArray[np.float64]
# Directions of the finger axis from the one after the reset: half a turn, as the wrist has it left over the far bin.
TURNS = np.linspace(-np.pi / 4, 3 * np.pi / 4, 73)
FINGER, REACH_OF_FINGERS = 0.045, 0.05  # m, a finger's room to a neighbour; its distance from the grip when open
PALM = 0.026  # m, deepest that the grip goes below an object's top: the palm is 2.9 cm above the grip
HAND = (0.103, 0.032)  # m, half of the hand's width along the finger axis and across it
TIP = 0.018  # m, lowest that the grip goes above the surface: the finger tips reach 1 cm below it
FAST = 2.0  # speed of long ways, in units of the hand's
LOST = 0.10  # m, grip to object: farther means that it was lost


class Scene:
    """What a script must know of the raw environment of one task; positions in m, world frame."""

    surface: float  # height of what the objects stand on
    clear: tuple[float, float]  # range of the height over it at which an object's lower side is carried
    safe: float  # height of the grip at which empty fingers hit nothing
    wander: tuple[tuple[float, float], ...]  # (low, high) of x, y, z of an aimless hand
    place_tolerance: float  # horizontal, before lowering
    release: float  # lower side over its place when the fingers open
    lowest: float  # height of the grip under which the hand does not put anything down

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    @property
    def item(self) -> Any:
        """The object of the task."""
        raise NotImplementedError

    def neighbours(self, item: Any) -> list[Any]:
        """Other objects that the fingers must not hit."""
        return []

    def open_side(self, item: Any) -> Vector:
        """Horizontal direction (2,) from the object to free space."""
        raise NotImplementedError

    def overshoot(self, corners: Vector, z: float) -> Vector:
        """How far (m, (N,)) a hand whose corners (4, 2, N) are at grip height `z` would reach into a wall."""
        return np.zeros(corners.shape[2])

    def place(self, rng: np.random.Generator) -> Callable[[], Vector]:
        """Where the lower side of the object is to be put: a function, as the goal may move."""
        raise NotImplementedError

    def wrong(self, rng: np.random.Generator) -> tuple[Any, Callable[[], Vector], bool]:
        """(object, place, whether it must be taken away again) of a wrong-object mistake."""
        raise NotImplementedError


class Picker:
    """The moves of one episode; `hover` (m) is the height over the grasp from which the hand descends."""

    def __init__(self, hand: Hand, scene: Scene, rng: np.random.Generator) -> None:
        self.hand, self.scene, self.rng = hand, scene, rng
        self.home = hand.angle
        self.hover = rng.uniform(0.06, 0.08)
        self.slow, self.fast = 0.7 * hand.speed, min(1.0, FAST * hand.speed)

    def holding(self, item: Any) -> bool:
        """True while both finger pads touch the object."""
        return grasped(self.hand.raw, item.contact_geoms)

    def bottom(self, item: Any) -> float:
        """Height of the object's lowest point (m, world frame)."""
        return float(outline(self.hand.raw, item)[:, 2].min())

    def grasp_pose(self, item: Any) -> tuple[Vector, float]:
        """Grip position and direction of the finger axis: across a narrow and upright side, clear of neighbours.

        The least, over 73 directions, of width + half of what the top is narrower + 4 mm per right angle of turn + the
        lack of room for either finger + for the hand.
        """
        raw = self.hand.raw
        points = outline(raw, item)
        axes = np.stack([np.cos(self.home + TURNS), np.sin(self.home + TURNS)])  # (2, 73)
        along = points[:, :2] @ axes
        low, high = along.min(0), along.max(0)
        bottom, top = points[:, 2].min(), points[:, 2].max()
        z = max((bottom + top) / 2, top - PALM, self.scene.surface + TIP)
        slant = high - low - np.ptp(along[points[:, 2] >= z], axis=0)
        cost = high - low + 0.5 * slant + 0.004 * np.abs(TURNS) / (np.pi / 2)
        middle = (points[:, :2].min(0) + points[:, :2].max(0)) / 2
        sides = np.stack([-axes[1], axes[0]])
        corners = [middle[:, None] + a * HAND[0] * axes + b * HAND[1] * sides for a in (-1, 1) for b in (-1, 1)]
        cost = cost + self.scene.overshoot(np.stack(corners), z)
        for other in self.scene.neighbours(item):
            for side in (-REACH_OF_FINGERS, REACH_OF_FINGERS):
                away = np.linalg.norm(middle[:, None] + side * axes - centre(raw, other)[:2, None], axis=0)
                cost = cost + np.maximum(FINGER - away, 0.0)
        k = int(np.argmin(cost))
        axis = axes[:, k]
        normal = np.array([-axis[1], axis[0]])
        across = points[:, :2] @ normal
        xy = axis * (low[k] + high[k]) / 2 + normal * (across.min() + across.max()) / 2
        return np.array([*xy, z]), float(self.home + TURNS[k])

    def approach(self, item: Any) -> Script:
        """Rise if low, go to a point above the grasp with the fingers open, and turn them across the narrow side."""
        hand = self.hand
        hand.grip = OPEN
        pose, hand.angle = self.grasp_pose(item)
        above = pose + (0, 0, self.hover)
        far = np.linalg.norm((above - hand.position)[:2]) > 0.06
        if far and hand.position[2] < self.scene.safe - 0.02:
            yield from self.rise(self.scene.safe)
        yield from hand.move(above, 0.015, 6.0, self.fast, settle=True)

    def rise(self, height: float) -> Script:
        """Straight up to a height of the grip."""
        x, y, z = self.hand.position
        yield from self.hand.move(np.array([x, y, max(z, height)]), 0.02, 2.0, self.fast)

    def grasp(self, item: Any) -> Script:
        """Descend around the object and close until both pads have held it a while."""
        hand = self.hand
        pose, _ = self.grasp_pose(item)
        pose[:2] += hand.rng.uniform(-0.002, 0.002, 2)
        yield from hand.move(pose, 0.008, 2.5, self.slow)
        hand.grip = CLOSE
        anchor, held = hand.position, 0
        for _ in range(max(14, hand.steps(1.0))):
            yield hand.towards(anchor)
            held = held + 1 if self.holding(item) else 0
            if held >= max(3, hand.steps(0.2)):
                return

    def raise_to(self, item: Any, height: float, seconds: float = 4.0) -> Script:
        """Raise the held object until its lower side is `height` over the surface, or it is lost."""
        hand = self.hand
        for _ in range(hand.steps(seconds)):
            missing = self.scene.surface + height - self.bottom(item)
            if missing < 0.004 or self.lost(item):
                return
            yield hand.towards(hand.position + (0, 0, max(missing, 0.01)))

    def lost(self, item: Any) -> bool:
        """True where the object is farther from the grip than one that is held."""
        return bool(np.linalg.norm(centre(self.hand.raw, item) - self.hand.position) > LOST)

    def carry(self, item: Any, place: Callable[[], Vector], tolerance: float) -> Script:
        """Carry the held object at its height until it is over its place."""
        hand = self.hand
        height = centre(hand.raw, item)[2]
        close = 0
        for _ in range(hand.steps(8.0)):
            missing = place() - centre(hand.raw, item)
            missing[2] = height - centre(hand.raw, item)[2]
            close = close + 1 if np.linalg.norm(missing[:2]) < tolerance else 0
            if self.lost(item) or close >= max(2, hand.steps(0.15)):
                return
            yield hand.towards(hand.position + missing, self.fast)

    def lower(self, item: Any, place: Callable[[], Vector], release: float) -> Script:
        """Lower the held object until its lower side is `release` over its place."""
        hand = self.hand
        for _ in range(hand.steps(3.0)):
            missing = place() - centre(hand.raw, item)
            missing[2] = max(place()[2] + release - self.bottom(item), self.scene.lowest - hand.position[2])
            if missing[2] > -0.004 or self.lost(item):
                return
            yield hand.towards(hand.position + missing, self.slow)

    def let_go(self, seconds: float = 0.4) -> Script:
        """Open the fingers and draw back upwards."""
        hand = self.hand
        yield from hand.set_grip(OPEN, max(5, hand.steps(seconds)))
        back = hand.position + (0, 0, self.rng.uniform(0.07, 0.10))
        yield from hand.move(back, 0.02, 1.5, self.slow)

    def put(self, item: Any, place: Callable[[], Vector], tolerance: float, release: float) -> Script:
        """Grasped object to its place: lift, carry, lower, release, retreat."""
        yield from self.raise_to(item, self.rng.uniform(*self.scene.clear))
        yield from self.carry(item, place, tolerance)
        if self.lost(item):  # it slipped out
            yield from self.in_error(self.let_go())
        else:
            yield from self.lower(item, place, release)
            yield from self.let_go()

    def take(self, item: Any) -> Script:
        """Approach and grasp, again after every grasp that fails: nobody asked for those, but they are retries."""
        while True:
            yield from self.approach(item)
            yield from self.grasp(item)
            if self.holding(item):
                return
            yield from self.in_error(self.hand.set_grip(OPEN, self.hand.steps(0.5)))

    def in_error(self, moves: Script) -> Script:
        """The moves, labelled as a retry; within a failure they are part of it."""
        label = self.hand.label
        self.hand.mistake("failure" if label == "failure" else "retry")
        yield from moves
        self.hand.resume() if label == "advance" else self.hand.mistake(label)
