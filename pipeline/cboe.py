"""Reader of Cboe's published option chains, both layouts, as columns.

``one row per contract`` is the delayed-quote feed written out as CSV (it carries no time and no spot of its own);
``side by side`` is the quote-table download (calls left, puts right, a header with the date in English or Spanish).
"""

import csv
import gzip
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from pipeline.contract import TickerError, parse_ticker, underlying_of

NEW_YORK = ZoneInfo("America/New_York")

_GZIP_MAGIC = b"\x1f\x8b"
# Needed from the one-row layout; the rest of its columns may be absent and then read as NaN.
_ROW_COLUMNS = ("session_date", "option", "bid", "ask", "open_interest", "volume", "iv")
_SIDE_COLUMNS = ("Expiration Date", "Calls", "Strike", "Puts")
_MONTHS = {
    "january": 1, "february": 2, "march": 3, "april": 4, "may": 5, "june": 6,
    "july": 7, "august": 8, "september": 9, "october": 10, "november": 11, "december": 12,
    "enero": 1, "febrero": 2, "marzo": 3, "abril": 4, "mayo": 5, "junio": 6,
    "julio": 7, "agosto": 8, "septiembre": 9, "octubre": 10, "noviembre": 11, "diciembre": 12,
}  # fmt: skip
_ENGLISH_DATE = re.compile(r"(?P<month>[A-Za-z]+) (?P<day>\d{1,2}), (?P<year>\d{4})")
_SPANISH_DATE = re.compile(r"(?P<day>\d{1,2}) de (?P<month>[a-z]+) de (?P<year>\d{4})")
_TIME = re.compile(r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?:\s*(?P<half>[AaPp])\.?\s?[Mm])?")
_ZONE = re.compile(r"\b(?:GMT|UTC)(?P<hours>[+-]\d{1,2})\b|\b(?P<name>E[SD]T)\b")
_ZONE_HOURS = {"EST": -5, "EDT": -4}

# How many strikes nearest the money vote on the spot when the file has none.
_PARITY_STRIKES = 11


