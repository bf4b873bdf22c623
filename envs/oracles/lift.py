"""The scripted demonstrator of Lift: approach, descend, close, lift, with mistakes on request."""

from __future__ import annotations

import numpy as np

from envs.oracles.base import CLOSE, OPEN, Hand, Script, ScriptedOracle
from envs.tasks.base import grasped
from envs.tasks.lift import SUCCESS_HEIGHT, cube_position, height

MISS = (0.045, 0.070)  # m, how far beside the cube a miss closes
RELEASE = (0.029, 0.036)  # m, cube height at which a drop lets go; success is above 0.04 and the cube rests at 0.02
LOST = 0.06  # m, grip to cube: farther means that the cube was lost


class LiftOracle(ScriptedOracle):
    """Lifts the red cube, or fails to in one of the ways of OracleMix."""

    def script(self, hand: Hand, styles: tuple[str, ...], rng: np.random.Generator) -> Script:
        hover = rng.uniform(0.06, 0.08)
        if "retry_miss" in styles:
            yield from approach(hand, hover)
            hand.mistake()
            yield from miss(hand)
            hand.resume()
        if "failure" in styles:
            yield from fail(hand, hover)
        if "failure_drop" in styles:
            yield from fail(hand, hover, "drop")
        drop = "retry_drop" in styles
        while True:
            yield from approach(hand, hover)
            yield from grasp(hand)
            if not holding(hand):  # knocked away, or an execution error: nobody asked for it, but it is a retry
                hand.mistake()
                yield from hand.set_grip(OPEN, hand.steps(0.6))
                hand.resume()
            elif drop:
                drop = False
                yield from raise_to(hand, rng.uniform(*RELEASE))
                hand.mistake()
                yield from let_go(hand)
                hand.resume()
            else:
                yield from lift(hand)
                hand.mistake()  # the cube slipped out
                yield from hand.set_grip(OPEN, hand.steps(0.4))
                hand.resume()


def holding(hand: Hand) -> bool:
    """True while both finger pads touch the cube."""
    return grasped(hand.raw, hand.raw.cube.contact_geoms)


def approach(hand: Hand, hover: float) -> Script:
    """Straight to a point above the cube, with the fingers open. The hand does not turn to the cube's
    sides: it fits between the fingers at any angle, and in 64 pixels its angle can hardly be seen."""
    hand.grip = OPEN
    yield from hand.move(lambda: cube_position(hand.raw) + (0, 0, hover), 0.015, 2.0, settle=True)


def grasp(hand: Hand) -> Script:
    """Descend around the cube and close until both pads have held it a while (the gripper takes 10 steps to close)."""
    offset = np.append(np.zeros(2), hand.rng.uniform(-0.003, 0.006))
    speed = 0.7 * hand.speed
    yield from hand.move(lambda: cube_position(hand.raw) + offset, 0.007, 2.0, speed)
    hand.grip = CLOSE
    anchor, held = hand.position, 0
    for _ in range(max(14, hand.steps(1.0))):
        yield hand.towards(anchor)
        held = held + 1 if holding(hand) else 0
        if held >= max(3, hand.steps(0.2)):
            return


def lift(hand: Hand) -> Script:
    """Raise the cube well above the success height and keep it there; ends only if the cube is lost."""
    target = hand.position + (0, 0, 0.12)
    speed = 0.7 * hand.speed
    while np.linalg.norm(cube_position(hand.raw) - hand.position) < LOST:
        yield hand.towards(target, speed)


def raise_to(hand: Hand, cube_height: float) -> Script:
    """Raise the held cube until its centre is `cube_height` above the table."""
    for _ in range(hand.steps(1.5)):
        missing = cube_height - height(hand.raw)
        if missing <= 0.001:
            return
        yield hand.towards(hand.position + (0, 0, missing), 0.3)


def let_go(hand: Hand) -> Script:
    """Open over a held cube below the success height and draw back upwards a little."""
    assert height(hand.raw) < SUCCESS_HEIGHT + 0.01, "a drop must not begin as a success"
    yield from hand.set_grip(OPEN, max(8, hand.steps(0.5)))
    back = hand.position + np.append(hand.rng.uniform(-0.02, 0.02, 2), hand.rng.uniform(0.02, 0.06))
    yield from hand.move(back, 0.015, 0.8)


def miss(hand: Hand) -> Script:
    """Descend beside the cube, close on nothing, open and rise."""
    side = hand.angle + np.pi / 2 * hand.rng.choice([-1.0, 1.0]) + hand.rng.uniform(-0.6, 0.6)  # across the finger axis
    beside = np.array([np.cos(side), np.sin(side), 0.0]) * hand.rng.uniform(*MISS)
    target = cube_position(hand.raw) + beside + (0, 0, hand.rng.uniform(0.0, 0.015))
    yield from hand.move(target, 0.012, 1.5, speed=hand.rng.uniform(0.6, 1.0) * hand.speed)
    yield from hand.set_grip(CLOSE, hand.steps(hand.rng.uniform(0.6, 1.0)))
    if hand.rng.random() < 0.5:  # notices only after rising with empty fingers
        yield from hand.move(target + (0, 0, hand.rng.uniform(0.03, 0.08)), 0.02, 1.0)
    yield from hand.set_grip(OPEN, hand.steps(0.3))
    yield from hand.move(hand.position + (0, 0, hand.rng.uniform(0.03, 0.06)), 0.02, 0.8)


def fail(hand: Hand, hover: float, mode: str = "") -> Script:
    """Never succeed: miss and give up, drop and stay away, wander, or stop short. Endless."""
    rng = hand.rng
    mode = mode or rng.choice(["miss", "drop", "wander", "stop"])
    if mode in ("miss", "drop"):
        yield from approach(hand, hover)
    else:
        start, share = hand.position, rng.uniform(0.1, 1.0)
        goal = cube_position(hand.raw) + (0, 0, hover)
        yield from hand.move(start + share * (goal - start), 0.02, 2.0)
    if mode == "drop":
        yield from grasp(hand)
        if holding(hand):
            yield from raise_to(hand, rng.uniform(*RELEASE))
    hand.mistake("failure")
    if mode == "drop":
        yield from let_go(hand)
    for _ in range(rng.integers(1, 4) if mode == "miss" else 0):
        yield from miss(hand)
    while mode == "stop":
        yield from hand.wait(1)
    while True:  # at least 9 cm above the table, out of the cube's reach
        target = np.array([rng.uniform(-0.18, 0.12), rng.uniform(-0.2, 0.2), rng.uniform(0.89, 1.08)])
        yield from hand.move(target, 0.02, 2.0, speed=rng.uniform(0.3, 1.0) * hand.speed)
        yield from hand.wait(rng.integers(1, hand.steps(0.8) + 1))


ORACLE = LiftOracle
