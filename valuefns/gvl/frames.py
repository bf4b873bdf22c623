"""Which frames of an episode a vision-language model sees, in which order and size."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from episodes.store import Episodes
from episodes.types import Episode


def evenly(last: int, n: int) -> np.ndarray:
    """At most n different frames of 0..last, evenly spaced, both ends among them, int (m,)."""
    return np.unique(np.linspace(0, last, min(n, last + 1)).round().astype(int))


def at_rate(last: int, hz: float, fps: float, most: int) -> np.ndarray:
    """Frames of 0..last at `fps` frames per second of an episode of `hz`, at most `most`, both ends among them."""
    return evenly(last, min(most, max(2, 1 + int(np.floor(last * fps / hz)))))


def shuffled(n: int, seed: int, episode: Episode) -> np.ndarray:
    """A permutation of 0..n-1 that depends on the seed and the episode's own seed and length alone."""
    return np.random.default_rng([seed, episode.provenance.seed % 2**63, len(episode)]).permutation(n)


def camera_of(episode: Episode, camera: str) -> str:
    """The named camera, or the episode's first one; a name it lacks is a ValueError."""
    if not episode.images:
        raise ValueError(f"vision-language value: episode with seed {episode.provenance.seed} has no images")
    if camera and camera not in episode.images:
        raise ValueError(f"vision-language value: camera={camera!r}; the episode has {', '.join(episode.images)}")
    return camera or next(iter(episode.images))


def limited(image: np.ndarray, longest: int) -> np.ndarray:
    """The image with its longest side scaled to `longest` pixels (0: as it is), uint8 (H, W, 3)."""
    H, W = image.shape[:2]
    if longest in (0, max(H, W)):
        return image
    from PIL import Image

    size = (max(1, round(W * longest / max(H, W))), max(1, round(H * longest / max(H, W))))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def examples_from(store: Episodes, shots: int, seed: int) -> list[Episode]:
    """`shots` + 1 successes drawn from a store as examples (one more, so that none need be the scored episode itself).

    Errors: fewer successes than that is a ValueError.
    """
    wins = [i for i, row in enumerate(store.index) if row["success"]]
    if len(wins) < shots + 1:
        raise ValueError(
            f"{store.path}: {len(wins)} successes for {shots} examples; examples are successes other than the scored "
            f"episode, so use shots of at most {max(len(wins) - 1, 0)} or another shots_store"
        )
    return [store[int(i)] for i in np.random.default_rng([seed, 1]).permutation(wins)[: shots + 1]]


def batches(episodes: Iterable[Episode], n: int) -> Iterator[list[Episode]]:
    """The episodes in lists of n, drawn as they are needed: a store need not fit in memory."""
    drawn = iter(episodes)
    while some := list(itertools.islice(drawn, n)):
        yield some


def same_episode(a: Episode, b: Episode) -> bool:
    """Whether two episodes are the same recording."""
    return (
        a.provenance == b.provenance and np.array_equal(a.actions, b.actions) and np.array_equal(a.proprio, b.proprio)
    )
