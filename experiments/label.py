"""Label any episode store by any value function, and rank data sets by what it says of them.

    foresight label STORE value=FOLDER            # a trained value; or clock, random, progress, oracle
    foresight label STORE_A STORE_B value=FOLDER  # both, ranked by mean VOC

Writes <STORE>/labels/<value>-<hash>.parquet (column `value` of every step; `Labels.load` reads it) block by block:
a stopped run continues. Source of the ranking: GVL section 5, mean VOC of a data set.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("label")
