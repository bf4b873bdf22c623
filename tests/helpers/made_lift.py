"""Made-up labelled episodes with a readable state: brightness of both views and the first joint are the progress."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from episodes import SEGMENTS, Episode, Provenance
from episodes.store import EpisodeStore
from tests.helpers.some_episodes import make_spec

SPEC = make_spec(image_size=(32, 32), proprio_names=tuple("abcdefghijk"), hz=10.0)


def made_episode(seed: int, T: int = 20, success: bool = True) -> Episode:
    """Progress rises to 1 and is shown in the pictures; a failure stays dark. The action points to the progress."""
    rng = np.random.default_rng(seed)
    progress = np.linspace(0, 1 if success else 0.2, T + 1).astype(np.float32)
    level = (40 + 180 * progress)[:, None, None, None] + rng.normal(0, 3, (T + 1, 32, 32, 3))
    proprio = rng.normal(0, 0.05, (T + 1, 11)).astype(np.float32)
    proprio[:, 0] = progress
    actions = np.stack([progress[:T] - 0.5, np.full(T, 0.3)], 1).astype(np.float32)
    ends = np.zeros(T, bool)
    ends[-1] = True
    label = SEGMENTS.index("advance" if success else "failure")
    return Episode(
        images={c: level.clip(0, 255).astype(np.uint8) for c in SPEC.cameras},
        proprio=proprio,
        actions=actions,
        rewards=(ends & success).astype(np.float32),
        terminated=ends & success,
        truncated=ends & (not success),
        success=success,
        segments=np.full(T, label, np.int8),
        progress=progress,
        intervention=np.zeros(T, bool),
        instruction="raise it",
        provenance=Provenance(SPEC.env_id, seed, "oracle", "expert" if success else "failure"),
        hz=10.0,
    )


def made_store(path: Path, successes: int = 4, failures: int = 2) -> EpisodeStore:
    store = EpisodeStore.create(path, SPEC)
    store.append(made_episode(i, 16 + 2 * i, True) for i in range(successes))
    store.append(made_episode(100 + i, 24, False) for i in range(failures))
    store.close()
    return EpisodeStore.open(path)
