"""How alike the motion in two videos is: VideoVLA's measure between what a policy imagined and what then happened.

SIFT keypoints in the foreground of each video's first frame, tracked through it, matched between the videos by the
Hungarian algorithm, and the mean cosine of the matched tracks (VideoVLA section 4.4).

Shapes: M frames, N tracks, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from episodes.settings import require

Video = npt.NDArray[np.uint8]


@dataclass
class MotionConfig:
    """Settings of the measure; the paper names SIFT, SAM, SAM-PT and Hungarian matching, and no numbers."""

    height: int = 256  # pixels that smaller pictures are enlarged to: SIFT finds next to nothing at 64
    contrast: float = 0.01  # SIFT's contrast threshold; OpenCV's 0.04 leaves few points on enlarged pictures
    points: int = 100  # strongest keypoints that are tracked
    window: int = 31  # pixels, of the optical flow
    returned: float = 4.0  # pixels: a track whose way back ends farther from its start is dropped
    near: float = 16.0  # pixels between the starts of two tracks that may be matched
    still: float = 2.0  # pixels: a pair of which neither moved farther says nothing and is left out

    def __post_init__(self) -> None:
        require(self, height=(16, 4096), contrast=(0, 1), points=(1, inf), window=(3, 255))
        require(self, returned=(0, inf), near=(0, inf), still=(0, inf))


def keypoints(picture: npt.NDArray[np.uint8], foreground: npt.NDArray[np.bool_], config: MotionConfig) -> Any:
    """SIFT keypoints float32 (N, 2), as x and y, of a grey picture inside the foreground (H, W), one per place."""
    import cv2

    mask = foreground.astype(np.uint8) * 255
    found = cv2.SIFT_create(contrastThreshold=config.contrast).detect(picture, mask)  # type: ignore[attr-defined]
    found = sorted(found, key=lambda point: -point.response)
    places = dict.fromkeys(point.pt for point in found)  # a place has a keypoint per orientation
    return np.array(list(places)[: config.points], np.float32).reshape(-1, 2)


def tracks(video: Video, foreground: npt.NDArray[np.bool_], config: MotionConfig) -> npt.NDArray[np.float32]:
    """Tracks (N, M, 2) in enlarged pixels of the keypoints of the first frame of a video (M, H, W, 3).

    Pyramidal Lucas-Kanade flow from frame to frame; a track that is lost, or that does not come back when it is
    followed backwards, is dropped.
    """
    import cv2

    scale = max(1, round(config.height / video.shape[1]))
    grey = [cv2.resize(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            for f in video]  # fmt: skip
    mask = np.repeat(np.repeat(foreground, scale, 0), scale, 1)
    start = keypoints(grey[0], mask, config)
    if not len(start):
        return np.empty((0, len(video), 2), np.float32)
    flow: Any = partial(cv2.calcOpticalFlowPyrLK, winSize=(config.window, config.window), maxLevel=3)

    def follow(frames: list[Any], points: Any) -> tuple[Any, Any]:
        path, alive = [points], np.ones(len(points), bool)
        for before, after in pairwise(frames):
            moved, status, _ = flow(before, after, path[-1], None)
            path.append(moved)
            alive &= status[:, 0] == 1
        return np.stack(path, 1), alive

    forth, alive = follow(grey, start)
    back, returned = follow(grey[::-1], forth[:, -1].copy())
    alive &= returned & (np.linalg.norm(back[:, -1] - start, axis=1) <= config.returned)
    return forth[alive].astype(np.float32)


def similarity(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], config: MotionConfig) -> tuple[float, int]:
    """Mean cosine of matched tracks (N, M, 2) and (N', M, 2), and how many pairs; no pair is NaN.

    Tracks are matched by the distance of their starts; a track's vector is its displacement from its start in every
    later frame, 2 (M - 1) numbers. Where one of a pair moves and the other stands still the cosine is 0.
    """
    if not len(a) or not len(b):
        return float("nan"), 0
    distance = np.linalg.norm(a[:, None, 0] - b[None, :, 0], axis=-1)
    i, j = linear_sum_assignment(np.where(distance <= config.near, distance, 1e6))
    close = distance[i, j] <= config.near
    u, v = ((x - x[:, :1])[k[close], 1:] for x, k in ((a, i), (b, j)))
    far_u, far_v = (np.linalg.norm(x, axis=-1).max(-1) if len(x) else np.empty(0) for x in (u, v))
    moved = np.maximum(far_u, far_v) > config.still
    u, v, both = u[moved], v[moved], (np.minimum(far_u, far_v) > config.still)[moved]
    if not len(u):
        return float("nan"), 0
    u, v = u.reshape(len(u), -1), v.reshape(len(v), -1)
    cosine = (u * v).sum(1) / np.maximum(np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1), 1e-9)
    return float(np.where(both, cosine, 0.0).mean()), len(u)


def motion_similarity(
    executed: Video, imagined: Video, foreground: npt.NDArray[np.bool_], config: MotionConfig
) -> tuple[float, int]:
    """Similarity in [-1, 1] of the motion in two videos uint8 (M, H, W, 3) of the same moments, and the pairs it is of.

    foreground bool (H, W) is that of the first frame, which both share.
    """
    return similarity(tracks(executed, foreground, config), tracks(imagined, foreground, config), config)
