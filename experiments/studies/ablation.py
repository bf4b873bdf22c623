"""The ablation command: the table of a value function or of a policy, as its settings say."""

from __future__ import annotations

from omegaconf import DictConfig

from experiments.studies import policy_ablation, value_ablation


def run_all(config: DictConfig) -> None:
    """Run the missing cells of one table, then rebuild it."""
    (policy_ablation if "policy" in config else value_ablation).run_all(config)
