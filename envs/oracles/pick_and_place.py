"""The scripted demonstrator of the pick-and-place tasks, with mistakes on request.

A subclass of PickAndPlaceOracle describes its scene; the moves (`Picker`) and the mistakes are the same for all.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from envs.oracles.base import CLOSE, CRUISE, OPEN, Hand, Script, ScriptedOracle
from envs.oracles.mix import STYLES
from envs.oracles.picker import Picker, Scene
from envs.tasks.pick_and_place import centre, outline

LEAN = 0.02  # rad, sigma of the hand's angle to level


class PickAndPlaceOracle(ScriptedOracle):
    """Puts the object of `scene` in its place, or fails to in one of the ways of OracleMix."""

    styles: ClassVar[tuple[str, ...]] = STYLES
    scene: ClassVar[type[Scene]]
    seconds: ClassVar[tuple[float, float]]  # an expert's time: a part that is fixed, and a part at full speed

    def span(self, hand: Hand, retries: int, k: int) -> float:
        fixed, moving = self.seconds
        return (fixed + moving * CRUISE / hand.speed) * (1.1 if k else 0.85) + 3.0 * retries

    def script(self, hand: Hand, styles: tuple[str, ...], rng: np.random.Generator) -> Script:
        hand.lean(LEAN)
        scene = self.scene(hand.raw)
        picker = Picker(hand, scene, rng)
        item, place = scene.item, scene.place(rng)
        if "wrong_object" in styles:
            yield from mistake_object(picker, corrected=rng.random() < 0.5)
        if "retry_miss" in styles:
            yield from picker.approach(item)
            hand.mistake()
            yield from miss(picker, item)
            hand.resume()
        if "failure" in styles:
            yield from fail(picker)
        if "failure_drop" in styles:
            yield from fail(picker, "drop")
        if "failure_wrong_object" in styles:
            yield from mistake_object(picker, corrected=False)
        to_drop = "retry_drop" in styles
        while True:
            yield from picker.take(item)
            if to_drop:
                to_drop = False
                yield from drop(picker, item)
                continue
            yield from picker.put(item, place, scene.place_tolerance, scene.release)
            while hand.env.task.success(hand.raw):
                yield from hand.wait(1)


def miss(picker: Picker, item: Any) -> Script:
    """Descend beside the object, close on nothing, open and rise."""
    hand, rng = picker.hand, picker.rng
    pose, angle = picker.grasp_pose(item)
    normal = np.array([-np.sin(angle), np.cos(angle)])  # across the finger axis
    extent = np.ptp(outline(hand.raw, item)[:, :2] @ normal) / 2
    if normal @ picker.scene.open_side(item) < 0:
        normal = -normal
    target = pose + (0, 0, rng.uniform(0.0, 0.015))
    target[:2] += normal * (extent + rng.uniform(0.025, 0.045))
    yield from hand.move(target, 0.012, 2.0, speed=rng.uniform(0.6, 1.0) * hand.speed)
    yield from hand.set_grip(CLOSE, hand.steps(rng.uniform(0.6, 1.0)))
    if rng.random() < 0.5:  # notices only after rising with empty fingers
        yield from hand.move(hand.position + (0, 0, rng.uniform(0.03, 0.08)), 0.02, 1.0)
    yield from hand.set_grip(OPEN, hand.steps(0.3))
    yield from picker.rise(pose[2] + picker.hover)


def drop(picker: Picker, item: Any) -> Script:
    """Raise the held object a little, let it go by mistake and draw back."""
    yield from picker.raise_to(item, picker.rng.uniform(0.012, 0.03), 1.5)
    yield from picker.in_error(picker.let_go(0.5))


def roam(picker: Picker) -> Script:
    """Move about above everything, without end."""
    hand, rng = picker.hand, picker.rng
    hand.grip = OPEN
    low, high = np.array(picker.scene.wander).T
    yield from picker.rise(low[2])
    while True:
        yield from hand.move(rng.uniform(low, high), 0.02, 2.0, speed=rng.uniform(0.3, 1.0) * hand.speed)
        yield from hand.wait(rng.integers(1, hand.steps(0.8) + 1))


def mistake_object(picker: Picker, corrected: bool) -> Script:
    """The wrong object, or the wrong place; endless unless `corrected`."""
    hand, scene = picker.hand, picker.scene
    item, place, take_away = scene.wrong(picker.rng)
    home = centre(hand.raw, item)
    home[2] = scene.surface
    label = "retry" if corrected else "failure"
    if item is scene.item:  # grasping it is right, where it goes is wrong
        yield from picker.take(item)
        yield from picker.raise_to(item, picker.rng.uniform(*scene.clear))
    hand.mistake(label)
    if item is not scene.item:
        yield from picker.take(item)
    yield from picker.put(item, place, max(scene.place_tolerance, 0.01), scene.release)
    if not corrected:
        yield from roam(picker)
    hand.resume()
    if take_away:
        yield from picker.take(item)
        yield from picker.put(item, lambda: home, 0.02, 0.01)


def fail(picker: Picker, mode: str = "") -> Script:
    """Never succeed: miss and give up, drop and stay away, wander, or stop short. Endless."""
    hand, rng, item = picker.hand, picker.rng, picker.scene.item
    mode = mode or rng.choice(["miss", "drop", "wander", "stop"])
    if mode == "drop":
        yield from picker.take(item)
        yield from picker.raise_to(item, rng.uniform(0.012, 0.03), 1.5)
        hand.mistake("failure")
        yield from picker.let_go(0.5)
        yield from roam(picker)
    if mode == "miss":
        yield from picker.approach(item)
        hand.mistake("failure")
        for _ in range(rng.integers(1, 4)):
            yield from miss(picker, item)
        yield from roam(picker)
    pose, hand.angle = picker.grasp_pose(item)
    start, part = hand.position, rng.uniform(0.1, 1.0)
    yield from hand.move(start + part * (pose + (0, 0, picker.hover) - start), 0.02, 6.0)
    hand.mistake("failure")
    while mode == "stop":
        yield from hand.wait(1)
    yield from roam(picker)
