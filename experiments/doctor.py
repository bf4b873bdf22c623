"""What this machine lacks for Foresight, and what to do about it.

    foresight doctor             # a table; exit status 1 where something is a problem
    foresight doctor json=true   # the same for programs

It checks Python, packages, rendering, GPU, disk, memory and threads.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("doctor")
