"""Scripted oracles of SIMPLER's tasks: experts, and demonstrators with labelled hesitation, retries and failures.

They read true poses and give the robot's own actions; what they collide with and how they grasp is real.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from envs.oracles.base import ScriptedOracle
from envs.oracles.mix import OracleMix
from envs.simpler.hand import CLOSE, OPEN, Script, SimplerHand

Array = npt.NDArray[np.float64]
GRASP_TIME = {"google": 5, "widowx": 7}  # steps until the fingers hold
LOST = 0.04  # m of an object's shift in the hand, from which it is taken for lost
SLOW = 0.04  # m above the grasp, from where the hand comes down slowly


@dataclass(frozen=True)
class Grasp:
    """How an object is taken."""

    position: Array  # (3,) m, of the finger tips
    closing: Array | None  # (2,) direction in which the fingers close, None: as the hand stands
    hover: float  # m above, from where the hand descends


def _along(R: Array, axis: int) -> Array:
    """Horizontal direction across an object's long axis (2,)."""
    long = R[:2, axis] / max(float(np.linalg.norm(R[:2, axis])), 1e-9)
    return np.array([-long[1], long[0]])


class SimplerOracle(ScriptedOracle):
    """An expert of one task that can hesitate anywhere, miss, drop and take again, or fail."""

    hand = SimplerHand
    styles: ClassVar[tuple[str, ...]] = ("expert", "hesitation", "retry_miss", "retry_drop", "failure")

    def span(self, hand: Any, retries: int, k: int) -> float:
        return 6.0

    def fail(self, hand: SimplerHand) -> Script:
        """Wander well above the table for ever."""
        hand.mistake("failure")
        start, rng = hand.position, hand.rng
        stop = rng.random() < 0.3
        while True:
            if not stop:
                yield from hand.move(
                    start + rng.uniform([-0.1, -0.15, 0.0], [0.1, 0.15, 0.08]), 0.03, 3.0, hand.speed / 2
                )
            yield from hand.wait(int(rng.integers(1, 4)))


class Picker(SimplerOracle):
    """Takes an object from above; subclasses say how and what comes then."""

    def grasp(self, hand: SimplerHand) -> Grasp:
        """Where and how the object is grasped."""
        raise NotImplementedError

    def source(self, hand: SimplerHand) -> Any:
        """The object that is picked."""
        raise NotImplementedError

    def after(self, hand: SimplerHand) -> Script:
        """Where the object is carried; cut off where it is lost."""
        raise NotImplementedError

    def leave(self, hand: SimplerHand) -> Script:
        """What comes after that."""
        yield from ()

    def script(self, hand: Any, styles: tuple[str, ...], rng: np.random.Generator) -> Script:
        if "failure" in styles:
            yield from self.approach(hand)
            yield from self.fail(hand)
        if "retry_miss" in styles:
            yield from self.approach(hand)
            hand.mistake()
            yield from self.miss(hand)
            hand.resume()
        drop = "retry_drop" in styles
        for _ in range(20):
            yield from self.approach(hand)
            yield from self.take(hand)
            if not self.holds(hand):
                hand.mistake()
                yield from self.release(hand)
                hand.resume()
                continue
            if drop:
                drop = False
                yield from hand.move(hand.position + (0, 0, 0.012), 0.004, 1.0, 0.02)
                hand.mistake()
                yield from self.release(hand)
                hand.resume()
                continue
            yield from self.carry(hand, self.after(hand))
            yield from self.leave(hand)
            if self.env_solved(hand):
                break
        while True:
            yield from hand.wait(1)

    def env_solved(self, hand: SimplerHand) -> bool:
        """Whether the task is solved now."""
        return bool(hand.env.is_success())

    def holds(self, hand: SimplerHand) -> bool:
        """Whether the object is in the hand."""
        return bool(hand.raw.agent.is_grasping(self.source(hand))[0])

    def carry(self, hand: SimplerHand, script: Script) -> Script:
        """`script` for as long as the object stays where it is in the hand."""
        offset = hand.position - hand.object(self.source(hand))[1]
        for action in script:
            if np.linalg.norm(hand.position - hand.object(self.source(hand))[1] - offset) > LOST:
                return
            yield action

    def approach(self, hand: SimplerHand) -> Script:
        """Above the object, with the fingers open and turned."""
        hand.grip = OPEN
        grasp = self.grasp(hand)
        hand.close_along(grasp.closing)
        above = grasp.position + (0, 0, grasp.hover)
        if hand.position[2] < above[2] - 0.03 and np.linalg.norm((hand.position - above)[:2]) > 0.03:
            yield from hand.move(np.array([*hand.position[:2], above[2]]), 0.03, 3.0)
        yield from hand.move(above, 0.015, 16.0, settle=True)

    def take(self, hand: SimplerHand) -> Script:
        """Down to the object, and close the fingers."""
        near = self.grasp(hand).position + (0, 0, SLOW)
        if hand.position[2] > near[2] + 0.02:
            yield from hand.move(near, 0.015, 3.0)
        yield from hand.move(self.grasp(hand).position, 0.006, 4.0, 0.04)
        yield from hand.set_grip(CLOSE, GRASP_TIME[hand.robot])

    def release(self, hand: SimplerHand) -> Script:
        """Open the fingers and go up."""
        yield from hand.set_grip(OPEN, GRASP_TIME[hand.robot])
        yield from hand.move(hand.position + (0, 0, 0.08), 0.03, 2.0)

    def miss(self, hand: SimplerHand) -> Script:
        """Close beside the object, above it, and open again."""
        angle = hand.rng.uniform(0, 2 * np.pi)
        beside = hand.rng.uniform(0.02, 0.04) * np.array([np.cos(angle), np.sin(angle), 0.0])
        target = self.grasp(hand).position + beside + (0, 0, 0.5 * self.grasp(hand).hover)
        yield from hand.move(target, 0.015, 3.0, 0.05)
        yield from hand.set_grip(CLOSE, GRASP_TIME[hand.robot] - 1)
        yield from self.release(hand)


