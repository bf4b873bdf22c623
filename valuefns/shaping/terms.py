"""The reward terms made from a value, and when it must be read: numpy only, n environments at once."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
import numpy.typing as npt

from episodes.settings import require, require_one_of

KINDS = ("none", "potential", "delta", "raw", "gated")

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass
class ShapingConfig:
    """How a value becomes reward. Phi = (v - low) / (high - low); see `matched` for low and high."""

    kind: str = "potential"  # none, potential, delta, raw, gated: the functions below
    gamma: float = 0.99  # the agent's own discount; another one breaks the invariance of `potential`
    weight: float = 1.0  # of the term, beside the environment's reward
    low: float = 0.0  # value that becomes Phi = 0
    high: float = 1.0  # value that becomes Phi = 1, the environment's reward of a success
    gate: float = 1.0  # gated: Phi from which the value counts
    every: int = 1  # control steps from one reading of the value to the next; in between it is held

    def __post_init__(self) -> None:
        require_one_of(self, kind=KINDS)
        require(self, gamma=(0, 1), weight=(0, inf), every=(1, inf), low=(-inf, inf), high=(-inf, inf))
        require(self, gate=(-inf, inf))
        if not self.high > self.low:
            raise ValueError(f"ShapingConfig: low={self.low}, high={self.high}; high must be above low")


def potential(gamma: float, phi: Floats, phi_next: Floats, terminated: Bools) -> Floats:
    """F = gamma Phi(s') - Phi(s), where Phi(s') = 0 if s' is terminal: leaves every optimal policy as it was.

    phi, phi_next, terminated (n,). At a truncation Phi(s') is kept, because the agent bootstraps there: with F its
    value of a state is V(s) - Phi(s), so gamma (V(s') - Phi(s')) + gamma Phi(s') adds up to gamma V(s'). Over an
    episode the terms telescope: sum_t gamma^t F_t = gamma^T Phi(s_T) - Phi(s_0), whatever Phi did in between.
    Source: Ng, Harada and Russell (1999), theorem 1; terminal states: Grzes (2017), section 3.
    """
    return gamma * np.where(terminated, 0.0, phi_next) - phi


def delta(phi: Floats, phi_next: Floats) -> Floats:
    """F = Phi(s') - Phi(s): the gain of value as people often use it, without gamma and with Phi of terminal states.

    For gamma < 1 it changes which policy is optimal: to rise and fall again pays (1 - gamma) of the rise each time.
    """
    return phi_next - phi


def raw(phi_next: Floats) -> Floats:
    """F = Phi(s'): the value itself at every step. Staying where it is high pays more than finishing."""
    return phi_next


def gated(phi_next: Floats, gate: float) -> Floats:
    """F = Phi(s') where Phi(s') >= gate, else 0: only what the MODEL takes for success counts.

    The simulator has no part in it; where the model is wrong, the agent is paid for nothing (the hack rate counts it).
    """
    return np.where(phi_next >= gate, phi_next, 0.0)


def matched(starts: npt.ArrayLike, ends: npt.ArrayLike) -> tuple[float, float]:
    """The scale (low, high) that brings values of any unit to the environment's: means over reference episodes.

    low = mean value of first observations, high = mean value of the last observations of successes, so that Phi rises
    from 0 to 1, the reward of a success. Errors: no reference, or one that does not rise, is a ValueError.
    """
    first, last = np.asarray(starts, np.float64), np.asarray(ends, np.float64)
    if not first.size or not last.size:
        raise ValueError(f"matched: {first.size} starts and {last.size} successful ends; record some successes first")
    low, high = float(first.mean()), float(last.mean())
    if not high > low:
        raise ValueError(
            f"matched: the value is {low:.3g} at the start and {high:.3g} at the end of successes; it must rise "
            "to reward progress, train it longer"
        )
    return low, high


class Shaper:
    """Adds the term of a value to the rewards of n environments and says when the value must be read.

    Usage: `begin(mask, values)` with the values of first observations; then for every step `asks(terminated)` says
    which slots need a value of the observation reached, and `step(rewards, values, terminated, active)` gives the new
    rewards. Values of slots that were not asked are ignored: theirs are held. A held potential is a potential too (of
    the steps since the last reading), and it is the same number as Phi(s') of one step and Phi(s) of the next, so the
    sum still telescopes exactly. ValueError: a value that is not finite.
    """

    def __init__(self, config: ShapingConfig, n: int) -> None:
        self.config = config
        self.phi = np.zeros(n)
        self.clock = np.zeros(n, np.int64)  # control steps since the episode began

    @property
    def reads(self) -> bool:
        """Whether any value is read at all."""
        return self.config.kind != "none" and self.config.weight > 0

    @property
    def reads_terminal(self) -> bool:
        """Whether the value of a terminal observation matters: a potential is 0 there."""
        return self.reads and self.config.kind != "potential"

    def begin(self, mask: Bools, values: Floats) -> None:
        """New episodes in the slots of mask (n,), with the values (n,) of their first observations."""
        self.clock[mask] = 0
        if self.reads:
            self.phi[mask] = self._phi(values, mask)[mask]

    def asks(self, terminated: Bools) -> Bools:
        """The slots (n,) whose observation after the coming `step` must be read; terminated (n,) is that step's."""
        if not self.reads:
            return np.zeros(len(self.phi), bool)
        due = (self.clock + 1) % self.config.every == 0
        return due | terminated if self.reads_terminal else due & ~terminated

    def step(self, rewards: Floats, values: Floats, terminated: Bools, active: Bools | None = None) -> Floats:
        """Rewards (n,) with the weighted term; slots outside `active` (n,) made no step and keep theirs."""
        active = np.ones(len(self.phi), bool) if active is None else active
        if not self.reads:
            return np.asarray(rewards, np.float64)
        asked = self.asks(terminated) & active
        reached = np.where(asked, self._phi(values, asked), self.phi)
        term = self.config.weight * self._term(reached, terminated)
        self.phi = np.where(active, reached, self.phi)
        self.clock += active
        return np.where(active, rewards + term, rewards)

    def _term(self, reached: Floats, terminated: Bools) -> Floats:
        config = self.config
        if config.kind == "potential":
            return potential(config.gamma, self.phi, reached, terminated)
        if config.kind == "delta":
            return delta(self.phi, reached)
        return raw(reached) if config.kind == "raw" else gated(reached, config.gate)

    def _phi(self, values: Floats, asked: Bools) -> Floats:
        values = np.asarray(values, np.float64)
        bad = np.flatnonzero(asked & ~np.isfinite(values))
        if bad.size:
            raise ValueError(
                f"shaping: the value of environment {bad[0]} is {values[bad[0]]} {self.clock[bad[0]]} steps into its "
                "episode; a reward must be finite, check the value model and its input"
            )
        return (values - self.config.low) / (self.config.high - self.config.low)
