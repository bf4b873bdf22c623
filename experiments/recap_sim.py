"""The main job: collect mixed-quality demonstrations, learn a value, improve policies with it, measure, report.

    foresight recap                                   # Lift, tiny, about ten minutes on two CPU cores
    foresight recap methods=[success_bc,success_random,awr] seed=1
    foresight recap +sweep=seeds                      # seeds 0, 1, 2, one run each, and a table over them
    foresight recap preset=small device=cuda

Every method sees the same demonstrations, takes the same number of gradient steps and is tested on the same seeds.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("recap")
