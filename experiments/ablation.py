"""An ablation table of a value function or a policy, in cells (row x seed) that resume; docs/experiments.md.

    python experiments/ablation.py ablation=viva                        # or wvm: values on the value benchmark
    python experiments/ablation.py ablation=viva rows=[full] seeds=[0]  # some of its cells
    python experiments/ablation.py ablation=videovla                    # VideoVLA's table 9, by cloning 100 experts
    python experiments/ablation.py ablation=videovla rows=[default,causal_mask,async]

A row is an entry of experiments/conf/ablation/*.yaml. Each cell leaves <results>/<table>/cells/<row>-seed<k>.json,
finished ones are skipped, and the table is rebuilt from those files alone.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

import hydra
from omegaconf import DictConfig

from episodes.stopping import refusing
from experiments.bench import schemas
from experiments.studies import policy_ablation, value_ablation

schemas.register()

POLICIES = ("ablation=videovla",)
"""The tables of policies; the others are of values. The two have other settings."""
of_policy = any(word in POLICIES for word in sys.argv[1:])


@hydra.main(config_path="conf", config_name="policy_ablation" if of_policy else "value_ablation", version_base="1.3")
def main(config: DictConfig) -> None:
    with refusing("ablation"):
        (policy_ablation if of_policy else value_ablation).run_all(config)


if __name__ == "__main__":
    main()