class PickCokeCanOracle(Picker):
    """Lifts the can by 12 cm, standing or lying."""

    def source(self, hand: SimplerHand) -> Any:
        return hand.raw.can

    def grasp(self, hand: SimplerHand) -> Grasp:
        R, p = hand.object(hand.raw.can)
        if abs(R[2, 1]) > 0.7:  # the can's axis is its y: standing
            return Grasp(p + (0, 0, 0.015), None, 0.13)
        return Grasp(p + (0, 0, -0.005), _along(R, 1), 0.12)

    def after(self, hand: SimplerHand) -> Script:
        target = hand.position + (0, 0, 0.12)
        while self.holds(hand):
            yield hand.towards(target, 0.04)


class MoveNearOracle(Picker):
    """Carries the source to a place beside the target, away from the third object."""

    def _names(self, hand: SimplerHand) -> tuple[Any, Any, list[Any]]:
        source, target = (int(k) for k in hand.raw._pair[0])
        objects = hand.raw.objects
        return objects[source], objects[target], [o for k, o in enumerate(objects) if k not in (source, target)]

    def source(self, hand: SimplerHand) -> Any:
        return self._names(hand)[0]

    def grasp(self, hand: SimplerHand) -> Grasp:
        actor = self.source(hand)
        R, p = hand.object(actor)
        if "can" in actor.name or "bottle" in actor.name:
            return Grasp(p + (0, 0, 0.02), None, 0.17)
        if "sponge" in actor.name:
            return Grasp(p + (0, 0, -0.006), _along(R, 1), 0.13)
        return Grasp(p + (0, 0, -0.008), None, 0.13)  # a sphere taken above its middle slips away

    def after(self, hand: SimplerHand) -> Script:
        source, target, others = self._names(hand)
        goal, now, start = hand.object(target)[1], hand.object(source)[1], hand.position
        away = now[:2] - goal[:2]
        for other in others:
            gap = goal[:2] - hand.object(other)[1][:2]
            away = away / max(float(np.linalg.norm(away)), 1e-6) + 0.7 * gap / max(float(np.linalg.norm(gap)), 1e-6)
        away /= max(float(np.linalg.norm(away)), 1e-6)
        spot = goal[:2] + away * 0.115
        offset = start - now
        high = start[2] + 0.05  # nothing stands between source and spot; higher, the wrist comes to its limit
        yield from hand.move(np.array([*start[:2], high]), 0.02, 3.0, 0.05)
        yield from hand.move(np.array([*(spot + offset[:2]), high]), 0.012, 6.0)
        yield from hand.move(np.array([*(spot + offset[:2]), start[2] + 0.008]), 0.008, 4.0, 0.04)

    def leave(self, hand: SimplerHand) -> Script:
        yield from self.release(hand)
        yield from hand.wait(4)


