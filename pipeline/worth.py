"""What a batch of frames says of contracts: of each the newest quote, trade and volume, so that a burst costs less."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from pipeline import registers
from pipeline.contract import TickerError, parse_ticker
from pipeline.entry import Entry
from pipeline.frames import Event, Quote, SecondAggregate, Trade
from pipeline.registers import ValueFault

KNOWN_TICKERS_MAX = 200_000
_KNOWN_NUMBERS_MAX = 65_536


class _Texts(dict[Any, str]):
    """Numbers as text, made once: the same few thousand prices and sizes come again and again. Looking one up in a dict
    costs a fifth of what a cached function's call does."""

    def __init__(self, text_of: Callable[[Any], str]) -> None:
        super().__init__()
        self._text_of = text_of

    def __missing__(self, number: Any) -> str:
        if len(self) >= _KNOWN_NUMBERS_MAX:
            self.clear()
        text = self[number] = self._text_of(number)
        return text


_PRICES = _Texts(lambda number: "" if number is None else registers.decimal(number))
_WHOLES = _Texts(lambda number: "" if number is None else str(number))


class Worth:
    """One contract in a batch. ``ts`` and ``origin`` are of its oldest event; ``trades`` are all of them, for sums.

    It is kept from batch to batch, because the same few thousand contracts come again and again; ``batch`` says of
    which one its values are.
    """

    __slots__ = ("batch", "origin", "pane", "quote", "symbol", "ticker", "trade", "trades", "ts", "volume")

    def __init__(self, ticker: str, symbol: str, pane: str) -> None:
        self.ticker = ticker
        self.symbol = symbol
        self.pane = pane
        self.batch = self.ts = 0
        self.origin = ""
        self.quote: Quote | None = None
        self.trade: Trade | None = None
        self.volume: SecondAggregate | None = None
        self.trades: list[Trade] = []

    def begin(self, batch: int, ts: int, origin: str) -> None:
        self.batch, self.ts, self.origin = batch, ts, origin
        self.quote = self.trade = self.volume = None
        if self.trades:
            self.trades = []

    def take(self, event: Event, ts: int) -> None:
        if type(event) is Quote:
            held = self.quote
            if held is None or _newer(event, held):
                self.quote = event
        elif type(event) is Trade:
            self.trades.append(event)
            known = self.trade
            if known is None or _newer(event, known):
                self.trade = event
        elif isinstance(event, SecondAggregate):
            seen = self.volume
            if seen is None or (ts, event.av) > (seen.e, seen.av):
                self.volume = event


def _newer(event: Quote | Trade, held: Quote | Trade) -> bool:
    """Time decides, then the sequence, then the values, as in newest.lua."""
    if event.t != held.t:
        return event.t > held.t
    sequence, known = event.q or 0, held.q or 0
    return _values(event) > _values(held) if sequence == known else sequence > known


def _values(event: Quote | Trade) -> list[str]:
    register = quote_register(event) if isinstance(event, Quote) else trade_register(event)
    return register.split("|")[2:]


