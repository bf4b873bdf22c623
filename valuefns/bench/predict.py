"""What a model says of an episode, in progress units, or why it can say nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from episodes.types import Episode
from valuefns.protocol import ValueFunction

Float = npt.NDArray[np.float64]


def in_progress_units(values: npt.NDArray[np.floating], scale: str, T: int, max_steps: int, success: bool) -> Float:
    """Values (T + 1,) as progress (T,): viva 2V - 1; recap 1 + V max_steps / T, successes only; progress as it is.

    A value of another scale, or a recap failure, keeps its own scale: orders mean something there, distances do not.
    """
    v = np.asarray(values, np.float64)[:T]
    if scale == "viva":
        return 2 * v - 1
    if scale == "recap" and success:
        return 1 + v * max_steps / T
    return v


def predict(value: ValueFunction, episode: Episode, what: str, max_steps: int) -> Float:
    """The prediction of a model in progress units (T,).

    ValueError naming what is wrong: a camera that the model reads and the episode lacks, a wrong length, a NaN.
    """
    cameras = getattr(getattr(value, "spec", None), "cameras", ())
    if absent := [camera for camera in cameras if camera not in episode.images]:
        raise ValueError(f"{what}: no camera {absent[0]!r}, there are {', '.join(episode.images) or 'none'}; record it")
    values = np.asarray(value.score(episode))
    if values.shape != (len(episode) + 1,):
        raise ValueError(f"{what}: {values.shape} values for {len(episode) + 1} frames; return one per frame")
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(f"{what}: the value of frame {int(bad.argmax())} is {values[bad][0]}; fix the model")
    return in_progress_units(values, value.scale, len(episode), max_steps, episode.success)