EDGE = 0.07  # m from a drawer's origin to the upper edge of its front
HOOK = (
    (0.20, 0.17),
    (0.155, 0.13),
    (0.09, 0.072),
    (0.02, 0.034),
    (-0.004, 0.031),
    (-0.022, 0.012),
    (-0.026, -0.004),
)  # m, x and height
LEAN = {"top": 60.0, "middle": 50.0, "bottom": 45.0}  # degrees
CLOSE_LEAN = 30.0  # degrees
HOOK_Y, PUSH_Y = 0.13, 0.19  # m beside the drawer's middle
PULLED = 0.24  # m


class OpenDrawerOracle(SimplerOracle):
    """Hooks closed fingers over the front's upper edge and pulls (the handles have no collision shape)."""

    styles: ClassVar[tuple[str, ...]] = ("expert", "hesitation", "retry_miss", "failure")

    def script(self, hand: Any, styles: tuple[str, ...], rng: np.random.Generator) -> Script:
        if "failure" in styles:
            yield from self.fail(hand)
        if "retry_miss" in styles:
            yield from self.hook(hand, 4)
            hand.mistake()
            yield from hand.move(hand.position + (0.12, 0, 0.05), 0.03, 3.0)  # pulls above the edge
            hand.resume()
        yield from self.open(hand)
        while True:
            yield from hand.wait(1)

    def open(self, hand: SimplerHand) -> Script:
        """Hook the handle and pull, again where it slips."""
        for _ in range(4):
            yield from self.hook(hand, len(HOOK))
            yield from self.pull(hand)
            if float(hand.raw.opening()[0]) > PULLED - 0.05:
                return
            hand.mistake()
            yield from hand.move(hand.position + (0.1, 0, 0.1), 0.03, 3.0)
            hand.resume()

    def hook(self, hand: SimplerHand, waypoints: int) -> Script:
        """Bring the fingers behind the handle's edge, by `waypoints` points."""
        hand.grip = CLOSE
        hand.lean(LEAN[hand.raw.drawer])
        edge = float(hand.object(hand.raw.front)[1][2]) + EDGE
        out = float(hand.raw.opening()[0])
        if hand.position[2] > edge + 0.25:  # clear of the cabinet's top on the way down
            yield from hand.move(np.array([0.24, HOOK_Y, max(edge + 0.17, 0.98)]), 0.03, 8.0, settle=True)
        for k, (x, z) in enumerate(HOOK[:waypoints]):
            tolerance, speed = (0.008, 0.05) if k >= 3 else (0.025, None)
            yield from hand.move(np.array([x + out, HOOK_Y, edge + z]), tolerance, 3.0, speed)

    def pull(self, hand: SimplerHand) -> Script:
        """Pull until the drawer is open."""
        height = hand.position[2] - 0.02  # presses on the edge
        for _ in range(hand.steps(8.0)):
            if float(hand.raw.opening()[0]) >= PULLED:
                return
            x = hand.position[0] + 0.05
            yield hand.towards(np.array([x, HOOK_Y, height]), 0.05)


class CloseDrawerOracle(SimplerOracle):
    """Pushes the front with closed fingers."""

    styles: ClassVar[tuple[str, ...]] = ("expert", "hesitation", "retry_miss", "failure")

    def script(self, hand: Any, styles: tuple[str, ...], rng: np.random.Generator) -> Script:
        if "failure" in styles:
            yield from self.fail(hand)
        hand.grip = CLOSE
        hand.lean(CLOSE_LEAN)
        edge = float(hand.object(hand.raw.front)[1][2]) + EDGE
        yield from hand.move(np.array([0.33, PUSH_Y, 1.0]), 0.04, 8.0, settle=True)
        if "retry_miss" in styles:  # too high: over the edge
            yield from hand.move(np.array([0.32, PUSH_Y, edge + 0.10]), 0.03, 6.0)
            hand.mistake()
            yield from hand.move(np.array([0.20, PUSH_Y, edge + 0.10]), 0.03, 3.0)
            yield from hand.move(np.array([0.32, PUSH_Y, edge + 0.10]), 0.03, 3.0)
            hand.resume()
        yield from hand.move(np.array([0.315, PUSH_Y, edge - 0.025]), 0.02, 12.0)
        height = hand.position[2]
        while True:
            x = max(hand.position[0] - 0.05, 0.035)
            yield hand.towards(np.array([x, PUSH_Y, height]), 0.05)


