"""Rank datasets, and filter their episodes, by a value's order correlation (VOC) on them.

    foresight rank stores=[data/lift,data/stack] valuefn.backend.model=gpt-4o
    foresight rank stores=[data/lift] backend=qwen device=cuda per_store=50
    foresight rank stores=[data/lift] valuefn=progress    # no model: the simulator's progress

A store is a folder of an EpisodeStore (`foresight import` makes one of a LeRobotDataset). Leaves in
runs/rank_datasets/<time>/: ranking.csv and ranking.md (one row per store), episodes.csv (one row per episode),
usage.json (tokens and cost), kept.json (which episodes each threshold keeps). Answers are cached: a second run is free.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("rank")
