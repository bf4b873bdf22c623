"""The hand that SIMPLER's scripted oracles move: both robots, in the world's frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from envs.oracles.base import CRUISE

Array = npt.NDArray[np.float64]
Script = Iterator[Array]

STRIDE = {"google": 0.08, "widowx": 0.05}  # m, the longest step of the fastest hand
TURN = {"google": 0.3, "widowx": 0.3}  # rad per step
TILTS = np.radians([0.0, 6.0, 12.0, 18.0, 24.0, 32.0, 40.0, 50.0])  # tried where the wrist would meet its limit
WRIST = 5  # of the Google robot's joints: bent far wherever the hand is high or far out
MARGIN = (
    0.06  # rad, from the joints' limits: beyond them the original's kinematics find nothing and the arm stands still
)
OPEN, CLOSE = "open", "close"


class SimplerHand:
    """Where the hand is, how to move it, and the label of what it does (as `envs.oracles.base.Hand`).

    The Google robot's actions count from the sensed pose, WidowX's from the last target, so that `pose` is what an
    action counts from and `position` where the hand is.
    """

    def __init__(self, env: Any, speed: float, rng: np.random.Generator) -> None:
        self.env, self.rng, self.robot = env, rng, env.task.robot
        self.speed = speed / CRUISE * STRIDE[self.robot]
        self.hz, self.label, self.grip = env.task.hz, "advance", OPEN
        self._commanded = OPEN
        R, _ = self.sensed()
        self.rest: Array = R  # orientation (3, 3) at the start
        self.wanted: Array = R
        self.aim: Array = R  # `wanted`, tilted where the arm cannot reach it

    @property
    def raw(self) -> Any:
        """The raw ManiSkill environment."""
        return self.env.raw

    def sensed(self) -> tuple[Array, Array]:
        """Rotation (3, 3) and position (3,) of the finger tips, world frame."""
        pose = self.raw.agent.tip.pose.sp
        return Rotation.from_quat(np.roll(pose.q, -1)).as_matrix(), np.array(pose.p, np.float64)

    @property
    def position(self) -> Array:
        """Position of the finger tips (3,) m, world frame."""
        return self.sensed()[1]

    def pose(self) -> tuple[Array, Array]:
        """What the next action counts from, world frame."""
        arm = self.raw.agent.controller.controllers["arm"]
        if self.robot == "google" or arm._fresh[0]:
            return self.sensed()
        base_R, base_p = self.base()
        R, p = arm._target
        return base_R @ R[0], base_p + base_R @ p[0]

    def base(self) -> tuple[Array, Array]:
        """Rotation (3, 3) and position (3,) of the robot's base, world frame."""
        pose = self.raw.agent.robot.pose.sp
        return Rotation.from_quat(np.roll(pose.q, -1)).as_matrix(), np.array(pose.p, np.float64)

    def object(self, actor: Any) -> tuple[Array, Array]:
        """Rotation and position of an actor or link, world frame."""
        pose = actor.pose.sp
        return Rotation.from_quat(np.roll(pose.q, -1)).as_matrix(), np.array(pose.p, np.float64)

    def steps(self, seconds: float) -> int:
        """Control steps in so many seconds."""
        return max(1, round(seconds * self.hz))

    def gripper(self) -> float:
        """The gripper's command: a position, or a change only when the wish changes."""
        if self.env.gripper == "position":
            close = self.env.spec_.gripper_close
            return -close if self.grip == OPEN else close
        if self.grip == self._commanded:
            return 0.0
        self._commanded = self.grip
        return 1.0 if self.grip == CLOSE else -1.0

    def towards(self, target: Array, speed: float | None = None) -> Array:
        """One action (7,) of at most `speed` metres towards `target`, turning to `wanted` as far as the arm can."""
        R, p = self.pose()
        base, _ = self.base()
        move = base.T @ (np.asarray(target) - p)
        limit = self.speed if speed is None else speed
        move *= min(1.0, limit / max(float(np.linalg.norm(move)), 1e-9))
        self.aim = self.wanted
        turn = self._turn(R, base)
        if self.robot == "google":
            turn = self._within_reach(R, move, turn, base)
        return np.concatenate([move, turn, [self.gripper()]])

    def _turn(self, R: Array, base: Array) -> Array:
        """Rotation vector (3,) from R to `aim` in the base's axes, at most TURN long."""
        turn = Rotation.from_matrix(base.T @ self.aim @ R.T @ base).as_rotvec()
        return np.asarray(turn * min(1.0, TURN[self.robot] / max(float(np.linalg.norm(turn)), 1e-9)))

    def _within_reach(self, R: Array, move: Array, turn: Array, base: Array) -> Array:
        """`turn`, or that to the least tilt of `wanted` about the wrist's axis which spares the wrist its limit."""
        arm = self.raw.agent.controller.controllers["arm"]
        n = len(arm.chain.names)
        q = arm._numpy_qpos()[:1, :n]
        now, p = arm.chain.forward(q)

        def margins(turns: Array) -> Array:
            goals = Rotation.from_rotvec(turns).as_matrix() @ now
            start = np.repeat(q, len(turns), axis=0)
            found, reached = arm.chain.inverse(goals, np.repeat(p + move, len(turns), axis=0), start)
            room = np.minimum(found - arm.low[:n], arm.high[:n] - found).min(axis=1)
            return np.where(reached, room, -1.0)

        if margins(turn[None])[0] >= MARGIN:
            return turn
        axis = base @ arm.chain.axes(q)[0, WRIST] * -np.sign(q[0, WRIST])
        turns, aims = [], []
        for tilt in TILTS:
            self.aim = Rotation.from_rotvec(tilt * axis).as_matrix() @ self.wanted
            aims.append(self.aim)
            turns.append(self._turn(R, base))
        room = margins(np.stack(turns))
        best = int(np.argmax(room >= MARGIN)) if (room >= MARGIN).any() else int(np.argmax(room))
        self.aim = aims[best]
        return turns[best]

    def turned(self) -> float:
        """Angle (rad) that is missing to `aim`."""
        return float(Rotation.from_matrix(self.aim @ self.sensed()[0].T).magnitude())

    def move(
        self,
        target: Array | Callable[[], Array],
        tolerance: float,
        seconds: float,
        speed: float | None = None,
        settle: bool = False,
    ) -> Script:
        """Go to the target (m; a function for a moving one) until within tolerance, or out of time."""
        for _ in range(self.steps(seconds)):
            goal = target() if callable(target) else target
            if np.linalg.norm(goal - self.position) < tolerance and (not settle or self.turned() < 0.12):
                return
            yield self.towards(goal, speed)

    def wait(self, steps: int) -> Script:
        """Hold the present pose."""
        anchor = self.position if self.robot == "google" else self.pose()[1]
        for _ in range(steps):
            yield self.towards(anchor)

    def set_grip(self, value: str, steps: int) -> Script:
        """Open or close, and wait until it has happened."""
        self.grip = value
        yield from self.wait(steps)

    def mistake(self, label: str = "retry") -> None:
        """Label what follows as a mistake."""
        self.label = label

    def resume(self) -> None:
        """Label what follows as advance."""
        self.label = "advance"

    def close_along(self, direction: Array | None) -> None:
        """Turn so that the fingers close along a horizontal direction (2,), either way, or as at the start (None)."""
        if direction is None:
            self.wanted = self.rest
            return
        angle = float(np.arctan2(direction[1], direction[0]))
        if self.robot == "widowx":
            now = self.rest[:, 1]
            turn = _nearest(angle - float(np.arctan2(now[1], now[0])))
            down = np.array([0.0, 0.0, -1.0])
            y = Rotation.from_euler("z", turn).apply(np.array([now[0], now[1], 0.0]) / np.linalg.norm(now[:2]))
            self.wanted = np.stack([down, y, np.cross(down, y)], axis=1)
            return
        now = self.rest[:, 1]
        turn = _nearest(angle - float(np.arctan2(now[1], now[0])))
        self.wanted = Rotation.from_euler("z", turn).as_matrix() @ self.rest

    def lean(self, degrees: float) -> None:
        """Point the Google robot's fingers down and, by `degrees`, towards -x; they close in that plane."""
        a = np.radians(degrees)
        z = np.array([-np.sin(a), 0.0, -np.cos(a)])
        y = np.array([np.cos(a), 0.0, -np.sin(a)])
        self.wanted = np.stack([np.cross(y, z), y, z], axis=1)


def _nearest(angle: float) -> float:
    """The angle modulo half a turn that is nearest to 0: fingers close either way round."""
    return (angle + np.pi / 2) % np.pi - np.pi / 2