class Worths:
    """The contracts of our underlyings that frames have named."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = symbols
        self.batches = 0
        self._known: dict[str, Worth] = {}

    def known(self) -> dict[str, Worth]:
        return self._known

    def learn(self, ticker: str) -> Worth:
        """Raises ValueFault for what is no option ticker, or of no underlying of ours."""
        try:
            parsed = parse_ticker(ticker)
        except TickerError as error:
            raise ValueFault("bad_ticker", str(error)) from None
        if parsed.underlying not in self.symbols:
            raise ValueFault("foreign", f"{ticker} is of no underlying of ours")
        if len(self._known) >= KNOWN_TICKERS_MAX:
            self._known.clear()
        worth = self._known[ticker] = Worth(ticker, parsed.underlying, parsed.pane)
        return worth


class _OfPane:
    """What a section says of one pane: of each contract its ticker, time and place of its oldest event's entry, and the
    quote; or trade, volume and every trade."""

    __slots__ = ("others", "quotes")

    def __init__(self) -> None:
        self.quotes: list[tuple[str, int, int, str]] = []
        self.others: list[tuple[Any, ...]] = []

    def told(self, pane: str) -> dict[str, Any]:
        """As hydrate.lua takes it: lists beside each other."""
        return {
            "pane": pane, "quotes": _beside(("tickers", "times", "origins", "quotes"), self.quotes),
            "others": _beside(("tickers", "times", "origins", "trades", "volumes", "sums"), self.others),
        }


def _beside(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> dict[str, Sequence[Any]]:
    return dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))


class Section:
    """What a batch says of one underlying. ``entries`` have something of it; ``counts`` are for its analytics."""

    __slots__ = ("counts", "entries", "events", "latest", "symbol", "worths")

    def __init__(self, symbol: str, latest: int) -> None:
        """``latest``: events after it (ms) cannot be of this epoch."""
        self.symbol = symbol
        self.latest = latest
        self.events = 0
        self.entries: list[Entry] = []
        self.worths: list[Worth] = []
        self.counts: Counter[str] = Counter()

    def note(self, entry: Entry) -> None:
        """Entries come one after the other."""
        if not self.entries or self.entries[-1] is not entry:
            self.entries.append(entry)

    def packed(self) -> dict[str, Any]:
        """Quotes, trades and volumes as hydrate.lua takes them, pane by pane; it tells a missing register by false."""
        panes: dict[str, _OfPane] = {}
        origins: dict[str, int] = {}
        newest = 0
        for worth in self.worths:
            quote, ts, origin = worth.quote, worth.ts, worth.origin
            others = worth.trade is not None or worth.volume is not None
            if quote is None and not others:
                continue  # all it said was refused
            if ts > newest:
                newest = ts
            of = panes.get(worth.pane)
            if of is None:
                of = panes[worth.pane] = _OfPane()
            at_origin = origins.get(origin) or origins.setdefault(origin, len(origins) + 1)
            if quote is not None:
                of.quotes.append((worth.ticker, ts, at_origin, quote_register(quote)))
            if others:
                of.others.append((worth.ticker, ts, at_origin, *_packed_others(worth)))
        return {"ts": str(newest), "origins": list(origins), "panes": [of.told(pane) for pane, of in panes.items()],
                "counts": ["events", self.events, *(part for item in self.counts.items() for part in item)]}


_NOWHERE = Section("", 0)


class Batch:
    """Frames that are committed in one call, section by section. One at a time: they share their contracts."""

    def __init__(self, worths: Worths, latest_of: Callable[[str], int]) -> None:
        self.entries: list[Entry] = []
        self.sections: dict[str, Section] = {}
        self.contracts = 0
        self._worths = worths
        self._latest_of = latest_of
        worths.batches += 1

    def add(self, entry: Entry, events: Iterable[Event], faults: Iterable[ValueFault]) -> Counter[str]:
        """Take in a frame; by reason, how many of its events cannot be."""
        self.entries.append(entry)
        bad = Counter(fault.reason for fault in faults)
        known, batch, origin = self._worths.known(), self._worths.batches, entry.id
        section, symbol, latest = _NOWHERE, "", 0
        for event in events:
            worth, ts = known.get(event.sym), event.t
            if worth is None:
                try:
                    worth = self._worths.learn(event.sym)
                except ValueFault as fault:
                    bad[fault.reason] += 1
                    continue
            if worth.symbol != symbol:
                symbol = worth.symbol
                section = self._section(symbol)
                section.note(entry)
                latest = section.latest
            section.events += 1
            if worth.batch != batch:
                worth.begin(batch, ts, origin)
                section.worths.append(worth)
                self.contracts += 1
            elif ts < worth.ts:
                worth.ts, worth.origin = ts, origin
            if ts > latest:
                bad["in_the_future"] += 1
            elif type(event) is Quote and (worth.quote is None or ts > worth.quote.t):
                worth.quote = event  # as nearly always
            else:
                worth.take(event, ts)
        if bad:
            # A bad event may not say whose it is; its count must live in some slot.
            section = self._section(self._worths.symbols[0])
            section.note(entry)
            for reason, n in bad.items():
                section.counts[f"bad:{reason}"] += n
        return bad

    def _section(self, symbol: str) -> Section:
        section = self.sections.get(symbol)
        if section is None:
            section = self.sections[symbol] = Section(symbol, self._latest_of(symbol))
        return section


def quote_register(quote: Quote) -> str:
    """A packed register (``pipeline.registers``), ``quotes``."""
    prices, sizes = f"{_PRICES[quote.bp]}|{_PRICES[quote.ap]}", f"{_WHOLES[quote.bs]}|{_WHOLES[quote.ask_size]}"
    return f"{quote.t}|{quote.q or 0}|{prices}|{sizes}"


def trade_register(trade: Trade) -> str:
    """A packed register, ``trades``."""
    return f"{trade.t}|{trade.q or 0}|{_PRICES[trade.p]}|{_WHOLES[trade.s]}"


def _packed_others(worth: Worth) -> tuple[str | Literal[False], str | Literal[False], list[str]]:
    """Trade, volume and every trade (ts, seq, price, size, ...) in their order."""
    volume = worth.volume
    trades = sorted((trade_register(trade).split("|") for trade in worth.trades), key=registers.order)
    return (
        False if worth.trade is None else trade_register(worth.trade),
        False if volume is None else f"{volume.e}|{volume.av}",
        [value or "0" for register in trades for value in register],
    )
