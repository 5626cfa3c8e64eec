"""Option contracts: tickers, panes and the geometry hash. Identity comes from the chain and nowhere else."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

# O: + OCC symbol without padding. Parsed from the right, because a root may end in a digit (adjusted contracts do).
_TICKER = re.compile(r"O:([A-Z][A-Z0-9.]{0,9}?)(\d{6})([CP])(\d{8})", re.ASCII)

# Settlement roots listed under an underlying of another name. Any other root is its own underlying.
_UNDERLYING_OF_ROOT = {
    "SPXW": "SPX",
    "NDXP": "NDX",
    "RUTW": "RUT",
    "VIXW": "VIX",
}
# Roots that settle in the morning (against the opening print); every other root settles in the afternoon.
_AM_ROOTS = frozenset({"SPX", "NDX", "RUT", "VIX", "VIXW"})
INDEX_SYMBOLS = frozenset({"SPX", "NDX", "RUT", "VIX", "XSP"})


class TickerError(ValueError):
    """An option ticker that cannot be a listed contract; the message names it."""


@dataclass(frozen=True, slots=True)
class Ticker:
    """What a ticker says by itself. ``strike`` is in dollars, ``side`` is ``call`` or ``put``."""

    ticker: str
    root: str
    expiration: date
    side: str
    strike: float

    @property
    def pane(self) -> str:
        """``{expiration}:{root}``: AM and PM settlement share dates and strikes, so the root is part of the key."""
        return f"{self.expiration.isoformat()}:{self.root}"

    @property
    def underlying(self) -> str:
        return underlying_of(self.root)


def parse_ticker(ticker: str) -> Ticker:
    """Parse ``O:SPXW261218C06800000``. Raises TickerError naming what is wrong."""
    match = _TICKER.fullmatch(ticker)
    if match is None:
        raise TickerError(f"not an option ticker: {ticker[:64]!r}")
    root, day, right, strike = match.groups()
    try:
        expiration = date(2000 + int(day[:2]), int(day[2:4]), int(day[4:]))
    except ValueError as error:
        raise TickerError(f"no such expiration date in {ticker!r}") from error
    if strike == "00000000":
        raise TickerError(f"a strike of zero in {ticker!r}")
    return Ticker(ticker, root, expiration, "call" if right == "C" else "put", int(strike) / 1000)


def make_ticker(root: str, expiration: date, side: str, strike: float) -> str:
    """The inverse of parse_ticker: the provider's spelling of a contract."""
    return f"O:{root}{expiration:%y%m%d}{'C' if side == 'call' else 'P'}{round(strike * 1000):08d}"


def underlying_of(root: str) -> str:
    """The symbol whose chain lists this settlement root: ``SPXW`` is under ``SPX``."""
    return _UNDERLYING_OF_ROOT.get(root, root)


def settlement_of(root: str) -> str:
    """``AM`` (settles against the opening print) or ``PM``."""
    return "AM" if root in _AM_ROOTS else "PM"


def provider_symbol(symbol: str) -> str:
    """How the provider's snapshot endpoints spell an underlying: indices carry ``I:``."""
    return f"I:{symbol}" if symbol in INDEX_SYMBOLS else symbol


def geometry_hash(tickers: Iterable[str]) -> str:
    """Hex SHA-256 of the sorted tickers, one a line: equal for two chains exactly when they list the same contracts."""
    return hashlib.sha256("\n".join(sorted(tickers)).encode()).hexdigest()
