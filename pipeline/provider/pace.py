"""How often the provider is asked: requests spaced evenly, and everybody waits while it asks for a pause."""

import threading
import time
from collections.abc import Callable


class RateLimiter:
    """Spaces requests of all threads ``1 / requests_per_s`` seconds apart. ``hold`` pauses all of them."""

    def __init__(self, requests_per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._gap_s = 1 / requests_per_s
        self._clock = clock
        self._lock = threading.Lock()
        self._next = 0.0

    def reserve(self) -> float:
        """Take the next free moment; answers how many seconds away it is."""
        with self._lock:
            now = self._clock()
            at = max(now, self._next)
            self._next = at + self._gap_s
            return at - now

    def hold(self, seconds: float) -> None:
        """Nobody asks for so long: the provider said so."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)
