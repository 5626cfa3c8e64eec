"""What exists in an epoch: which contracts of a chain are in scope, and the panes they make."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgpack
import numpy as np

from pipeline.calendar import early_closes
from pipeline.contract import Ticker, make_ticker, settlement_of
from pipeline.models.pane import PaneGeometry, expiry_ms

NEW_YORK = ZoneInfo("America/New_York")
RECENTRE_PART = 0.25
"""The strike window moves only when spot has moved by this part of its half-width: epochs do not churn by the tick."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Expirations from today to ``last_day``, strikes within ``half_width`` of ``centre``. None: no bound."""

    last_day: date | None
    centre: float | None
    half_width: float

    def has(self, ticker: Ticker) -> bool:
        if self.last_day is not None and ticker.expiration > self.last_day:
            return False
        return self.centre is None or abs(ticker.strike / self.centre - 1) <= self.half_width


def scope_at(kind: str, days: int, half_width: float, ts: int, spot: float | None, centre: float | None) -> Scope:
    """The scope of a chain taken at ``ts`` (ms). ``centre`` is the active epoch's; it is kept while spot is near."""
    if kind == "full":
        return Scope(None, None, half_width)
    if spot is not None and (centre is None or has_drifted(spot, centre, half_width)):
        centre = spot
    return Scope(new_york_day(ts) + timedelta(days=days), centre, half_width)


def has_drifted(spot: float, centre: float, half_width: float) -> bool:
    return abs(spot / centre - 1) > half_width * RECENTRE_PART


def new_york_day(ts: int) -> date:
    return datetime.fromtimestamp(ts / 1000, UTC).astimezone(NEW_YORK).date()


def pack_panes(tickers: Iterable[Ticker]) -> dict[str, bytes]:
    """Pane -> msgpack map {strikes, call, put, expires_ms}; a side is a digit a strike, 1 where it is listed. Tickers
    follow from that: a chain of 30,000 contracts fits into one short call.

    Panes come in the order of their expiry instant, which the exchange's calendar knows: it closes early on some days.
    """
    by_pane: dict[str, list[Ticker]] = {}
    for ticker in tickers:
        by_pane.setdefault(ticker.pane, []).append(ticker)
    packed: dict[str, bytes] = {}
    if not by_pane:
        return packed
    days = [split_pane(pane)[0] for pane in by_pane]
    closes = early_closes(min(days), max(days))
    for pane in sorted(by_pane, key=pane_order):
        day, root = split_pane(pane)
        strikes = sorted({ticker.strike for ticker in by_pane[pane]})
        listed = {(ticker.side, ticker.strike) for ticker in by_pane[pane]}
        sides = {
            side: "".join("1" if (side, strike) in listed else "0" for strike in strikes) for side in ("call", "put")
        }
        expires = expiry_ms(day, settlement_of(root), closes)
        packed[pane] = msgpack.packb({"strikes": strikes, **sides, "expires_ms": str(expires)}, use_bin_type=False)
    return packed


def pane_order(pane: str) -> tuple[int, str]:
    """Panes sort by their expiry instant."""
    day, root = split_pane(pane)
    return expiry_ms(day, settlement_of(root)), root


def split_pane(pane: str) -> tuple[date, str]:
    day, _, root = pane.partition(":")
    return date.fromisoformat(day), root


@dataclass(frozen=True, slots=True)
class Pane:
    """A pane as a stage computes with it. ``places`` says where a ticker stands in arrays [2, S]."""

    geometry: PaneGeometry
    places: Mapping[str, tuple[int, int]]


def unpack_pane(pane: str, packed: bytes, widths: Iterable[float]) -> Pane:
    said: dict[str, Any] = msgpack.unpackb(packed)
    day, root = split_pane(pane)
    strikes, shape = said["strikes"], (2, len(said["strikes"]))
    listed = np.array([[digit == "1" for digit in said[side]] for side in ("call", "put")]).reshape(shape)
    places = {
        make_ticker(root, day, side, strikes[column]): (row, column)
        for row, side in enumerate(("call", "put")) for column in np.flatnonzero(listed[row]).tolist()
    }
    geometry = PaneGeometry(
        pane, day, root, settlement_of(root), np.array(strikes, dtype=np.float64), listed,
        np.full(shape, 100.0), np.array(sorted(widths), dtype=np.float64), int(said["expires_ms"]),
    )
    return Pane(geometry, places)
