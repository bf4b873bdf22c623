"""What to do: policies, policy extraction, the RECAP loop, evaluation."""

from episodes.stopping import catch_interrupts

catch_interrupts()
