"""What the provider says of the market itself: its time, and the values of indices."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.provider.errors import FaultyError
from pipeline.provider.rest import OnRetry, Rest

PRICE_MOST = 1e7  # dollars; nothing listed trades near it, and what claims to is a fault


@dataclass(frozen=True, slots=True)
class Value:
    """A price in dollars at a provider time (ms since 1970, UTC); ``ticker`` as the provider spells it."""

    ticker: str
    price: float
    ts: int


def price_of(value: object) -> float | None:
    """A price that can be one: a finite positive number below PRICE_MOST. None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 < value < PRICE_MOST else None


def ms_of_ns(value: object) -> int | None:
    """Milliseconds of a provider's nanoseconds. None for what is no such time."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 63:
        return None
    return value // 1_000_000


@dataclass(frozen=True, slots=True)
class Moment:
    """The market's time, ms, and what it is doing then: open, extended-hours, closed, or '' where it is not said."""

    ts: int
    market: str


def market_now(rest: Rest, on_retry: OnRetry) -> Moment:
    """The market status: the only clock the provider shows."""
    status = rest.get("/v1/marketstatus/now", on_retry=on_retry)
    said, market = status.get("serverTime"), status.get("market")
    try:
        moment = datetime.fromisoformat(said)  # type: ignore[arg-type]  # whatever it is, it must read as a time
    except (TypeError, ValueError):
        raise FaultyError(f"/v1/marketstatus/now: serverTime {str(said)[:40]!r} is not a time") from None
    whole = moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    ts = (whole.days * 86_400 + whole.seconds) * 1_000 + whole.microseconds // 1_000
    return Moment(ts, market if isinstance(market, str) else "")


def index_values(rest: Rest, tickers: Iterable[str], on_retry: OnRetry) -> list[Value]:
    """The newest values of indices, of those the provider knows and the plan includes."""
    page = rest.get("/v3/snapshot/indices", {"ticker.any_of": ",".join(tickers), "limit": "250"}, on_retry)
    rows = page.get("results")
    if not isinstance(rows, list):
        raise FaultyError("/v3/snapshot/indices: results are not a list")
    return [value for row in rows if (value := read_index(row)) is not None]


def read_index(row: Any) -> Value | None:
    """One row of the index snapshot; None where it has no value or no time (NOT_FOUND, NOT_ENTITLED, malformed)."""
    if not isinstance(row, dict) or not isinstance(row.get("ticker"), str):
        return None
    price, ts = price_of(row.get("value")), ms_of_ns(row.get("last_updated"))
    return Value(row["ticker"], price, ts) if price is not None and ts is not None else None
