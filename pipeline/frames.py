"""Provider socket frames: JSON arrays of events, read into updates of contracts. Nothing here raises past its caller.

Q becomes a quote register, T a trade register, A and AM (per-second and per-minute aggregates) the day's cumulative
volume. Trades do not add to the volume: a cumulative figure is the same however often and in whatever order it comes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from pipeline import registers
from pipeline.contract import TickerError, parse_ticker
from pipeline.registers import Register, ValueFault

EVENTS = frozenset({"Q", "T", "A", "AM"})
_KNOWN_TICKERS_MAX = 200_000


class FrameError(ValueError):
    """A frame that is no JSON array of objects: nothing in it can be used."""


@dataclass(slots=True)
class Update:
    """What some events of a batch say of one contract. ``ts`` and ``origin`` are of the oldest of them."""

    ticker: str
    pane: str
    ts: str
    origin: str
    quote: Register | None = None
    trade: Register | None = None
    volume: Register | None = None
    trades: list[Register] = field(default_factory=list)
    """Every trade, for sums; ``trade`` is the newest of them."""

    def merge(self, other: "Update") -> None:
        """Take over what is newer in another update of the same contract."""
        if int(other.ts) < int(self.ts):
            self.ts, self.origin = other.ts, other.origin
        self.quote = registers.newest(self.quote, other.quote)
        self.trade = registers.newest(self.trade, other.trade)
        self.volume = registers.newest(self.volume, other.volume)
        self.trades += other.trades

    def packed(self) -> list[object]:
        """As hydrate.lua takes it; it tells a missing register by false."""
        return [
            self.ticker, self.pane, self.ts, self.origin,
            *([value if value is not None else False for value in register] if register else False
              for register in (self.quote, self.trade, self.volume)),
            [value or "0" for trade in sorted(self.trades, key=registers.order) for value in trade],
        ]


@dataclass(frozen=True, slots=True)
class _Place:
    pane: str
    underlying: str


class FrameReader:
    """Reads frames; remembers the tickers it has seen, because the same few thousand come again and again."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}

    def events(self, payload: bytes) -> list[object]:
        """The events of a frame. Raises FrameError where it is no JSON array."""
        try:
            parsed = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise FrameError(f"not JSON: {error}") from None
        if not isinstance(parsed, list):
            raise FrameError(f"not a JSON array but {type(parsed).__name__}")
        return parsed

    def update(self, event: object, origin: str) -> tuple[str, Update] | None:
        """(underlying, update) of one event; None for one that is not about a contract's worth. Raises ValueFault."""
        if not isinstance(event, dict):
            raise ValueFault("not_an_object", f"an event is {type(event).__name__}, not an object")
        kind = event.get("ev")
        if not isinstance(kind, str):
            raise ValueFault("no_type", "an event has no ev")
        reader = _READERS.get(kind)
        if reader is None:
            return None
        ticker = event.get("sym")
        place = self._places.get(ticker) if isinstance(ticker, str) else None
        if place is None:
            place = self._learn(ticker)
        update = reader(event, ticker, place.pane, origin)  # type: ignore[arg-type]  # _learn wants a str
        return place.underlying, update

    def _learn(self, ticker: object) -> _Place:
        if not isinstance(ticker, str):
            raise ValueFault("no_ticker", "an event has no sym")
        try:
            parsed = parse_ticker(ticker)
        except TickerError as error:
            raise ValueFault("bad_ticker", str(error)) from None
        if len(self._places) >= _KNOWN_TICKERS_MAX:
            self._places.clear()
        place = self._places[ticker] = _Place(parsed.pane, parsed.underlying)
        return place


def _quote(event: dict[str, object], ticker: str, pane: str, origin: str) -> Update:
    ts = registers.time_ms(event.get("t"), "t")
    quote = [
        ts, registers.sequence(event.get("q"), "q"),
        registers.price(event.get("bp"), "bp"), registers.price(event.get("ap"), "ap"),
        registers.count(event.get("bs"), "bs"), registers.count(event.get("as"), "as"),
    ]
    return Update(ticker, pane, ts, origin, quote=quote)


def _trade(event: dict[str, object], ticker: str, pane: str, origin: str) -> Update:
    ts = registers.time_ms(event.get("t"), "t")
    last = registers.price(event.get("p"), "p")
    if last is None:
        raise ValueFault("no_price", "a trade has no p")
    trade: Register = [ts, registers.sequence(event.get("q"), "q"), last, registers.count(event.get("s"), "s")]
    return Update(ticker, pane, ts, origin, trade=trade, trades=[trade])


def _aggregate(event: dict[str, object], ticker: str, pane: str, origin: str) -> Update:
    ts = registers.time_ms(event.get("e"), "e")
    volume = registers.count(event.get("av"), "av")
    if volume is None:
        raise ValueFault("no_volume", "an aggregate has no av")
    return Update(ticker, pane, ts, origin, volume=[ts, volume])


_READERS: dict[str, Callable[[dict[str, object], str, str, str], Update]] = {
    "Q": _quote, "T": _trade, "A": _aggregate, "AM": _aggregate,
}