class CboeFileError(ValueError):
    """A file that is not a Cboe chain; the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True, eq=False)
class CboeChain:
    """One chain. Every column has one entry a contract, in the file's order.

    Prices and strikes are in dollars, ``iv`` is annual (0.118 = 11.8 %), greeks are per dollar of the underlying, per
    day (theta) and per volatility point (vega), as published. A figure the file does not give is NaN; a published 0
    stays 0. ``expiration`` is ``datetime64[D]``, ``side`` is ``call`` or ``put``, ``ticker`` is the provider's
    spelling (``O:SPXW260821C07640000``). ``bad_rows`` counts contracts left out because they could not be read.
    """

    symbol: str
    quote_time: datetime
    spot: float
    ticker: NDArray[np.str_]
    root: NDArray[np.str_]
    expiration: NDArray[np.datetime64]
    side: NDArray[np.str_]
    strike: NDArray[np.float64]
    bid: NDArray[np.float64]
    ask: NDArray[np.float64]
    bid_size: NDArray[np.float64]
    ask_size: NDArray[np.float64]
    iv: NDArray[np.float64]
    delta: NDArray[np.float64]
    gamma: NDArray[np.float64]
    theta: NDArray[np.float64]
    vega: NDArray[np.float64]
    open_interest: NDArray[np.float64]
    volume: NDArray[np.float64]
    last: NDArray[np.float64]
    bad_rows: int

    def __len__(self) -> int:
        return len(self.ticker)


_NUMBERS = (
    "bid", "ask", "bid_size", "ask_size", "iv", "delta", "gamma", "theta", "vega", "open_interest", "volume", "last",
)  # fmt: skip
# A chain without these is useless, so a contract where one is unreadable is a bad row rather than a NaN.
_REQUIRED = frozenset({"bid", "ask"})


def read_chain(path: str | Path, spot: float | None = None) -> CboeChain:
    """Read a chain, gzip or plain, of either layout.

    ``spot`` (dollars) overrides the file's. The one-row layout has none: without an override it is estimated from
    put-call parity at the strikes nearest the money of the nearest expiration, which is that expiration's forward
    (for a few days ahead within a dollar or two of an index of thousands). Its quote time is its latest trade.

    Raises CboeFileError when the file is not a chain, OSError when it cannot be opened.
    """
    path = Path(path)
    lines = _lines(path)
    for number, line in enumerate(lines[:10]):
        fields = next(csv.reader([line]), [])
        if set(_ROW_COLUMNS) <= set(fields):
            return _read_rows(path, fields, lines[number + 1 :], spot)
        if set(_SIDE_COLUMNS) <= set(fields):
            return _read_sides(path, lines[:number], fields, lines[number + 1 :], spot)
    raise CboeFileError(f"{path}: not a Cboe option chain (no header of either layout in its first ten lines)")


def _lines(path: Path) -> list[str]:
    content = path.read_bytes()
    try:
        if content.startswith(_GZIP_MAGIC):
            content = gzip.decompress(content)
        return content.decode("utf-8-sig").splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise CboeFileError(f"{path}: not a Cboe option chain ({error})") from error


class _Columns:
    """Contracts read so far. ``add`` keeps a contract or counts it as bad."""

    def __init__(self) -> None:
        self.identity: dict[str, tuple[str, date, str, float]] = {}
        self.numbers: list[list[float]] = []
        self.bad = 0

    def add(self, option: str, figures: dict[str, str]) -> None:
        ticker = f"O:{option.strip().replace(' ', '')}"
        try:
            contract = parse_ticker(ticker)
            row = [_number(figures.get(name, ""), name) for name in _NUMBERS]
        except (TickerError, ValueError):
            self.bad += 1
            return
        if ticker in self.identity:
            self.bad += 1
            return
        self.identity[ticker] = (contract.root, contract.expiration, contract.side, contract.strike)
        self.numbers.append(row)

    def chain(self, path: Path, symbol: str, quote_time: datetime, spot: float | None) -> CboeChain:
        if not self.identity:
            raise CboeFileError(f"{path}: a Cboe header but no readable contract ({self.bad} bad rows)")
        roots, expirations, sides, strikes = zip(*self.identity.values(), strict=True)
        columns: dict[str, Any] = dict(zip(_NUMBERS, np.array(self.numbers, dtype=float).T, strict=True))
        columns["expiration"] = np.array(expirations, dtype="datetime64[D]")
        columns["root"] = np.array(roots)
        columns["side"] = np.array(sides)
        columns["strike"] = np.array(strikes, dtype=float)
        if spot is None:
            spot = _parity_spot(columns)
        if spot is None:
            raise CboeFileError(f"{path}: no spot in the file and no strike quoted on both sides to infer it from")
        return CboeChain(
            symbol=symbol,
            quote_time=quote_time,
            spot=spot,
            ticker=np.array(list(self.identity)),
            bad_rows=self.bad,
            **columns,
        )


def _number(text: str, name: str) -> float:
    """A figure in the file's spelling. Raises ValueError where a required one is missing or not a number."""
    try:
        value = float(text.replace(",", "")) if text else math.nan
    except ValueError:
        if name in _REQUIRED:
            raise
        return math.nan
    if (name in _REQUIRED and not value >= 0) or math.isinf(value):
        raise ValueError(f"{name} {text!r}")
    return value


def _read_rows(path: Path, header: list[str], lines: list[str], spot: float | None) -> CboeChain:
    columns = _Columns()
    quote_time: datetime | None = None
    symbol = ""
    renamed = {"last_trade_price": "last"}
    names = [renamed.get(name, name) for name in header]
    for fields in _records(lines):
        if len(fields) != len(names):
            columns.bad += 1
            continue
        figures = dict(zip(names, fields, strict=True))
        columns.add(figures["option"], figures)
        symbol = symbol or figures.get("ticker", "").lstrip("_^")
        quote_time = _later(quote_time, figures.get("last_trade_time", ""))
    if not columns.identity:
        raise CboeFileError(f"{path}: a Cboe header but no readable contract ({columns.bad} bad rows)")
    if quote_time is None:
        raise CboeFileError(f"{path}: no readable last_trade_time, so the chain's own time is unknown")
    symbol = symbol or underlying_of(next(iter(columns.identity.values()))[0])
    return columns.chain(path, symbol, quote_time, spot)


