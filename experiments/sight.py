"""Does the value look? Every probe, on held-out demonstrations and counterfactual pictures, over tasks and seeds.

    foresight sight -m task=lift,stack,pick_place_can seed=0,1,2
    foresight sight task=lift seed=90 study.split=tune study.values=[viva]

A cell is one value on one task under one data seed and leaves <study.results>/cells/*.json; the same command skips the
cells that are there, and table.md is rebuilt from them alone. Values are the cross-fitted ones that the loop would use.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("sight")
