"""An ablation table of a value function or a policy, in cells (row x seed) that resume; docs/experiments.md.

    foresight ablate ablation=viva                        # or wvm: values on the value benchmark
    foresight ablate ablation=viva rows=[full] seeds=[0]  # some of its cells
    foresight ablate ablation=videovla                    # VideoVLA's table 9, by cloning 100 experts
    foresight ablate ablation=videovla rows=[default,causal_mask,async]

A row is an entry of experiments/conf/ablation/*.yaml. Each cell leaves <results>/<table>/cells/<row>-seed<k>.json,
finished ones are skipped, and the table is rebuilt from those files alone.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("ablate")
