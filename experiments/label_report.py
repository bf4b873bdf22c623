"""What labels do to a store: share kept, weight and effective sample of every segment, phase and outcome.

    foresight labels STORE                      # every file of labels that lies in the store
    foresight labels STORE labels=[A.parquet,B.parquet] out=results/labels/lift
    foresight labels STORE methods=[awr,recap]  # labels these methods make of the store's values

A file with a weight or an indicator is reported as it is, under its name. From one with values alone the methods make
their labels with the settings of `labeller=tiny`.
Prints the table; with `out` also writes OUT.md and the picture OUT.svg. A starved phase is said loudly.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("labels")
