"""The arms of the reward-shaping study: what is read, and how it becomes reward."""

from __future__ import annotations

from dataclasses import dataclass

from valuefns.shaping.terms import ShapingConfig


@dataclass(frozen=True)
class Reward:
    """One way to reward; `source` is value, progress, dense, clock, shuffled, or empty."""

    name: str
    source: str
    kind: str
    what: str


ARMS = {
    arm.name: arm
    for arm in (
        Reward("sparse", "", "none", "1 at success"),
        Reward("dense", "dense", "raw", "the task's hand-made dense reward less 1, so that finishing is best"),
        Reward("oracle", "progress", "potential", "potential of the simulator's progress (privileged)"),
        Reward("value", "value", "potential", "potential of the learned value"),
        Reward("value_delta", "value", "delta", "gain of the learned value, without gamma"),
        Reward("value_raw", "value", "raw", "the learned value itself at every step"),
        Reward("value_gated", "value", "gated", "the learned value where it claims success"),
        Reward("shuffled", "shuffled", "potential", "potential of values drawn at random"),
        Reward("clock", "clock", "potential", "potential of t / T"),
    )
}


def shaping(arm: Reward, gamma: float, every: int, low: float, high: float, claim: float) -> ShapingConfig:
    """The arm's settings; low, high and claim are the learned value's scale and its threshold of success."""
    if arm.source == "dense":  # in [-1, 0], its discounted sum at most 1: the size of the reward of a success
        return ShapingConfig(arm.kind, gamma, weight=1 - gamma, low=1.0, high=2.0, every=1)
    if arm.source in ("value", "shuffled"):
        gate = (claim - low) / (high - low)
        return ShapingConfig(arm.kind, gamma, low=low, high=high, gate=gate, every=every)
    return ShapingConfig(arm.kind, gamma, every=every)
