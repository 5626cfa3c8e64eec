"""socket: the provider's option frames to ``massive:ws:stream``, as received; subscriptions from the active geometry.

One process holds the provider's single connection, the others stand by. The subscriptions follow each promoted epoch
and re-centre when spot has moved; they are kept in ``massive:ws:subscriptions:{symbol}``.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson
from redis.exceptions import RedisError
from walrus import Database

from pipeline.backlog import Appended
from pipeline.contract import underlying_of
from pipeline.geometry import new_york_day, unpack_pane
from pipeline.life import Life
from pipeline.provider.conversation import Pace
from pipeline.provider.frames import Frame, Received, root_of
from pipeline.relay import BACKLOG_BYTES, Relay
from pipeline.settings import Settings
from pipeline.spot import held_spot
from pipeline.subscriptions import RECENTRE_MOVE, Board, Listed, choose, topics_of

LOOK_S = 1.0  # how often spot and the active epochs are looked at; a promotion is heard of at once
SET_CHUNK = 1000


@dataclass(slots=True)
class _Underlying:
    """What the subscriptions of one symbol are made of."""

    epoch: str = ""
    contracts: list[Listed] = field(default_factory=list)
    spot: float | None = None
    spot_ts: int = 0
    centre: float | None = None
    """Spot when the subscriptions were last chosen."""

    @property
    def today_ms(self) -> int:
        """The market's time as far as it is known: of the newest spot, or of the chain the epoch was made from."""
        return max(self.spot_ts, int(self.epoch.split(":")[1])) if self.epoch else self.spot_ts

    @property
    def moved(self) -> bool:
        if self.spot is None or self.centre is None:
            return self.spot is not self.centre
        return abs(self.spot / self.centre - 1) > RECENTRE_MOVE


