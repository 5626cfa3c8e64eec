"""What a batch of frames says of contracts: of each the newest quote, trade and volume, so that a burst costs less."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from pipeline import registers
from pipeline.contract import TickerError, parse_ticker
from pipeline.entry import Entry
from pipeline.frames import Event, Quote, SecondAggregate, Trade
from pipeline.registers import Register, ValueFault

KNOWN_TICKERS_MAX = 200_000
_decimal = lru_cache(maxsize=65_536)(registers.decimal)  # the same few thousand prices come again and again
_whole = lru_cache(maxsize=4096)(str)


class Section:
    """What a batch says of one underlying. ``entries`` have something of it; ``counts`` are for its analytics."""

    __slots__ = ("counts", "entries", "latest", "symbol", "worths")

    def __init__(self, symbol: str, latest: int) -> None:
        """``latest``: events after it (ms) cannot be of this epoch."""
        self.symbol = symbol
        self.latest = latest
        self.entries: list[Entry] = []
        self.worths: list[Worth] = []
        self.counts: Counter[str] = Counter()

    def note(self, entry: Entry) -> None:
        """Entries come one after the other."""
        if not self.entries or self.entries[-1] is not entry:
            self.entries.append(entry)

    def packed(self) -> dict[str, Any]:
        """Quotes, trades and volumes as hydrate.lua takes them; it tells a missing value by false."""
        panes: dict[str, int] = {}
        origins: dict[str, int] = {}
        quotes: list[Any] = []
        others: list[Any] = []
        counts, newest = self.counts.copy(), 0
        for worth in self.worths:
            counts["events"] += worth.events
            if worth.quote is None and worth.trade is None and worth.volume is None:
                continue  # all it said was refused
            newest = max(newest, worth.ts)
            place = (
                worth.ticker, panes.setdefault(worth.pane, len(panes) + 1), str(worth.ts),
                origins.setdefault(worth.origin, len(origins) + 1),
            )
            if worth.quote is not None:
                quotes += place
                quotes += _told(quote_register(worth.quote))
            if worth.trade is not None or worth.volume is not None:
                others.append([*place, *_packed_others(worth)])
        return {"ts": str(newest), "panes": list(panes), "origins": list(origins), "quotes": quotes, "others": others,
                "counts": [part for item in counts.items() for part in item]}


class Worth:
    """One contract. ``ts`` and ``origin`` are of the oldest event; ``trades`` are all of them, for sums."""

    __slots__ = ("events", "origin", "pane", "quote", "section", "ticker", "trade", "trades", "ts", "volume")

    def __init__(self, ticker: str, pane: str, section: Section, ts: int, origin: str) -> None:
        self.ticker = ticker
        self.pane = pane
        self.section = section
        self.ts = ts
        self.origin = origin
        self.events = 0
        self.quote: Quote | None = None
        self.trade: Trade | None = None
        self.volume: SecondAggregate | None = None
        self.trades: list[Trade] = []

    def take(self, event: Event, ts: int, origin: str) -> None:
        if ts < self.ts:
            self.ts, self.origin = ts, origin
        if type(event) is Quote:
            held = self.quote
            if held is None or ts > held.t or (ts == held.t and _order(event) > _order(held)):
                self.quote = event
        elif type(event) is Trade:
            self.trades.append(event)
            known = self.trade
            if known is None or ts > known.t or (ts == known.t and _order(event) > _order(known)):
                self.trade = event
        elif isinstance(event, SecondAggregate):
            seen = self.volume
            if seen is None or (ts, event.av) > (seen.e, seen.av):
                self.volume = event


class Batch:
    """Frames that are committed in one call, section by section."""

    def __init__(self, symbols: Sequence[str], places: "Places", latest_of: Callable[[str], int]) -> None:
        self.entries: list[Entry] = []
        self.sections: dict[str, Section] = {}
        self._symbols = symbols
        self._places = places
        self._latest_of = latest_of
        self._worths: dict[str, Worth] = {}

    @property
    def contracts(self) -> int:
        return len(self._worths)

    def add(self, entry: Entry, events: Iterable[Event], faults: Iterable[ValueFault]) -> Counter[str]:
        """Take in a frame; by reason, how many of its events cannot be."""
        self.entries.append(entry)
        bad = Counter(fault.reason for fault in faults)
        worths, origin = self._worths, entry.id
        section = None
        for event in events:
            worth = worths.get(event.sym)
            if worth is None:
                try:
                    worth = worths[event.sym] = self._worth(event, origin)
                except ValueFault as fault:
                    bad[fault.reason] += 1
                    continue
            if worth.section is not section:
                section = worth.section
                section.note(entry)
            worth.events += 1
            ts = event.t
            if ts > section.latest:
                bad["in_the_future"] += 1
                continue
            worth.take(event, ts, origin)
        if bad:
            # A bad event may not say whose it is; its count must live in some slot.
            section = self._section(self._symbols[0])
            section.note(entry)
            for reason, n in bad.items():
                section.counts[f"bad:{reason}"] += n
        return bad

    def _worth(self, event: Event, origin: str) -> Worth:
        underlying, pane = self._places.of(event.sym)
        if underlying not in self._symbols:
            raise ValueFault("foreign", f"{event.sym} is of no underlying of ours")
        section = self._section(underlying)
        worth = Worth(event.sym, pane, section, event.t, origin)
        section.worths.append(worth)
        return worth

    def _section(self, symbol: str) -> Section:
        section = self.sections.get(symbol)
        if section is None:
            section = self.sections[symbol] = Section(symbol, self._latest_of(symbol))
        return section


def _order(event: Quote | Trade) -> tuple[float, float, tuple[str, ...]]:
    """Of two events of a contract the greater is the newer, as newest.lua decides."""
    return registers.order(quote_register(event) if isinstance(event, Quote) else trade_register(event))


def quote_register(quote: Quote) -> Register:
    """As newest.lua orders and stores it: quote_ts, quote_seq, bid, ask, bid_size, ask_size."""
    bid, ask, bid_size, ask_size = quote.bp, quote.ap, quote.bs, quote.ask_size
    return [
        str(quote.t), str(quote.q or 0), None if bid is None else _decimal(bid), None if ask is None else _decimal(ask),
        None if bid_size is None else _whole(bid_size), None if ask_size is None else _whole(ask_size),
    ]


def trade_register(trade: Trade) -> Register:
    """trade_ts, trade_seq, last, last_size."""
    return [str(trade.t), str(trade.q or 0), _decimal(trade.p), None if trade.s is None else _whole(trade.s)]


def _told(register: Register) -> list[str | bool]:
    return [False if value is None else value for value in register]


def _packed_others(worth: Worth) -> list[Any]:
    trade = False if worth.trade is None else _told(trade_register(worth.trade))
    volume = False if worth.volume is None else [str(worth.volume.e), str(worth.volume.av)]
    trades = sorted(map(trade_register, worth.trades), key=registers.order)
    return [trade, volume, [value or "0" for register in trades for value in register]]


class Places:
    """Where tickers belong: (underlying, pane), worked out once; the same few thousand come again and again."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}

    def of(self, ticker: str) -> tuple[str, str]:
        """Raises ValueFault for what is no option ticker."""
        known = self._known.get(ticker)
        if known is None:
            try:
                parsed = parse_ticker(ticker)
            except TickerError as error:
                raise ValueFault("bad_ticker", str(error)) from None
            if len(self._known) >= KNOWN_TICKERS_MAX:
                self._known.clear()
            known = self._known[ticker] = parsed.underlying, parsed.pane
        return known
