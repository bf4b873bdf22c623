"""What people run."""

from episodes.stopping import catch_interrupts

catch_interrupts()
