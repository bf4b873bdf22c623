"""What the look at a PNG's chunks costs: `decode_png` against OpenCV's decoder alone, in one run, taking turns.

    python benchmarks/picture_speed.py

Prints, for each size, microseconds a picture (the fastest of the turns, process time) and their ratio.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np

from episodes.images import decode_png, encode_png

TURNS, TURN_SECONDS = 30, 0.05


def seconds(work: Callable[[], object], times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times


def main() -> None:
    rng = np.random.default_rng(0)
    print("size   decode_png   decoder alone   ratio")
    for side in (64, 128, 256):
        slope = np.linspace(0, 255, side)[None, :, None] + np.linspace(0, 60, side)[:, None, None]
        picture = (slope + rng.normal(0, 3, (side, side, 3))).clip(0, 255).astype(np.uint8)
        data, size = encode_png(picture), (side, side)

        def alone(data: bytes = data) -> None:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)

        def ours(data: bytes = data, size: tuple[int, int] = size) -> None:
            decode_png(data, size)

        times = max(1, int(TURN_SECONDS / seconds(alone, 20)))
        both = [(seconds(ours, times), seconds(alone, times)) for _ in range(TURNS)]
        mine, theirs = (min(turn) * 1e6 for turn in zip(*both, strict=True))
        print(f"{side:<6d} {mine:7.1f} us   {theirs:10.1f} us   {theirs / mine:.3f}")


if __name__ == "__main__":
    main()
