"""What a training needs, said before anything is loaded: parameters, state, activations, and how many GPUs.

    foresight plan preset=paper                     # ViVa on Wan2.2-TI2V-5B
    foresight plan preset=paper valuefn=wvm policy=pi05 gpu=80

One training step of each model is traced on tensors without memory (networks/planner.py has the sums), which takes
about a minute per published model and no weights. docs/scale.md explains the columns.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("plan")
