"""Option chains: all pages of one underlying or nothing, the rows as received, by expiration."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import orjson

from pipeline.provider.errors import FaultyError
from pipeline.provider.market import Value, ms_of_ns, price_of
from pipeline.provider.rest import OnRetry, Rest

PAGE_ROWS = 250  # the most the provider allows


@dataclass(frozen=True, slots=True)
class Scope:
    """What part of a chain is asked for, ends included: New York dates and strikes in dollars. None: all."""

    expirations: tuple[date, date] | None = None
    strikes: tuple[float, float] | None = None

    def query(self) -> dict[str, str]:
        query = {}
        if self.expirations is not None:
            query["expiration_date.gte"], query["expiration_date.lte"] = map(date.isoformat, self.expirations)
        if self.strikes is not None:
            query["strike_price.gte"], query["strike_price.lte"] = (f"{strike:.2f}" for strike in self.strikes)
        return query


@dataclass(slots=True)
class Chain:
    """Rows of one chain by expiration date, each as the JSON that was received. ``bad``: rows dropped, by reason."""

    rows: dict[str, list[bytes]] = field(default_factory=dict)
    bad: Counter[str] = field(default_factory=Counter)
    spot: Value | None = None
    pages: int = 0

    @property
    def contracts(self) -> int:
        return sum(map(len, self.rows.values()))

    @property
    def dropped(self) -> int:
        return self.bad.total()

    def add(self, page: Iterable[Any]) -> None:
        """Take a page in. Rows are kept packed: 30,000 of them as objects would be a hundred megabytes."""
        self.pages += 1
        for row in page:
            expiration = _expiration(row)
            if expiration in _REASONS:
                self.bad[expiration] += 1
            else:
                self.rows.setdefault(expiration, []).append(orjson.dumps(row))
                self._look_at_spot(row.get("underlying_asset"))

    def snapshot(self, expiration: str) -> bytes:
        """The rows of one expiration as a JSON array."""
        return b"[" + b",".join(self.rows[expiration]) + b"]"

    def _look_at_spot(self, asset: Any) -> None:
        """Indices carry ``value``, stocks ``price``; without the plan for them, neither. The newest is kept."""
        if not isinstance(asset, dict):
            return
        price = price_of(asset.get("value"))
        price = price_of(asset.get("price")) if price is None else price
        ts = ms_of_ns(asset.get("last_updated"))
        if price is not None and ts is not None and (self.spot is None or ts > self.spot.ts):
            self.spot = Value(str(asset.get("ticker", "")), price, ts)


_REASONS = frozenset({"not_an_object", "no_details", "no_expiration", "bad_expiration"})


def _expiration(row: Any) -> str:
    """The date a row belongs under, or one of _REASONS."""
    if not isinstance(row, dict):
        return "not_an_object"
    details = row.get("details")
    if not isinstance(details, dict):
        return "no_details"
    expiration = details.get("expiration_date")
    if expiration is None:
        return "no_expiration"
    try:
        return expiration if date.fromisoformat(expiration).isoformat() == expiration else "bad_expiration"
    except (TypeError, ValueError):
        return "bad_expiration"


def fetch_chain(rest: Rest, underlying: str, scope: Scope, on_retry: OnRetry, most_s: float) -> Chain:
    """All pages within ``most_s`` seconds, or an exception. ``underlying`` as the provider spells it (``I:SPX``)."""
    chain = Chain()
    deadline = time.monotonic() + most_s
    query = {"limit": str(PAGE_ROWS), **scope.query()}
    for page in rest.pages(f"/v3/snapshot/options/{underlying}", query, on_retry):
        chain.add(page)
        if time.monotonic() > deadline:
            raise FaultyError(f"chain not whole after {most_s:g} s and {chain.pages} pages")
    return chain


def peek_spot(rest: Rest, underlying: str, on_retry: OnRetry) -> Value | None:
    """Spot as the first rows of the chain say it, for an underlying that has no other source."""
    chain = Chain()
    page = rest.get(f"/v3/snapshot/options/{underlying}", {"limit": "10"}, on_retry).get("results")
    if isinstance(page, list):
        chain.add(page)
    return chain.spot
