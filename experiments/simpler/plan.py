"""The trials that a SIMPLER sweep is to run: chosen from the protocol, and those whose assets are here."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from envs.simpler.protocol import SETTINGS, SimplerTrial, groups, missing_files, trials, variants
from experiments.loop.schemas import SimplerSweepConfig


def planned(settings: SimplerSweepConfig) -> list[SimplerTrial]:
    """The trials that the settings ask for, in the protocol's order; ValueError naming an unknown name."""
    known = groups()
    for name, values, choices in (("tasks", settings.tasks, known), ("settings", settings.settings, SETTINGS)):
        wrong = [value for value in values if value not in choices]
        if wrong:
            raise ValueError(f"{name}={wrong}: choose from {', '.join(choices)}")
    pairs = [(g, s) for g in settings.tasks or known for s in settings.settings if s in known[g]]
    offered = {v for pair in pairs for v in variants(*pair)}
    wrong = [v for v in settings.variants if v not in offered]
    if wrong:
        raise ValueError(f"variants={wrong}: choose from {', '.join(sorted(offered))}")
    found: list[SimplerTrial] = []
    for group, setting in pairs:
        for variant in variants(group, setting):
            if not settings.variants or variant in settings.variants:
                every = trials(group, setting, variant)
                for _, same in groupby(every, key=lambda t: t.task):
                    found += _thinned(list(same), settings.limit)
    return found


def _thinned(every: list[SimplerTrial], limit: int) -> list[SimplerTrial]:
    if not 0 < limit < len(every):
        return every
    return [every[int(i)] for i in np.linspace(0, len(every) - 1, limit).round()]


def plan_table(plan: Sequence[SimplerTrial]) -> str:
    """Task, setting, variants and trials of a plan, one row each."""
    rows = [("task", "setting", "variants", "trials")]
    for (group, setting), same in groupby(plan, key=lambda t: (t.group, t.setting)):
        own = list(same)
        rows.append((group, setting, str(len({t.variant for t in own})), str(len(own))))
    rows.append(("all", "", "", str(len(plan))))
    return "\n".join(f"{a:26s} {b:20s} {c:>8s} {d:>7s}" for a, b, c, d in rows)


def with_assets(plan: Sequence[SimplerTrial]) -> tuple[list[SimplerTrial], list[SimplerTrial]]:
    """The trials that can run here and those whose assets are missing, which are named."""
    from envs.simpler.assets import asset_folder

    folder = asset_folder()
    lacking = {trial.key: missing_files(trial, folder) for trial in plan}
    skipped = [trial for trial in plan if lacking[trial.key]]
    for variant, same in groupby(skipped, key=lambda t: f"{t.group}/{t.setting}/{t.variant}"):
        own = list(same)
        print(f"not run: {variant}, {len(own)} trials: {', '.join(lacking[own[0].key])} missing")
    return [trial for trial in plan if not lacking[trial.key]], skipped
