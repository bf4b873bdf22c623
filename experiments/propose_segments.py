"""Let a vision-language model propose the intervals of a store's episodes in which the robot makes no progress.

    foresight propose data/lift valuefn.backend.model=gpt-4o
    foresight review data/lift                               # then look at every one of them

Writes STORE/proposals.json (out=FILE elsewhere). Answers are cached: an interrupted run continues.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("propose")
