"""When the next request may go out: a rate limit, pauses that an endpoint asks for, growing back-off."""

from __future__ import annotations

import random
import threading
import time


class Stopped(Exception):
    """The run was stopped while a request waited for its turn."""


class RateLimiter:
    """Spaces requests of many threads evenly, `per_minute` of them (0: no limit); `hold` makes all of them wait."""

    def __init__(self, per_minute: float) -> None:
        self._gap = 60.0 / per_minute if per_minute > 0 else 0.0
        self._lock = threading.Lock()
        self._next = 0.0  # monotonic time of the next free slot
        self._stopped = threading.Event()

    def wait(self) -> None:
        """Return when this request may go out; Stopped if the run stops before."""
        while True:
            with self._lock:
                now = time.monotonic()
                if now >= self._next:
                    self._next = now + self._gap
                    break
                pause = self._next - now
            self._sleep(pause)
        if self._stopped.is_set():
            raise Stopped

    def hold(self, seconds: float) -> None:
        """Let nobody send for some seconds."""
        if seconds > 0:
            with self._lock:
                self._next = max(self._next, time.monotonic() + seconds)

    def back_off(self, base: float, attempt: int) -> None:
        """Sleep base * 2^(attempt - 1) seconds, at most 60, half of it at random so that threads spread out."""
        self._sleep(min(base * 2.0 ** (attempt - 1), 60.0) * random.uniform(0.5, 1.0))

    def stop(self) -> None:
        """Let every request that waits end in Stopped."""
        self._stopped.set()

    def resume(self) -> None:
        """Let requests go out again."""
        self._stopped.clear()

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise Stopped
