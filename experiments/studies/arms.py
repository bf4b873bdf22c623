"""An arm: one way to make and test a policy, named once for cells, folders and tables."""

from __future__ import annotations

from dataclasses import dataclass

from episodes.labels import NEGATIVE, NULL

TOKENS = {"negative": NEGATIVE, "none": NULL}
"""Tokens that a policy of RECAP can act with in place of its own, the positive one (controls)."""


@dataclass(frozen=True)
class Arm:
    """A method, the value it reads, what is done to its labels, and the token it acts with."""

    method: str
    value: str = ""  # its name; empty: the method reads none
    iterations: int = 1  # more add the policy's own rollouts
    corrections: bool = False  # in those, the scripted oracle takes over from a policy that has stalled
    shuffled: bool = False  # control: the labels permuted within each phase
    token: str = ""  # control: negative or none; the policy is that of the arm without it
    rollouts_of: str = ""  # control: trained once, on all that the last iteration of this method had read

    @property
    def name(self) -> str:
        """The arm in files and tables, for example recap+viva@2+corrections."""
        parts = [self.method, self.value, "shuffled" if self.shuffled else "", self.token]
        later = f"@{self.iterations}" if self.iterations > 1 else ""
        rollouts = f"+rollouts_of_{self.rollouts_of}" if self.rollouts_of else ""
        return "+".join(filter(None, parts)) + later + ("+corrections" if self.corrections else "") + rollouts
