"""What scripted oracles share: a hand to move, hesitations at any moment, and labels of what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from envs.oracles.mix import STYLES, OracleMix
from envs.tasks.base import grip_position, grip_rotation
from episodes.types import SEGMENTS, Observation

Action = npt.NDArray[np.float64]
Script = Iterator[Action]
_STREAM = 0x0A  # keeps the oracle's draws apart from the environment's draws of the same seed
OPEN, CLOSE = -1.0, 1.0
CRUISE = 0.65  # longest position action of the fastest hand; 1 would be robosuite's limit of 0.05 m per step


class Hand:
    """The gripper of one environment as a script sees it: where it is, how to move it, and the current label.

    `slowness` stretches every duration; with the speed divided by it the whole episode is that much slower.
    """

    def __init__(self, env: Any, speed: float, rng: np.random.Generator, slowness: float = 1.0) -> None:
        self.env, self.raw, self.speed, self.rng = env, env.raw, speed, rng
        self.slowness = slowness
        self.hz = float(env.spec_.hz)
        self.grip, self.label = OPEN, "advance"
        x, y = grip_rotation(self.raw)[:2, 0]
        self.angle = float(np.arctan2(y, x))  # direction of the axis between the fingers, to be kept
        self.off_level: npt.NDArray[np.float64] | None = None  # (3, 3) rotation of the wanted pose

    @property
    def position(self) -> npt.NDArray[np.float64]:
        """The grip's position (3,) m, world frame."""
        return grip_position(self.raw)

    def progress(self) -> float:
        """The task's staged progress in [0, 1]."""
        return float(self.env.task.progress(self.raw))

    def lean(self, sigma: float) -> None:
        """Keep the hand off level by a random angle (rad) for the episode.

        The controller lags in a moving hand and tilts it by milliradians: of a level one, the pose tells whether it
        stands still.
        """
        a, b = self.rng.normal(0.0, sigma, 2)
        about_x = np.array([[1.0, 0.0, 0.0], [0.0, np.cos(a), -np.sin(a)], [0.0, np.sin(a), np.cos(a)]])
        about_y = np.array([[np.cos(b), 0.0, np.sin(b)], [0.0, 1.0, 0.0], [-np.sin(b), 0.0, np.cos(b)]])
        self.off_level = about_x @ about_y

    def steps(self, seconds: float) -> int:
        """Control steps in so many seconds, at this hand's pace."""
        return max(1, round(seconds * self.hz * self.slowness))

    def towards(self, target: npt.NDArray[np.float64], speed: float | None = None) -> Action:
        """2 error / full scale in position, at most `speed` long, plus the turn to a level hand at `angle`."""
        move = 2.0 * (target - self.position) / 0.05
        limit = self.speed if speed is None else speed
        move *= limit / max(limit, float(np.linalg.norm(move)))
        c, s = np.cos(self.angle), np.sin(self.angle)
        wanted = np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])
        if self.off_level is not None:
            wanted = self.off_level @ wanted
        turn = np.clip(2.0 * rotation_vector(wanted @ grip_rotation(self.raw).T) / 0.5, -1.0, 1.0)
        return np.concatenate([move, turn, [self.grip]])

    def move(
        self, target: Any, tolerance: float, seconds: float, speed: float | None = None, settle: bool = False
    ) -> Script:
        """Go to target (an array, or a function of nothing for a moving one) until within tolerance (m) or out of time.

        `settle` also waits for the wrist to turn to within 6 degrees.
        """
        for _ in range(self.steps(seconds)):
            goal = target() if callable(target) else target
            action = self.towards(goal, speed)
            turned = not settle or np.abs(action[3:6]).max() < 0.4
            if np.linalg.norm(goal - self.position) < tolerance and turned:
                return
            yield action

    def wait(self, steps: int) -> Script:
        """Hold the present pose for some steps."""
        anchor = self.position
        for _ in range(steps):
            yield self.towards(anchor)

    def set_grip(self, value: float, steps: int) -> Script:
        """Open or close, and wait until it has happened."""
        self.grip = value
        yield from self.wait(steps)

    def mistake(self, label: str = "retry") -> None:
        """The erroneous move begins here and lasts until `resume`: the stretch on which WVM's annotated value falls."""
        self.label = label

    def resume(self) -> None:
        """The erroneous move is over; what follows makes up for it and advances again."""
        self.label = "advance"