def _later(latest: datetime | None, text: str) -> datetime | None:
    try:
        seen = datetime.fromisoformat(text)
    except ValueError:
        return latest
    seen = seen.replace(tzinfo=NEW_YORK) if seen.tzinfo is None else seen.astimezone(NEW_YORK)
    return seen if latest is None or seen > latest else latest


def _read_sides(path: Path, preamble: list[str], header: list[str], lines: list[str], spot: float | None) -> CboeChain:
    strike_at, puts_at = header.index("Strike"), header.index("Puts")
    names = {
        "Last Sale": "last", "Bid": "bid", "Ask": "ask", "Volume": "volume", "IV": "iv",
        "Delta": "delta", "Gamma": "gamma", "Open Interest": "open_interest",
    }  # fmt: skip
    sides = [
        (start, {names[header[i]]: i for i in range(start + 1, end) if header[i] in names})
        for start, end in ((header.index("Calls"), strike_at), (puts_at, len(header)))
    ]
    columns = _Columns()
    for fields in _records(lines):
        if len(fields) != len(header):
            columns.bad += 2
            continue
        for option_at, positions in sides:
            columns.add(fields[option_at], {name: fields[i] for name, i in positions.items()})
    if not columns.identity:
        raise CboeFileError(f"{path}: a Cboe header but no readable contract ({columns.bad} bad rows)")
    symbol = underlying_of(next(iter(columns.identity.values()))[0])
    text = "\n".join(preamble)
    return columns.chain(path, symbol, _header_time(path, text), spot if spot is not None else _header_spot(text))


def _records(lines: Iterable[str]) -> Iterator[list[str]]:
    return (fields for fields in csv.reader(lines) if fields)


def _header_spot(text: str) -> float | None:
    match = re.search(r"Last:\s*([\d.]+)", text)
    return float(match[1]) if match and float(match[1]) > 0 else None


def _header_time(path: Path, text: str) -> datetime:
    """``December 12, 2022 at 8:31 PM EST`` or ``23 de marzo de 2022, 10:11 GMT-4``, in New York time."""
    day = _ENGLISH_DATE.search(text) or _SPANISH_DATE.search(text)
    clock = _TIME.search(text, day.end()) if day else None
    month = _MONTHS.get(day["month"].lower()) if day else None
    if day is None or clock is None or month is None:
        raise CboeFileError(f"{path}: no date that can be read in the chain's header")
    hour = int(clock["hour"])
    if clock["half"]:
        hour = hour % 12 + (12 if clock["half"].lower() == "p" else 0)
    try:
        naive = datetime(int(day["year"]), month, int(day["day"]), hour, int(clock["minute"]))
    except ValueError as error:
        raise CboeFileError(f"{path}: no such date in the chain's header ({error})") from error
    zone = _ZONE.search(text, clock.end())
    if zone is None:
        return naive.replace(tzinfo=NEW_YORK)
    hours = int(zone["hours"]) if zone["hours"] else _ZONE_HOURS[zone["name"]]
    return naive.replace(tzinfo=timezone(timedelta(hours=hours))).astimezone(NEW_YORK)


def _parity_spot(columns: dict[str, Any]) -> float | None:
    """K + C − P at the strikes where call and put are worth most nearly the same, nearest expiration; the median."""
    mid = (columns["bid"] + columns["ask"]) / 2
    quoted = (columns["bid"] > 0) & (columns["ask"] >= columns["bid"])
    for expiration in np.unique(columns["expiration"]):
        at = quoted & (columns["expiration"] == expiration)
        pairs: dict[tuple[str, float], dict[str, float]] = {}
        for i in np.flatnonzero(at):
            key = (str(columns["root"][i]), float(columns["strike"][i]))
            pairs.setdefault(key, {})[str(columns["side"][i])] = float(mid[i])
        both = [(abs(p["call"] - p["put"]), k + p["call"] - p["put"]) for (_, k), p in pairs.items() if len(p) == 2]
        if len(both) >= 3:
            return round(float(np.median([forward for _, forward in sorted(both)[:_PARITY_STRIKES]])), 4)
    return None
