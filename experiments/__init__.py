"""What people run."""

import os

# before numpy: processes share the cores, and two busy ones with two threads each collapse on two cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

from episodes.stopping import catch_interrupts

catch_interrupts()