class PlaceAppleOracle(Picker):
    """Opens the top drawer, asks for the second instruction, and drops the apple behind the front."""

    styles: ClassVar[tuple[str, ...]] = ("expert", "hesitation", "retry_miss", "retry_drop", "failure")

    def script(self, hand: Any, styles: tuple[str, ...], rng: np.random.Generator) -> Script:
        yield from OpenDrawerOracle.open(self, hand)  # type: ignore[arg-type]
        edge = float(hand.object(hand.raw.front)[1][2]) + EDGE
        yield from hand.move(hand.position + (0.01, 0, 0.06), 0.02, 3.0)
        yield from hand.move(np.array([0.15, HOOK_Y, edge + 0.18]), 0.03, 4.0)
        hand.env.advance()
        hand.wanted = hand.rest
        yield from hand.move(np.array([0.11, HOOK_Y, 1.06]), 0.03, 5.0, settle=True)
        yield from super().script(hand, styles, rng)

    hook = OpenDrawerOracle.hook
    pull = OpenDrawerOracle.pull

    def source(self, hand: SimplerHand) -> Any:
        return hand.raw.apple

    def grasp(self, hand: SimplerHand) -> Grasp:
        return Grasp(hand.object(hand.raw.apple)[1] + (0, 0, -0.006), None, 0.14)

    def after(self, hand: SimplerHand) -> Script:
        out = float(hand.raw.opening()[0])
        yield from hand.move(np.array([*hand.position[:2], 1.0]), 0.025, 4.0, 0.05)
        spot = np.array([out - 0.09, 0.02, 1.0])
        yield from hand.move(spot, 0.02, 6.0, 0.05)
        yield from hand.move(np.array([*spot[:2], 0.865]), 0.015, 5.0, 0.04)

    def leave(self, hand: SimplerHand) -> Script:
        yield from hand.set_grip(OPEN, 5)
        yield from hand.wait(4)


@dataclass(frozen=True)
class BridgePlan:
    """How a WidowX task's source is taken and put down, metres."""

    deeper: float  # of the finger tips against the object's origin
    lift: float
    above: float  # of the finger tips over the target when they open
    along: float = 0.0  # from the object's origin along its x axis
    turn: bool = True  # across the object's x axis


class BridgeOracle(Picker):
    """Takes the source from above and puts it onto the target."""

    plan: ClassVar[BridgePlan]

    def source(self, hand: SimplerHand) -> Any:
        return hand.raw.objs[hand.raw.source_obj_name]

    def grasp(self, hand: SimplerHand) -> Grasp:
        R, p = hand.object(self.source(hand))
        spot = p + self.plan.along * R[:, 0] * (1, 1, 0) + (0, 0, self.plan.deeper)
        return Grasp(spot, _along(R, 0), 0.06)

    def after(self, hand: SimplerHand) -> Script:
        goal = hand.object(hand.raw.objs[hand.raw.target_obj_name])[1]
        high = hand.position[2] + self.plan.lift
        yield from hand.move(np.array([*hand.position[:2], high]), 0.01, 2.0)
        offset = hand.position - hand.object(self.source(hand))[1]
        spot = goal[:2] + offset[:2]
        yield from hand.move(np.array([*spot, high]), 0.01, 4.0)
        yield from hand.move(np.array([*spot, goal[2] + self.plan.above]), 0.006, 3.0, 0.03)

    def leave(self, hand: SimplerHand) -> Script:
        yield from hand.set_grip(OPEN, 3)
        yield from hand.move(hand.position + (0, 0, 0.06), 0.02, 1.5)
        yield from hand.wait(2)


def _bridge(name: str, plan: BridgePlan) -> type[BridgeOracle]:
    return type(name, (BridgeOracle,), {"plan": plan, "__doc__": BridgeOracle.__doc__})


ORACLES: dict[str, type[SimplerOracle]] = {
    "pick_coke_can": PickCokeCanOracle,
    "move_near": MoveNearOracle,
    **{f"open_{drawer}_drawer": OpenDrawerOracle for drawer in LEAN},
    **{f"close_{drawer}_drawer": CloseDrawerOracle for drawer in LEAN},
    "place_apple": PlaceAppleOracle,
    "widowx_spoon_on_towel": _bridge("SpoonOracle", BridgePlan(0.011, 0.08, 0.03, along=-0.045)),
    "widowx_carrot_on_plate": _bridge("CarrotOracle", BridgePlan(-0.002, 0.08, 0.035)),
    "widowx_stack_cube": _bridge("CubeOracle", BridgePlan(0.0, 0.09, 0.034)),
    "widowx_eggplant_in_basket": _bridge("EggplantOracle", BridgePlan(0.0, 0.19, 0.12)),
}


def oracle(envs: Sequence[Any], mix: OracleMix | None = None) -> SimplerOracle:
    """The oracle of the environments' task."""
    return ORACLES[envs[0].unwrapped.task.name](envs, mix)
