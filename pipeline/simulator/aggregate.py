"""Bars of one second and one minute over trades or index values, as the socket publishes them."""

from dataclasses import dataclass


@dataclass(slots=True)
class Bar:
    """One period of one contract or index. ``volume_today`` and ``vwap_today`` are the day's, at its last trade."""

    start_ms: int
    end_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: int = 0
    worth: float = 0.0
    trades: int = 0
    volume_today: int = 0
    vwap_today: float = 0.0
    open_today: float = 0.0


class Bars:
    """Bars still being filled, by period start and key. A bar is taken once its period is over."""

    def __init__(self, period_ms: int) -> None:
        self.period_ms = period_ms
        self._bars: dict[tuple[int, int], Bar] = {}
        self._next_end: int | None = None

    def add(self, key: int, t_ms: int, price: float, size: int = 0) -> Bar:
        start = t_ms - t_ms % self.period_ms
        bar = self._bars.get((start, key))
        if bar is None:
            bar = self._bars[start, key] = Bar(start, start + self.period_ms, price, price, price, price)
            if self._next_end is None or bar.end_ms < self._next_end:
                self._next_end = bar.end_ms
        bar.high, bar.low, bar.close = max(bar.high, price), min(bar.low, price), price
        bar.volume += size
        bar.worth += size * price
        bar.trades += 1
        return bar

    def take(self, now_ms: int) -> list[tuple[int, Bar]]:
        """Finished bars, oldest first, each with its key."""
        if self._next_end is None or now_ms < self._next_end:
            return []
        done = sorted((start, key) for start, key in self._bars if start + self.period_ms <= now_ms)
        taken = [(key, self._bars.pop((start, key))) for start, key in done]
        self._next_end = min((bar.end_ms for bar in self._bars.values()), default=None)
        return taken
