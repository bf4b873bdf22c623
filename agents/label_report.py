"""What labels do to a store: how much of every segment, phase and outcome a policy gets to learn from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.phases import PHASES, Phase, of_steps
from episodes.labels import POSITIVE, Labels
from episodes.store import Episodes
from episodes.types import SEGMENTS

STARVED = 0.5
"""A phase of the successes whose mean weight is below this share of their mean is starved."""
FEW = 30
"""Steps below which a phase is too small to speak of."""


@dataclass(frozen=True)
class Share:
    """One line of the report: the steps of one group under one set of labels."""

    labels: str
    by: str  # all, outcome, segment, or phase (of the successes alone)
    group: str
    steps: int
    kept: float  # share of steps with more than half the mean weight; for indicators, the positive ones
    weight: float  # mean weight, that of all steps being 1
    effective: float  # (sum w)^2 / (n sum w^2): the share of the steps that as many equally weighted ones would be
    starved: bool = False

    def row(self) -> dict[str, Any]:
        """The line as plain json."""
        return asdict(self)


def label_report(store: Episodes, labels: Labels, phases: Phase, name: str = "") -> list[Share]:
    """The report of one set of labels on its store: all steps, then by outcome, by segment and by phase.

    The weight of a step is what the policy that acts learns from it: `weight`, times 1[positive] where there is an
    indicator, because that policy acts with the positive one; scaled to mean 1. phases (M,): -1 where unknown.
    Errors (ValueError): labels of other episodes, or labels without weight and indicator.
    """
    labels.require_for(store)
    w = acting_weight(labels)
    name = name or labels.made_by
    won = of_steps(store, [row["success"] for row in store.index]).astype(bool)
    segment = np.concatenate(store.column("segments"))
    every = np.ones(len(w), bool)
    shares = [_share(name, "all", "all steps", w, every)]
    shares += [_share(name, "outcome", said, w, mask) for said, mask in (("success", won), ("failure", ~won))]
    shares += [_share(name, "segment", said, w, segment == i) for i, said in enumerate(SEGMENTS)]
    low = STARVED * float(w[won].mean()) if won.any() else 0.0
    for k in range(PHASES):
        mask = won & (phases == k)
        share = _share(name, "phase", f"{k / PHASES:.1f}-{(k + 1) / PHASES:.1f}", w, mask)
        starved = share.steps >= FEW and share.weight < low
        shares.append(Share(**{**asdict(share), "starved": starved}))
    return [share for share in shares if share.steps]


def acting_weight(labels: Labels) -> npt.NDArray[np.float64]:
    """What the acting policy learns from every step (M,), mean 1; all zeros stay zeros."""
    if "weight" not in labels and "indicator" not in labels:
        raise ValueError(
            f"labels {labels.made_by}: columns {sorted(labels.columns)} weigh no step; make a method's labels from them"
        )
    w = labels.columns.get("weight", np.ones(sum(labels.lengths), np.float32)).astype(np.float64)
    if "indicator" in labels:
        w = w * (labels.columns["indicator"] == POSITIVE)
    return w / w.mean() if w.any() else w


def _share(labels: str, by: str, group: str, w: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_]) -> Share:
    mine, n = w[mask], int(mask.sum())
    square = float((mine**2).sum())
    effective = float(mine.sum() ** 2 / (n * square)) if square else 0.0
    return Share(labels, by, group, n, float((mine > 0.5).mean()) if n else 0.0, float(mine.mean()) if n else 0.0,
                 effective)  # fmt: skip


def warnings(shares: list[Share]) -> list[str]:
    """One line for every phase of the successes that labels starve; none where all is well."""
    said = []
    for name in dict.fromkeys(share.labels for share in shares):
        mine = [share for share in shares if share.labels == name]
        whole = next((share.weight for share in mine if (share.by, share.group) == ("outcome", "success")), 0.0)
        said += [
            f"{name} starves a phase of its own successes: progress {share.group} has weight {share.weight:.2f}, their "
            f"mean is {whole:.2f} ({share.steps} steps); raise labeller.phase_floor, or for awr lower "
            "labeller.awr_temperature"
            for share in mine
            if share.starved
        ]
    return said


def table(shares: list[Share]) -> str:
    """The report as a Markdown table; a starved phase is marked."""
    lines = ["| labels | of | group | steps | kept | weight | effective | |", "|---|---|---|---|---|---|---|---|"]
    lines += [
        f"| {s.labels} | {s.by} | {s.group} | {s.steps} | {s.kept:.2f} | {s.weight:.2f} | {s.effective:.2f} "
        f"| {'starved' if s.starved else ''} |"
        for s in shares
    ]
    return "\n".join(lines) + "\n"
