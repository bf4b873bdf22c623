"""What people run."""

import os
import sys

# before numpy: processes share the cores, and two busy ones with two threads each collapse on two cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

from episodes.stopping import catch_interrupts

catch_interrupts()

TYPED = tuple(sys.argv)
"""The command as it was given: a sweep puts other words into sys.argv."""

MOVED = {"experiments.ranking": "experiments.simpler.ranking"}
"""Modules that people used to run with `python -m`, and where they are now."""

if "-m" in sys.orig_argv[:-1] and (_asked := sys.orig_argv[sys.orig_argv.index("-m") + 1]) in MOVED:
    sys.exit(f"{_asked} is now: python -m {MOVED[_asked]}")
