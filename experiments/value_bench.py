"""How good is a value? One scorecard for every value function, on episodes whose truth is known.

    foresight bench models=[viva,clock,constant,oracle]      # generates the benchmark once
    foresight bench checkpoints={viva:path/to/folder}        # a trained value instead of training
    foresight bench data.path=DATASET data.annotations=FILE.csv checkpoints={viva:path/to/folder}

Models learn from the train split and are scored on the test split. A model whose scores are there is not run again.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("bench")
