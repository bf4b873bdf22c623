"""Write docs/results.md, and the default run's table in README, from the tables under results/.

    foresight results

Nothing is measured here, and no number of those pages is written by hand.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("results")
