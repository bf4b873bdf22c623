"""Complete an episode store for training with LeRobot.

    foresight export STORE

A store is a LeRobotDataset v3.0 already; this writes what only training with LeRobot needs, meta/stats.json. The next
append removes that file: run this again then.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("export")
