"""The provider's chain rows, read into contracts. A bad row costs itself, never its chain."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pipeline import registers
from pipeline.contract import Ticker, TickerError, parse_ticker
from pipeline.registers import Register, ValueFault

_NS_PER_MS = 1_000_000
STANDARD_SHARES = 100
_T = TypeVar("_T")
CHAIN_FIELDS = registers.REGISTERS["chain"][1:]


@dataclass(frozen=True, slots=True)
class ChainContract:
    """One listed contract and what its row says it is worth. ``chain`` follows CHAIN_FIELDS; None: not said."""

    ticker: Ticker
    style: str
    chain: tuple[str | None, ...]
    quote: Register | None
    trade: Register | None
    volume: Register | None
    delayed: bool


@dataclass(frozen=True, slots=True)
class ChainRows:
    contracts: dict[str, ChainContract]
    faults: Counter[str]
    """Rows and parts of rows that could not be used, by reason."""


def read_rows(rows: Iterable[object], symbol: str, ts: int) -> ChainRows:
    """Contracts of ``symbol`` by ticker, from rows as received; ``ts`` dates what carries no time of its own."""
    contracts: dict[str, ChainContract] = {}
    faults: Counter[str] = Counter()
    for row in rows:
        try:
            contract = _read(row, symbol, str(ts), faults)
        except ValueFault as fault:
            faults[fault.reason] += 1
            continue
        if contract.ticker.ticker in contracts:
            faults["repeated"] += 1  # a page that moved under the cursor; both rows say the same contract
        contracts[contract.ticker.ticker] = contract
    return ChainRows(contracts, faults)


def _read(row: object, symbol: str, ts: str, faults: Counter[str]) -> ChainContract:
    if not isinstance(row, dict):
        raise ValueFault("not_an_object", f"a row is {type(row).__name__}")
    details = _part(row, "details")
    text = details.get("ticker")
    if not isinstance(text, str):
        raise ValueFault("no_ticker", "a row has no details.ticker")
    try:
        ticker = parse_ticker(text)
    except TickerError as error:
        raise ValueFault("bad_ticker", str(error)) from None
    if ticker.underlying != symbol:
        raise ValueFault("adjusted" if ticker.root[-1].isdigit() else "foreign", f"{text} is not of {symbol}")
    if _said(details, "shares_per_contract", STANDARD_SHARES) != STANDARD_SHARES:
        raise ValueFault("adjusted", f"{text} delivers {details['shares_per_contract']!r:.20} shares")
    if _said(details, "contract_type", ticker.side) != ticker.side:
        raise ValueFault("contradiction", f"{text} is called a {details['contract_type']!r:.20}")
    if _said(details, "expiration_date", ticker.expiration.isoformat()) != ticker.expiration.isoformat():
        raise ValueFault("contradiction", f"{text} is said to expire {details['expiration_date']!r:.20}")
    greeks = _part(row, "greeks")
    quote = _part(row, "last_quote")
    chain = (
        _soft(faults, lambda: registers.count(row.get("open_interest"), "open_interest")),
        _soft(faults, lambda: registers.rate(row.get("implied_volatility"), "implied_volatility")),
        *(_greek(greeks, name, faults) for name in ("delta", "gamma", "theta", "vega")),
    )
    style = details.get("exercise_style")
    return ChainContract(
        ticker, style if isinstance(style, str) else "", chain,
        _soft(faults, lambda: _quote(quote, ts)),
        _soft(faults, lambda: _trade(_part(row, "last_trade"), ts)),
        _soft(faults, lambda: _volume(_part(row, "day"), ts)),
        quote.get("timeframe") == "DELAYED",
    )


def _greek(greeks: Mapping[str, object], name: str, faults: Counter[str]) -> str | None:
    return _soft(faults, lambda: registers.rate(greeks.get(name), name))


def _part(row: Mapping[str, object], name: str) -> Mapping[str, object]:
    """A sub-object; missing, null and empty ones are the same: nothing is said."""
    part = row.get(name)
    return part if isinstance(part, dict) else {}


def _said(part: Mapping[str, object], name: str, otherwise: object) -> object:
    value = part.get(name)
    return otherwise if value is None else value


def _soft(faults: Counter[str], read: Callable[[], _T | None]) -> _T | None:
    """A part of a row that cannot be used is counted; the contract exists all the same."""
    try:
        return read()
    except ValueFault as fault:
        faults[fault.reason] += 1
        return None


def _quote(quote: Mapping[str, object], ts: str) -> Register | None:
    if quote.get("bid") is None and quote.get("ask") is None:
        return None
    return [
        _time(quote.get("last_updated"), ts), "0",
        registers.price(quote.get("bid"), "bid"), registers.price(quote.get("ask"), "ask"),
        registers.count(quote.get("bid_size"), "bid_size"), registers.count(quote.get("ask_size"), "ask_size"),
    ]


def _trade(trade: Mapping[str, object], ts: str) -> Register | None:
    if trade.get("price") is None or trade.get("sip_timestamp") is None:
        return None
    return [
        _time(trade["sip_timestamp"], ts), "0",
        registers.price(trade["price"], "price"), registers.count(trade.get("size"), "size"),
    ]


def _volume(day: Mapping[str, object], ts: str) -> Register | None:
    volume = registers.count(day.get("volume"), "volume")
    return None if volume is None else [_time(day.get("last_updated"), ts), volume]


def _time(at: object, ts: str) -> str:
    """A provider's time in ns as ms; what says none is of the snapshot's."""
    if at is None:
        return ts
    ms = registers.time_ms(at, "the time of a quote, trade or day", _NS_PER_MS)
    registers.not_after(ms, ts, "a quote, trade or day")
    return ms
