"""Turn the values of a store into what a policy learns from: advantages, weights, indicators.

    foresight advantage STORE method=awr
    foresight advantage STORE method=recap labels=STORE/labels/viva-....parquet labeller=paper
    foresight export STORE labels=STORE/labels/awr-....parquet target=FOLDER   # then: for LeRobot and RLinf

Reads a file of values that `foresight label` wrote (the only one in STORE/labels, or `labels`) and writes
<STORE>/labels/<method>-<hash>.parquet with value, advantage, and weight or indicator as the method makes them. Methods
that read no value (bc, success_bc, success_random) need none.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("advantage")
