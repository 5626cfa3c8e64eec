"""What a snapshot request asks for: filters, order and the cursor of the next page."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from urllib.parse import parse_qsl, urlencode

import numpy as np
from numpy.typing import NDArray

from pipeline.simulator.clock import from_ns
from pipeline.simulator.market import Market

_BOUNDS = ("", ".gte", ".gt", ".lte", ".lt")
_SORTS = ("ticker", "expiration_date", "strike_price")


class QueryError(ValueError):
    """A request the provider answers with 400; the message says which parameter."""


@dataclass(frozen=True, slots=True)
class ChainQuery:
    """Filters as the request spelled them, and ``after``: the ticker the previous page ended with."""

    filters: tuple[tuple[str, str], ...]
    order: str
    sort: str
    limit: int
    after: str = ""


def read_query(params: Mapping[str, str], most: int) -> ChainQuery:
    """Raises QueryError. A limit above ``most`` is taken as ``most``: what the provider does then is not known."""
    if "cursor" in params:
        params = _open_cursor(params["cursor"])
    names = [field + bound for field in ("strike_price", "expiration_date") for bound in _BOUNDS]
    filters = [(name, params[name]) for name in names if name in params]
    filters += [(name, params[name]) for name in ("contract_type", "underlying_ticker") if name in params]
    for name, value in filters:
        _check(name, value)
    sort, order, limit = params.get("sort", "ticker"), params.get("order", "asc"), params.get("limit", "10")
    if sort not in _SORTS:
        raise QueryError(f"sort: {sort!r} is not one of {', '.join(_SORTS)}")
    if order not in ("asc", "desc"):
        raise QueryError(f"order: {order!r} is not asc or desc")
    if not limit.isdecimal() or not 1 <= int(limit) <= 1_000_000:
        raise QueryError(f"limit: {limit!r} is not a number from 1")
    return ChainQuery(tuple(filters), order, sort, min(int(limit), most), params.get("ap", ""))


def _check(name: str, value: str) -> None:
    try:
        if name.startswith("strike_price"):
            float(value)
        elif name.startswith("expiration_date"):
            date.fromisoformat(value)
        elif name == "contract_type" and value not in ("call", "put"):
            raise ValueError(value)
    except ValueError as error:
        raise QueryError(f"{name}: {value!r} cannot be read") from error


def _open_cursor(cursor: str) -> Mapping[str, str]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        params = dict(parse_qsl(text, keep_blank_values=True, strict_parsing=True))
    except (binascii.Error, ValueError) as error:
        raise QueryError("cursor: cannot be read") from error
    if "ap" not in params:
        raise QueryError("cursor: cannot be read")
    return params


def write_cursor(query: ChainQuery) -> str:
    """Unpadded base64url of a query string that holds the whole request and a keyset anchor, ``ap``."""
    fields = [
        ("ap", query.after),
        ("as", ""),
        ("limit", str(query.limit)),
        ("order", query.order),
        ("sort", query.sort),
    ]
    return base64.urlsafe_b64encode(urlencode(fields + list(query.filters)).encode()).decode().rstrip("=")


def page(market: Market, symbol: str, query: ChainQuery, hidden: float = 0.0) -> tuple[list[int], ChainQuery | None]:
    """Rows of one page in order, and the query of the next page if there is one.

    ``hidden`` is the fraction of contracts left out, always the same ones.
    """
    rows = np.flatnonzero(market.symbol == market.symbols.index(symbol))
    # The table is in ticker order within a symbol, so a stable sort by another key keeps ticker as the second.
    if query.sort == "expiration_date":
        rows = rows[np.argsort(market.expiration[rows], kind="stable")]
    elif query.sort == "strike_price":
        rows = rows[np.argsort(market.strike[rows], kind="stable")]
    if query.order == "desc":
        rows = rows[::-1]
    if query.after:
        # The anchor is sought among all contracts: a listing goes on though its anchor has vanished meanwhile.
        found = np.flatnonzero(rows == market.row_of.get(query.after, -1))
        if not len(found):
            raise QueryError("cursor: its anchor was never listed")
        rows = rows[int(found[0]) + 1 :]
    rows = rows[_listed(market, rows, query, hidden)]
    chosen = rows[: query.limit].tolist()
    more = len(rows) > query.limit
    return chosen, replace(query, after=market.ticker[chosen[-1]]) if more else None


def _listed(market: Market, rows: NDArray[np.int64], query: ChainQuery, hidden: float) -> NDArray[np.bool_]:
    today = np.datetime64(from_ns(market.time_ns).date())
    keep = np.asarray(market.expiration[rows] >= today)
    if hidden:
        # Golden-ratio hashing: spread over the chain, the same on every page and at every request.
        keep &= (rows * 0.6180339887498949) % 1.0 >= hidden
    for name, value in query.filters:
        field, _, bound = name.partition(".")
        if field == "underlying_ticker":
            continue
        if field == "contract_type":
            keep &= market.call[rows] == (value == "call")
            continue
        column = market.strike[rows] if field == "strike_price" else market.expiration[rows]
        wanted = float(value) if field == "strike_price" else np.datetime64(value)
        compare = {"": np.equal, "gte": np.greater_equal, "gt": np.greater, "lte": np.less_equal, "lt": np.less}[bound]
        keep &= compare(column, wanted)
    return keep