class Socket:
    def __init__(
        self, settings: Settings, database: Database, life: Life, *, pace: Pace | None = None,
        backlog_bytes: int = BACKLOG_BYTES,
    ) -> None:
        self.relay = Relay(
            "ws", "options", settings, database, life, self._read, self._turn, pace=pace, backlog_bytes=backlog_bytes
        )
        self._settings = settings
        self._database = database
        self._keys = life.keys
        self._underlyings = {symbol: _Underlying() for symbol in settings.symbols}
        self._heard = dict.fromkeys(self._keys.streams("epoch", settings.symbols), "$")
        self._look_at = 0.0
        self._chosen = False

    def run(self) -> None:
        self.relay.run()

    # --- frames, on the feed's thread ---
    def _read(self, received: Received, frame: Frame) -> Iterable[Appended]:
        """The stream entries of a frame: one, or where keys are tagged one an underlying."""
        if not frame.readable:
            self.relay.count("", "malformed_frames")
            return [self._entry(self._settings.symbols[0], received, received.payload)]
        by_symbol: dict[str, list[object]] = {}
        known: dict[str | None, str] = {}
        for event in frame.events:
            root = root_of(event)
            symbol = known.get(root)
            if symbol is None:
                symbol = known[root] = self._symbol_of(root)
            by_symbol.setdefault(symbol, []).append(event)
        self._count(received, by_symbol)
        if len(by_symbol) == 1 and "" not in by_symbol:
            (symbol,) = by_symbol
            return [self._entry(symbol, received, received.payload, named=True)]
        if self._settings.layout == "flat":
            return [self._entry(self._settings.symbols[0], received, received.payload)]
        strangers = by_symbol.pop("", [])
        if strangers:  # somebody has to count them
            by_symbol.setdefault(next(iter(by_symbol), self._settings.symbols[0]), []).extend(strangers)
        return [self._entry(symbol, received, orjson.dumps(events)) for symbol, events in by_symbol.items()]

    def _symbol_of(self, root: str | None) -> str:
        symbol = underlying_of(root) if root is not None else ""
        return symbol if symbol in self._underlyings else ""

    def _entry(self, symbol: str, received: Received, payload: bytes, *, named: bool = False) -> Appended:
        fields: dict[str, str | bytes] = {"ts": str(received.ts), "payload": payload}
        if named:
            fields["symbol"] = symbol
        return Appended(self._keys.stream("ws", symbol), received.ts, fields)

    def _count(self, received: Received, by_symbol: dict[str, list[object]]) -> None:
        relay = self.relay
        first = next(iter(by_symbol))
        relay.count(first, "frames")
        relay.count(first, "bytes", len(received.payload))
        for symbol, events in by_symbol.items():
            relay.count(symbol, "events", len(events))
            if symbol:
                relay.note(symbol, "last_frame_ms", received.ts)
                relay.note(symbol, f"last_frame_ms:{symbol}", received.ts)

    # --- subscriptions, on the stage's thread ---
    def _turn(self) -> None:
        now = time.monotonic()
        if not self._heard_of_promotion() and now < self._look_at:
            return
        self._look_at = now + LOOK_S
        renewed = [symbol for symbol in self._underlyings if self._look(symbol)]
        moved = any(underlying.moved for underlying in self._underlyings.values())
        if renewed or moved or not self._chosen:
            self._choose()

    def _heard_of_promotion(self) -> bool:
        """Read what the epoch streams say, without a group: what is missed is seen by the next look."""
        heard = False
        for stream, last in self._heard.items():
            if last == "$":
                newest = self._database.xrevrange(stream, count=1)
                self._heard[stream] = newest[0][0].decode() if newest else "0-0"
                heard = True
        for stream, last in self._heard.items():  # one by one: on a Redis Cluster they are on several nodes
            for _, rows in self._database.xread({stream: last}, count=100) or []:
                self._heard[stream] = rows[-1][0].decode()
                heard |= any(fields.get(b"event") == b"promoted" for _, fields in rows)
        return heard

    def _look(self, symbol: str) -> bool:
        """Whether the symbol has another epoch than when it was last looked at."""
        underlying = self._underlyings[symbol]
        held = held_spot(self._database, self._keys, symbol)
        if held is not None:
            underlying.spot, underlying.spot_ts = held.price, held.ts
        active = self._database.hget(self._keys.epoch_active(symbol), symbol) or b""
        epoch = active.decode()
        if epoch == underlying.epoch:
            return False
        underlying.contracts = self._contracts(epoch) if epoch else []
        underlying.epoch = epoch
        return True

    def _contracts(self, epoch: str) -> list[Listed]:
        return [
            Listed(ticker, pane.geometry.expiration, float(pane.geometry.strikes[column]))
            for name, packed in self._database.hgetall(self._keys.geometry(epoch)).items()
            for pane in [unpack_pane(name.decode(), packed, ())]
            for ticker, (_, column) in pane.places.items()
        ]

    def _choose(self) -> None:
        """Choose anew for all underlyings, because they share the limit, and say so to the provider and in Redis."""
        boards = {
            symbol: Board(underlying.contracts, underlying.spot, new_york_day(underlying.today_ms))
            for symbol, underlying in self._underlyings.items()
        }
        topics = {
            symbol: topics_of(tickers) for symbol, tickers in choose(boards, self._settings.quote_limit).items()
        }
        try:
            for symbol, wanted in topics.items():
                self._store(symbol, sorted(wanted))
        except (RedisError, OSError):
            self._chosen = False
            raise
        for underlying in self._underlyings.values():
            underlying.centre = underlying.spot
        self._chosen = True
        self.relay.want(frozenset().union(*topics.values()))

    def _store(self, symbol: str, topics: list[str]) -> None:
        """Replace the set as a whole: no reader sees half of it."""
        key = self._keys.subscriptions(symbol)
        pipe = self._database.pipeline(transaction=True)
        pipe.delete(key)
        for start in range(0, len(topics), SET_CHUNK):
            pipe.sadd(key, *topics[start : start + SET_CHUNK])
        pipe.execute()
        self.relay.note(symbol, f"subscribed:{symbol}", len(topics))


def run(settings: Settings, database: Database, life: Life) -> None:
    Socket(settings, database, life).run()
