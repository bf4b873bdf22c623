"""Review an episode store's segments in the browser, on this machine alone.

    foresight review STORE
    foresight review STORE annotations=FILE proposals=FILE port=8321 browser=false

Shows each episode with the intervals proposed by `foresight propose` (STORE/proposals.json, if there) and
saves rows (episode, type, m, n) to STORE/annotations.csv. The page's keys are listed on it. docs/gvl.md has a picture.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("review")
