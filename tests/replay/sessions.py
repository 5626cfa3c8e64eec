"""Sessions to replay: epochs that come by geometry, dormancy and drift while ticks go on, from one seed."""

import random
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

from walrus import Database

from consumers.keeper import Keeper
from pipeline.settings import Settings
from tests.world import T0, World, quote, row, tickers

DAYS = (date(2026, 8, 21), date(2026, 8, 24), date(2026, 9, 18))
NARROW, WIDE = range(7500, 7605, 20), range(7480, 7605, 20)

def session_settings(make_settings: Callable[..., Settings], redis_url: str, **overrides: Any) -> Settings:
    return make_settings(
        redis_url=redis_url, symbols=("SPX",), scope="full", widths={"SPX": (20.0, 40.0)}, retention_s=3600.0,
        model_retention_s=3600.0, **overrides,
    )


def now_ms(database: Database) -> int:
    seconds, micros = database.time()
    return int(seconds) * 1000 + int(micros) // 1000


class Session:
    """What the provider says, turn by turn; ``moves`` yields after each batch of events."""

    def __init__(self, world: World, seed: int, events: int, batch: int = 40) -> None:
        self.world = world
        self.events = 0
        self._random = random.Random(seed)
        self._wanted = events
        self._batch = batch
        self._now = T0
        self._spot = 7550.0
        self._listed = self._quoted = tickers("SPXW", DAYS, NARROW)
        self._epoch = ""
        self._number = 0

    def moves(self) -> Iterator[str]:
        self.chain("startup")
        yield "chain"
        turns = max(4, self._wanted // self._batch)
        for turn in range(turns):
            self.frame()
            if turn % 3 == 0:
                self.spot()
            at = {
                turns // 8: "refresh", turns // 4: "geometry", turns // 2: "dormant", 3 * turns // 4: "drift",
            }.get(turn)
            if at == "geometry":
                self._listed = tickers("SPXW", DAYS, WIDE)
            if at == "dormant":
                self.feed("dormant")
            if at == "drift":
                self._spot *= 1.01
                self._listed = tickers("SPXW", DAYS, range(7560, 7705, 20))
            if at:
                self.chain(at, force=at == "dormant")
            yield at or "ticks"
            if turn == turns // 2 + 2:
                self.feed("resumed")

    def chain(self, reason: str, force: bool = False) -> None:
        self._now += 1000
        rows = []
        for ticker in self._listed:
            mid = self._random.randint(40, 400) / 20
            rows.append(row(ticker, bid=mid, ask=mid + 0.5, ts=self._now - 500, oi=self._random.randint(1, 5000)))
        self.world.chain(rows, ts=self._now, spot=self._spot, reason=reason, force=force)

    def frame(self) -> None:
        """Quotes, trades and volumes. New contracts are heard of once they are listed, as subscriptions are."""
        if self.world.epoch() != self._epoch:
            self._epoch, self._quoted = self.world.epoch(), self._listed
        events: list[dict[str, Any]] = []
        for _ in range(self._batch):
            self._number += 1
            self._now += self._random.randint(0, 60)
            ticker, bid = self._random.choice(self._quoted), self._random.randint(1, 400) / 20
            kind = self._random.random()
            if kind < 0.9:
                events.append(quote(ticker, bid, bid + self._random.randint(1, 20) / 20, self._now, self._number))
            elif kind < 0.95:
                events.append({"ev": "T", "sym": ticker, "p": bid, "s": 3, "t": self._now, "q": self._number})
            else:
                events.append({"ev": "A", "sym": ticker, "av": self._number, "e": self._now // 1000 * 1000})
        for first in range(0, len(events), 8):
            self.world.frame(events[first : first + 8])
        self.events += len(events)

    def spot(self) -> None:
        self._spot = round(self._spot + self._random.uniform(-2, 2), 2)
        self.world.spot(self._spot, self._now)

    def feed(self, event: str) -> None:
        """What the keeper does of a feed that falls silent, or speaks again."""
        if epoch := self.world.epoch():
            Keeper(self.world.settings, self.world.database)._tell_feed("SPX", epoch, event)
