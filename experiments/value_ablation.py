"""The old name of `foresight ablate`."""

import sys

if __name__ == "__main__":
    sys.exit("value_ablation.py is now: foresight ablate ablation=viva   (or wvm, videovla)")
