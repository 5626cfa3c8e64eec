"""Provider socket frames: JSON arrays of events, read into what is worth knowing of contracts.

Q is a quote, T a trade, A and AM (per-second and per-minute aggregates) the day's cumulative volume. Trades do not add
to the volume: a cumulative figure is the same however often and in whatever order it comes.

A frame is decoded and checked in one go (by msgspec, 0.4 us an event; reading it value by value takes 3). Only one that
does not pass is read event by event, so that what is wrong with it has a name and its neighbours are kept.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
import orjson

from pipeline import registers
from pipeline.registers import COUNT_LIMIT, FIRST_MS, LAST_MS, PRICE_LIMIT, SEQUENCE_LIMIT, ValueFault

Time = Annotated[int, msgspec.Meta(ge=FIRST_MS, lt=LAST_MS)]
Sequence = Annotated[int, msgspec.Meta(ge=0, lt=SEQUENCE_LIMIT)]
Price = Annotated[float, msgspec.Meta(ge=0, lt=PRICE_LIMIT)]
Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_LIMIT)]


class FrameError(ValueError):
    """A frame that is no JSON array of objects: nothing in it can be used."""


class Quote(msgspec.Struct, tag_field="ev", tag="Q", gc=False):
    """Prices in dollars, sizes in contracts; None where a side is missing."""

    sym: str
    t: Time
    q: Sequence | None = None
    bp: Price | None = None
    ap: Price | None = None
    bs: Count | None = None
    ask_size: Count | None = msgspec.field(name="as", default=None)


class Trade(msgspec.Struct, tag_field="ev", tag="T", gc=False):
    sym: str
    t: Time
    p: Price
    q: Sequence | None = None
    s: Count | None = None


class SecondAggregate(msgspec.Struct, tag_field="ev", tag="A", gc=False):
    """``av`` is the day's volume so far, at the end ``e`` of the second."""

    sym: str
    e: Time
    av: Count

    @property
    def t(self) -> int:
        return self.e


class MinuteAggregate(SecondAggregate, tag_field="ev", tag="AM", gc=False):
    """The same at the end of a minute."""


Event = Quote | Trade | SecondAggregate | MinuteAggregate


class FrameReader:
    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(list[Event])

    def read(self, payload: bytes) -> tuple[list[Event], list[ValueFault]]:
        """The events of a frame that are about a contract's worth, and what is wrong with others.

        Raises FrameError where the frame is no JSON array.
        """
        try:
            return self._decoder.decode(payload), []
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._read_one_by_one(payload)

    def _read_one_by_one(self, payload: bytes) -> tuple[list[Event], list[ValueFault]]:
        try:
            parsed = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise FrameError(f"not JSON: {error}") from None
        if not isinstance(parsed, list):
            raise FrameError(f"not a JSON array but {type(parsed).__name__}")
        events, faults = [], []
        for element in parsed:
            try:
                event = read_event(element)
            except ValueFault as fault:
                faults.append(fault)
                continue
            if event is not None:
                events.append(event)
        return events, faults


def read_event(element: object) -> Event | None:
    """One event of a frame; None for one that is not about a contract's worth. Raises ValueFault."""
    if not isinstance(element, dict):
        raise ValueFault("not_an_object", f"an event is {type(element).__name__}, not an object")
    kind = element.get("ev")
    if not isinstance(kind, str):
        raise ValueFault("no_type", "an event has no ev")
    reader = _READERS.get(kind)
    if reader is None:
        return None
    ticker = element.get("sym")
    if not isinstance(ticker, str):
        raise ValueFault("no_ticker", "an event has no sym")
    return reader(element, ticker)


def _quote(event: Mapping[str, Any], ticker: str) -> Quote:
    return Quote(
        ticker, int(registers.time_ms(event.get("t"), "t")), int(registers.sequence(event.get("q"), "q")),
        _float(registers.price(event.get("bp"), "bp")), _float(registers.price(event.get("ap"), "ap")),
        _int(registers.count(event.get("bs"), "bs")), _int(registers.count(event.get("as"), "as")),
    )


def _trade(event: Mapping[str, Any], ticker: str) -> Trade:
    ts = int(registers.time_ms(event.get("t"), "t"))
    price = _float(registers.price(event.get("p"), "p"))
    if price is None:
        raise ValueFault("no_price", "a trade has no p")
    sequence, size = registers.sequence(event.get("q"), "q"), registers.count(event.get("s"), "s")
    return Trade(ticker, ts, price, int(sequence), _int(size))


def _aggregate(event: Mapping[str, Any], ticker: str) -> SecondAggregate:
    ts = int(registers.time_ms(event.get("e"), "e"))
    volume = _int(registers.count(event.get("av"), "av"))
    if volume is None:
        raise ValueFault("no_volume", "an aggregate has no av")
    return SecondAggregate(ticker, ts, volume)


def _float(text: str | None) -> float | None:
    return None if text is None else float(text)


def _int(text: str | None) -> int | None:
    return None if text is None else int(text)


_READERS: dict[str, Callable[[Mapping[str, Any], str], Event]] = {
    "Q": _quote, "T": _trade, "A": _aggregate, "AM": _aggregate,
}
