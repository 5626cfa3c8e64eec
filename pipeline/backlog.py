"""Stream entries waiting to be written: first in, first out, bounded in bytes, the oldest given up when it is full."""

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

_OVERHEAD = 200  # bytes an entry costs besides its payload


@dataclass(frozen=True, slots=True)
class Appended:
    """One entry for a stream. ``ts`` is the wall clock at its receipt, ms."""

    stream: str
    ts: int
    fields: dict[str, str | bytes]

    @property
    def size(self) -> int:
        return _OVERHEAD + sum(len(value) for value in self.fields.values())


class Backlog:
    """Filled by one thread and emptied by another; neither waits for the other."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes = 0
        self.dropped = 0
        """Entries given up since the start."""
        self.peak = 0
        """Most entries that ever waited."""
        self._bytes_max = bytes_max
        self._entries: deque[Appended] = deque()
        self._lock = threading.Lock()
        self._filled = threading.Event()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entries: Iterable[Appended]) -> None:
        with self._lock:
            for entry in entries:
                self._entries.append(entry)
                self.bytes += entry.size
            self.peak = max(self.peak, len(self._entries))
            while self.bytes > self._bytes_max and len(self._entries) > 1:
                self.bytes -= self._entries.popleft().size
                self.dropped += 1
        self._filled.set()

    def take(self, count_max: int, bytes_max: int) -> list[Appended]:
        """The oldest, at least one if there is any; they are the caller's now."""
        taken: list[Appended] = []
        size = 0
        with self._lock:
            while self._entries and len(taken) < count_max and (not taken or size + self._entries[0].size <= bytes_max):
                taken.append(self._entries.popleft())
                size += taken[-1].size
            self.bytes -= size
            if not self._entries:
                self._filled.clear()
        return taken

    def wait(self, timeout_s: float) -> None:
        """Until something is there."""
        self._filled.wait(timeout_s)
