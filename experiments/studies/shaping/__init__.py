"""The reward-shaping study: what is rewarded, one cell, its measures and its table."""
