"""Does a value help as a reward? Stable-Baselines3 agents on shaped rewards, judged by the environment's success alone.

    foresight shape                                   # Reach with SAC, the arms below, 3 seeds
    foresight shape study.arms=[sparse,value,clock]   # others: studies/shaping/rewards.py
    foresight shape task=lift agent=sac_grasp study.every=2 study.seeds=[0,1,2,3,4]
    foresight shape agent=sac_pixels                  # the agent, too, looks at pictures

The agent learns from the simulator's state (unless agent.pixels), the value looks at pictures. A cell is one arm under
one seed on one task with one algorithm; each leaves <study.results>/cells/*.json when it is done, the same command
skips those that are there, and table and report are rebuilt from the cells alone.
"""

from experiments.cli import command

if __name__ == "__main__":
    command("shape")