def rotation_vector(R: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Axis times angle (3,) rad of a rotation matrix, for angles below pi."""
    axis = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    sine = float(np.linalg.norm(axis)) / 2.0
    angle = float(np.arctan2(sine, (np.trace(R) - 1.0) / 2.0))
    return axis / (2.0 * sine) * angle if sine > 1e-9 else np.zeros(3)


def hesitate(hand: Hand, steps: int) -> Script:
    """Stand still or drift up to 2.5 cm away and back, from wherever the hand is; never down, there may be a table."""
    anchor, rng = hand.position, hand.rng
    drift = np.zeros(3)
    if rng.random() < 0.5:
        drift = rng.normal(size=3)
        drift[2] = abs(drift[2]) * 0.5
        drift *= rng.uniform(0.006, 0.025) / np.linalg.norm(drift)
    cycles = rng.integers(1, 3)
    for k in range(steps):
        yield hand.towards(anchor + drift * abs(np.sin(np.pi * cycles * (k + 1) / steps)), speed=0.5 * hand.speed)


class Slot:
    """One episode in progress: the script, and the moments at which a hesitation interrupts it."""

    def __init__(self, oracle: ScriptedOracle, env: Any, seed: int) -> None:
        self.rng = np.random.default_rng([seed, _STREAM])
        self.styles = oracle.mix.sample(self.rng)
        retries = sum(style.startswith("retry") or style == "wrong_object" for style in self.styles)
        scale = self.rng.uniform(0.6 + 0.2 * retries, 1.0) * (1.0 + 0.2 * (len(self.styles) - 1))  # to end in time
        self.hand = oracle.hand(env, CRUISE * scale, self.rng)
        self.script = oracle.script(self.hand, self.styles, self.rng)
        self.pauses: dict[int, int] = {}  # step of the script -> length in steps
        if "hesitation" in self.styles:
            for k in range(1 if retries else self.rng.integers(1, 4)):
                onset = self.hand.steps(self.rng.uniform(0.1, oracle.span(self.hand, retries, k)))
                self.pauses[onset] = self.hand.steps(self.rng.uniform(0.7, 1.4 if retries else 2.2))
        self.count = 0
        self.pause: Script | None = None

    def next(self) -> tuple[Action, str]:
        """The next action (7,) and its segment label."""
        if self.pause is None and self.count in self.pauses:
            self.pause = hesitate(self.hand, self.pauses.pop(self.count))
        if self.pause is not None:
            action = next(self.pause, None)
            if action is not None:
                return action, "failure" if self.hand.label == "failure" else "hesitation"
            self.pause = None
        self.count += 1
        action = next(self.script, None)
        assert action is not None, "a script goes on until the episode ends"
        return action, self.hand.label


class ScriptedOracle:
    """An Actor (see episodes.actor) that reads the state of the environment bound to each slot, not the observation.

    After `act`, `labels` (n,) int8 holds the segment (index into SEGMENTS) of each slot's action; `variants` names each
    slot's styles, such as "hesitation+retry_miss". Every draw comes from the slot's seed. Subclasses write `script`.
    ValueError: a mix with a style that is not in `styles`.
    """

    execute = 1
    hand: ClassVar[type[Any]] = Hand  # what a script moves
    styles: ClassVar[tuple[str, ...]] = tuple(style for style in STYLES if style != "wrong_object")  # of `script`

    def __init__(self, envs: Sequence[Any], mix: OracleMix | None = None) -> None:
        self.envs = [env.unwrapped for env in envs]
        self.mix = OracleMix() if mix is None else mix
        for style in STYLES:
            share = getattr(self.mix, style)
            if share > 0 and style not in self.styles:
                raise ValueError(f"OracleMix: {style}={share:g}: {type(self).__name__} cannot do it; set it to 0")
        self._slots: list[Slot | None] = [None] * len(self.envs)
        self.labels: npt.NDArray[np.int8] = np.full(len(self.envs), SEGMENTS.index("unlabelled"), np.int8)
        self.variants = [""] * len(self.envs)

    def script(self, hand: Hand, styles: tuple[str, ...], rng: np.random.Generator) -> Script:
        """Yield one action (7,) per step without end; mistakes are announced to `hand`.

        Beside those of OracleMix there are the styles "failure_drop" and, in scenes of several objects,
        "failure_wrong_object": one kind of failure each.
        """
        raise NotImplementedError

    def span(self, hand: Hand, retries: int, k: int) -> float:
        """Seconds of the script over which the onset of the k-th hesitation is spread.

        For the poses not to tell, that is the whole of an expert's time; for k = 0 a little less, lest there be none.
        """
        return 3.5 + retries

    def slot(self, env: Any, seed: int) -> Slot:
        """One episode to come; a subclass may plan it in another way."""
        return Slot(self, env, seed)

    def reset(self, mask: npt.NDArray[np.bool_], seeds: npt.NDArray[np.int64], instructions: Sequence[str]) -> None:
        """Begin new episodes in the slots of `mask`; their environments must already have been reset."""
        for i in np.flatnonzero(mask):
            slot = self.slot(self.envs[i], int(seeds[i]))
            self._slots[i], self.variants[i] = slot, "+".join(slot.styles)

    def act(self, observations: Sequence[Observation | None]) -> npt.NDArray[np.float32]:
        """The next action of each slot, float32 (n, 1, 7); a slot given None stands still and is not advanced."""
        actions = np.zeros((len(self.envs), 1, 7), np.float32)
        for i, observation in enumerate(observations):
            if observation is None:
                continue
            slot = self._slots[i]
            assert slot is not None, f"slot {i} was not reset"
            action, label = slot.next()
            actions[i, 0] = np.clip(action, -1.0, 1.0)
            self.labels[i] = SEGMENTS.index(label)
        return actions
