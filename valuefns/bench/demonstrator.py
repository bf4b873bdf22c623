"""The scripted demonstrator at the benchmark's pace: one mistake an episode, planned from its seed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from envs.oracles.base import CRUISE, Hand, Script, Slot
from envs.oracles.mix import OracleMix
from envs.robosuite_env import RoboSuiteEnv
from valuefns.bench.plan import BenchConfig, Pace, trial_of

_STREAM = 0x5B  # keeps these draws apart from the oracle's own of the same seed
RETRIES = ("retry_miss", "retry_drop")
FAILURES = {"drop": "failure_drop", "wrong_object": "failure_wrong_object"}


class PacedHand(Hand):
    """A hand that is slow except in retries, whose many waits at the slow pace would outlast the rest of the episode.

    WVM's truth has none for those: it assumes a retraction as fast as the advance, made up for within the episode.
    """

    def __init__(self, env: Any, speed: float, rng: np.random.Generator, pace: Pace) -> None:
        super().__init__(env, speed, rng)
        self.pace, self.full_speed = pace, speed
        self.resume()

    def mistake(self, label: str = "retry") -> None:
        super().mistake(label)
        if label == "retry":
            self._slow_down(max(1.0, self.pace.slowness * self.pace.retry))

    def resume(self) -> None:
        super().resume()
        self._slow_down(self.pace.slowness)

    def _slow_down(self, slowness: float) -> None:
        self.slowness, self.speed = slowness, self.full_speed / slowness


class BenchSlot(Slot):
    """One episode whose group is in its seed; a hesitation is a single pause of a planned share of the episode.

    With s the share, drawn uniformly, and E the expert's time, the pause lasts E s / (1 - s) and begins at a uniform
    moment of E. What came out is measured afterwards: a plan need not come true.
    """

    def __init__(self, oracle: Any, env: Any, seed: int, config: BenchConfig) -> None:
        _, task, group, k = trial_of(seed)
        pace = config.pace[task]
        self.rng = rng = np.random.default_rng([seed, _STREAM])
        style = FAILURES.get(group, RETRIES[k % 2] if group == "retry" else group)
        self.styles = (style,)
        self.hand = PacedHand(env, CRUISE * rng.uniform(0.85, 1.0), rng, pace)
        self.pauses: dict[int, int] = {}
        if group == "hesitation":
            share, steps = rng.uniform(*config.hesitation_share), pace.seconds * self.hand.hz
            self.pauses[max(1, round(rng.uniform(0.02, 0.95) * steps))] = max(3, round(steps * share / (1 - share)))
        self.script = oracle.script(self.hand, self.styles, rng)
        self.count = 0
        self.pause: Script | None = None


def make_demonstrator(config: BenchConfig, envs: Sequence[Any]) -> Any:
    """The task's oracle with BenchSlots; an Actor for `record`."""
    base = import_module(f"envs.oracles.{envs[0].unwrapped.task.name}").ORACLE

    class Demonstrator(base):  # type: ignore[misc, valid-type]
        def slot(self, env: Any, seed: int) -> Slot:
            return BenchSlot(self, env, seed, config)

    return Demonstrator(envs, OracleMix.only("expert"))


def make_bench_env(config: BenchConfig, task: str, max_steps: int) -> RoboSuiteEnv:
    """The environment of one of the bench's tasks, with the bench's cameras and rate."""
    return RoboSuiteEnv(
        task,
        image_size=config.image_size,
        cameras=tuple(config.cameras),
        hz=config.hz,
        max_steps=max_steps,
        hold_steps=config.hold_steps,
    )
