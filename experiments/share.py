"""Make a folder of a trained policy or value that others can load, with a model card, and upload it if asked.

    foresight share runs/recap_sim/TIME/arms/recap/policy-0 folder=to-share/lift-recap
    foresight share TRAINED folder=FOLDER push=owner/name public=true

The card says what the run of the model knows of it: task, data, metrics, command, commits. Nothing is uploaded without
`push`, and then to a private repository unless public=true.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("share")
