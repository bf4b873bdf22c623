"""Does a value that looks ahead make a better policy? Every method on every value, over tasks and data seeds.

    foresight study -m task=lift,stack,pick_place_can seed=0,1,2 study.iterations=2
    foresight study task=stack seed=0 study.methods=[recap] study.values=[viva]
    foresight study task=lift study.plain=[bc,label_bc] study.tokens=[none,negative]

A cell is one arm (a method on a value) on one task under one data seed. Each leaves <study.results>/cells/*.json when
it is done, the same command skips those that are there, and table and report are rebuilt from the cells alone. All
arms of a task and data seed share demonstrations, gradient steps and evaluation trials.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("study")
