"""Where the underlyings go: a seeded walk, or a recorded path of one-minute bars."""

import csv
import gzip
import zlib
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.simulator.clock import NEW_YORK, NS, from_ns, to_ns

# Volatility is earned in trading hours: 252 days of six and a half.
_TRADING_YEAR_SECONDS = 252 * 6.5 * 3_600
# Share of an index's move it has in common with the others.
_COMMON = 0.92


class SpotPathError(ValueError):
    """A file that is not a path of one-minute bars; the message names it."""


class RecordedPath:
    """A path through the bars of a file. In each minute it goes open, the nearer extreme, the other, close.

    Where the session's time lies within the file the values are the file's own; otherwise the path is walked from
    the first bar of its last day, from the session's start on, by its returns from the chain's own spot.
    """

    def __init__(self, path: Path, start_ns: int) -> None:
        self._times, self._values = _knots(path)
        self.covers = bool(self._times[0] <= start_ns <= self._times[-1])
        last_day = from_ns(int(self._times[-1])).replace(hour=0, minute=0, second=0, microsecond=0)
        first = int(self._times[np.searchsorted(self._times, to_ns(last_day))])
        self._shift = 0 if self.covers else first - start_ns
        self.start = self.at(start_ns)

    def at(self, now_ns: int) -> float:
        """Dollars; before the first bar and after the last, the nearest one's."""
        return float(np.interp(now_ns + self._shift, self._times, self._values))


def _knots(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        knots: list[tuple[int, float]] = []
        for bar in csv.DictReader(content.decode().splitlines()):
            minute = datetime.fromisoformat(f"{bar['date']}T{bar['time_et']}").replace(tzinfo=NEW_YORK)
            opening, high, low, close = (float(bar[name]) for name in ("open", "high", "low", "close"))
            rising = close >= opening
            turns = (opening, low, high, close) if rising else (opening, high, low, close)
            offsets = (0, 18, 42, 59)
            knots += [(to_ns(minute + timedelta(seconds=s)), v) for s, v in zip(offsets, turns, strict=True)]
    except (EOFError, zlib.error, gzip.BadGzipFile, KeyError, TypeError, ValueError) as error:
        raise SpotPathError(f"{path}: not a path of one-minute bars ({error!r})") from error
    if not knots:
        raise SpotPathError(f"{path}: not a path of one-minute bars (no bar)")
    times, values = zip(*sorted(knots), strict=True)
    return np.array(times, dtype=np.int64), np.array(values, dtype=float)


class Walk:
    """Correlated logarithmic walks, one an underlying. ``vols`` are annual."""

    def __init__(self, vols: list[float]) -> None:
        self._vols = np.array(vols)

    def move(self, spots: NDArray[np.float64], elapsed_ns: int, rng: np.random.Generator) -> NDArray[np.float64]:
        common, own = rng.standard_normal(), rng.standard_normal(len(spots))
        noise = _COMMON * common + np.sqrt(1 - _COMMON**2) * own
        scale = self._vols * np.sqrt(elapsed_ns / NS / _TRADING_YEAR_SECONDS)
        return np.asarray(spots * np.exp(scale * noise - scale**2 / 2))
