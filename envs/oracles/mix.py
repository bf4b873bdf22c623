"""Which mistakes a scripted demonstrator makes, and how often."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

STYLES = ("expert", "hesitation", "retry_miss", "retry_drop", "failure", "wrong_object")


@dataclass
class OracleMix:
    """Probabilities of the styles of an episode, summing to 1, and of a second style in a degraded one.

    The defaults degrade 58 % of the episodes, in the shares .25 hesitation, .30 miss, .15 drop and .30 failure.
    `wrong_object` comes last and is never a second style: at 0 it changes no draw of the others.
    """

    expert: float = 0.42
    hesitation: float = 0.145  # stops or drifts for a while
    retry_miss: float = 0.174  # closes the gripper beside the object, then tries again
    retry_drop: float = 0.087  # lets the object go below the success height, then grasps it again
    failure: float = 0.174  # never succeeds
    wrong_object: float = 0.0  # takes the other object, or puts it in the wrong place; corrected or not
    combine: float = 0.25  # probability that a degraded episode has a second style

    def __post_init__(self) -> None:
        for f in fields(self):
            if not 0.0 <= getattr(self, f.name) <= 1.0:
                raise ValueError(f"OracleMix: {f.name}={getattr(self, f.name)}; a probability must be from 0 to 1")
        total = sum(getattr(self, style) for style in STYLES)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"OracleMix: {', '.join(STYLES)} sum to {total:g}, expected 1")

    @classmethod
    def only(cls, style: str) -> OracleMix:
        """The mix whose every episode has this one style."""
        if style not in STYLES:
            raise ValueError(f"style {style!r}: choose one of {', '.join(STYLES)}")
        return cls(**{name: float(name == style) for name in STYLES}, combine=0.0)

    def sample(self, rng: np.random.Generator) -> tuple[str, ...]:
        """Styles of one episode, ("expert",) or one or two of the degraded ones, in the order of STYLES."""
        p = np.array([getattr(self, style) for style in STYLES])
        chosen = {STYLES[rng.choice(len(STYLES), p=p / p.sum())]}
        if "expert" not in chosen and rng.random() < self.combine:
            others = [s for s in ("hesitation", "retry_miss", "retry_drop") if s not in chosen]
            if "failure" in chosen:  # it comes before the first proper grasp
                others.remove("retry_drop")
            chosen.add(others[rng.integers(len(others))])
        return tuple(style for style in STYLES if style in chosen)
