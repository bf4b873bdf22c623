"""The scripted demonstrator of Reach: straight to the goal, with mistakes on request.

There is nothing to grasp: a miss goes to a point beside the goal, a drop leaves the goal before it was held.
"""

from __future__ import annotations

import numpy as np

from envs.oracles.base import CRUISE, Hand, Script, ScriptedOracle
from envs.tasks.reach import goal

SLOW = 0.4  # of the hand's speed; a fast way would be over before a hesitation can come
BESIDE = (0.07, 0.12)  # m, how far from the goal a miss ends; success is within 0.02
LEAN = 0.02  # rad, sigma of the hand's angle to level
LEAVE = 0.035  # m, from the goal: where a drop turns away


class ReachOracle(ScriptedOracle):
    """Brings the grip to the goal, or fails to in one of the ways of OracleMix."""

    def span(self, hand: Hand, retries: int, k: int) -> float:
        return 3.7 * CRUISE / hand.speed * (1.1 if k else 0.85) + 1.5 * retries

    def script(self, hand: Hand, styles: tuple[str, ...], rng: np.random.Generator) -> Script:
        hand.grip = 0.0  # leaves the fingers as they are
        hand.lean(LEAN)
        hand.speed *= SLOW
        if "retry_miss" in styles:
            yield from part_of_the_way(hand, rng.uniform(0.2, 0.6))
            hand.mistake()
            yield from beside(hand)
            hand.resume()
        if "failure" in styles:
            yield from fail(hand)
        if "retry_drop" in styles:
            yield from hand.move(lambda: goal(hand.raw), LEAVE, 4.0)
            hand.mistake()
            yield from beside(hand)
            hand.resume()
        while True:
            yield hand.towards(goal(hand.raw))


def part_of_the_way(hand: Hand, share: float) -> Script:
    """Straight towards the goal, the share of the way."""
    start = hand.position
    yield from hand.move(start + share * (goal(hand.raw) - start), 0.02, 2.0)


def beside(hand: Hand) -> Script:
    """To a point beside the goal or above it, and a while there."""
    rng = hand.rng
    direction = rng.normal(size=3)
    direction[2] = abs(direction[2])
    direction *= rng.uniform(*BESIDE) / np.linalg.norm(direction)
    yield from hand.move(goal(hand.raw) + direction, 0.015, 2.0)
    yield from hand.wait(hand.steps(rng.uniform(0.2, 0.6)))


def fail(hand: Hand) -> Script:
    """Never succeed: go to the wrong point and stay, wander, or stop short. Endless."""
    rng = hand.rng
    mode = rng.choice(["beside", "wander", "stop"])
    yield from part_of_the_way(hand, rng.uniform(0.1, 0.7))
    hand.mistake("failure")
    if mode == "beside":
        yield from beside(hand)
    while mode != "wander":
        yield from hand.wait(1)
    while True:  # at least 8 cm above the highest goal
        target = np.array([rng.uniform(-0.18, 0.12), rng.uniform(-0.2, 0.2), rng.uniform(0.95, 1.08)])
        yield from hand.move(target, 0.02, 2.0, speed=rng.uniform(0.3, 1.0) * hand.speed)
        yield from hand.wait(rng.integers(1, hand.steps(0.8) + 1))


ORACLE = ReachOracle
