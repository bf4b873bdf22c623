"""Disjoint ranges of environment seeds: train on TRAIN, choose settings on TUNE, report once on EVAL."""

TRAIN = range(0, 1_000_000)
TUNE = range(1_000_000, 2_000_000)
EVAL = range(2_000_000, 3_000_000)


def train_block(seed: int, size: int) -> range:
    """The `size` training seeds of data seed `seed` (blocks of 10,000 never overlap; 100 of them exist)."""
    if not 0 <= seed < 100 or not 0 < size <= 10_000:
        raise ValueError(f"seed {seed} with {size} episodes: the data seed must be 0..99 and the size 1..10000")
    return TRAIN[seed * 10_000 : seed * 10_000 + size]
