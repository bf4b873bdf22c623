"""Controls: labels with one kind of knowledge taken out of them."""

from __future__ import annotations

import numpy as np

from agents.phases import Phase
from episodes.labels import Labels


def shuffle_within_phase(labels: Labels, phases: Phase, seed: int) -> Labels:
    """Permute labels among the steps of the same phase: every phase keeps its weights, on the wrong steps.

    What is left of a method's gain under these labels comes from how much of each phase it trains on, not from which
    steps. phases (M,); the steps whose phase is unknown (-1) are permuted among themselves. A permutation over all
    steps would be no fair control: it also starves or feeds phases.
    """
    rng = np.random.default_rng([seed, 1])
    order = np.arange(len(phases))
    for k in np.unique(phases):
        mine = np.flatnonzero(phases == k)
        order[mine] = rng.permutation(mine)
    columns = {name: column[order] for name, column in labels.columns.items()}
    made_by = f"{labels.made_by} shuffled within phase"
    return Labels(made_by, labels.made_by_hash, labels.store_hash, labels.episodes, labels.lengths, columns)
