"""A recorded session as the provider's market: its chains, its frames and its spot, at the time they came."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pipeline.cboe import CboeChain
from pipeline.chain_rows import read_rows
from pipeline.entry import id_key
from pipeline.replay.session_file import read_session
from pipeline.replay.window import Row, WindowError

_FIGURES = ("bid", "ask", "bid_size", "ask_size", "volume", "last")


class Playback:
    """Plays a session file. Session time is the provider's, as it was: events keep their times."""

    def __init__(self, path: Path) -> None:
        """Raises WindowError for a file that is no session, or one without a chain."""
        window = read_session(path)
        if not window.chains:
            raise WindowError(f"{path} has no chain, and without one nothing is listed: record a longer window")
        self.symbol = window.symbol
        first = window.chains[0]
        self._offset_ms = first.ms - int(first.text("latency_ms") or 0) - int(first.text("ts"))
        self.start = datetime.fromtimestamp(int(first.text("ts")) / 1000, UTC)
        self._chains = [
            (int(chain.text("ts")), {row["details"]["ticker"]: row for row in _rows(window.rows[chain.id])})
            for chain in window.chains
        ]
        ticks = [("ws", row) for row in window.ws] + [("spot", row) for row in window.spots]
        self._ticks = sorted(ticks, key=lambda tick: id_key(tick[1].id))
        self._at = 0
        self._spot = float(first.text("spot") or (window.spots[0].text("price") if window.spots else 0) or 1.0)

    @property
    def ended(self) -> bool:
        return self._at >= len(self._ticks)

    def chain(self) -> CboeChain:
        """Every contract that the session ever lists."""
        known: dict[str, dict[str, Any]] = {}
        for _, rows in self._chains:
            known.update(rows)
        listed = sorted(read_rows(known.values(), self.symbol, self._chains[-1][0]).contracts.values(),
                        key=lambda contract: contract.ticker.ticker)
        tickers = [contract.ticker for contract in listed]
        nothing = np.full(len(listed), np.nan)

        def figures(place: int) -> Any:
            return np.array([np.nan if of.chain[place] is None else float(of.chain[place] or 0) for of in listed])

        return CboeChain(
            symbol=self.symbol, quote_time=self.start, spot=self._spot,
            ticker=np.array([ticker.ticker for ticker in tickers]), root=np.array([ticker.root for ticker in tickers]),
            expiration=np.array([ticker.expiration for ticker in tickers], dtype="datetime64[D]"),
            side=np.array([ticker.side for ticker in tickers]), strike=np.array([ticker.strike for ticker in tickers]),
            open_interest=figures(0), iv=figures(1), delta=figures(2), gamma=figures(3), theta=figures(4),
            vega=figures(5), bad_rows=0, **dict.fromkeys(_FIGURES, nothing),
        )

    def rows(self, now_ns: int, tickers: Sequence[str]) -> list[dict[str, Any]]:
        """The provider's rows of these contracts, as the newest chain by now has them; those it lists."""
        newest = self._chains[0][1]
        for ts, rows in self._chains:
            if ts <= now_ns // 1_000_000:
                newest = rows
        return [newest[ticker] for ticker in tickers if ticker in newest]

    def due(self, now_ns: int) -> Iterator[tuple[str, Row]]:
        """What has come by now and was not played yet."""
        while not self.ended and self._ticks[self._at][1].ms - self._offset_ms <= now_ns // 1_000_000:
            self._at += 1
            yield self._ticks[self._at - 1]


def _rows(by_day: dict[str, bytes]) -> Iterator[dict[str, Any]]:
    for rows in by_day.values():
        yield from orjson.loads(rows)
