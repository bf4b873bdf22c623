"""Complete an episode store for training with LeRobot, and export its labels to the programs that train elsewhere.

    foresight export STORE
    foresight export STORE labels=STORE/labels/awr-....parquet source=DATASET target=FOLDER
    foresight export STORE labels=FILE source=DATASET target=FOLDER format=rlinf tag=awr

A store is a LeRobotDataset v3.0 already; the first line writes what only training with LeRobot needs, meta/stats.json.
The next append removes that file: run this again then. With `labels`, the dataset that the store was imported from (or
the store itself) is written anew with value, advantage, weight and indicator as declared columns; the source is only
read, unless in_place=true. docs/data.md has the other formats.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("export")
