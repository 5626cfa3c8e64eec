"""Rows made wrong on purpose, as seen from the provider or one step further."""

import copy

from pipeline.simulator.fault import FaultBoard
from pipeline.simulator.row import Row


def spoil_rows(rows: list[Row], faults: FaultBoard, request_number: int) -> list[Row]:
    """The rows of one page under the faults now on."""
    spoiled: list[Row] = []
    for row in rows:
        if faults.active("no-greeks"):
            row.pop("greeks", None)
            row.pop("implied_volatility", None)
        if faults.active("no-underlying"):
            row["underlying_asset"].pop("value", None)
            row["underlying_asset"].pop("price", None)
        if faults.active("oi-flip") and request_number % 2:
            row["open_interest"] = int(row["open_interest"] * 0.9)
        whole = copy.deepcopy(row) if faults.active("adjusted") else row
        if faults.chance("null-rows"):
            row = _with_nulls(row, faults.roll(5))
        if faults.chance("bad-rows"):
            row = _malformed(row, faults.roll(8))
        spoiled.append(row)
        if faults.chance("adjusted"):
            spoiled.append(_adjusted(whole))
    for name in ("no-greeks", "no-underlying", "oi-flip"):
        faults.strike(name)
    return spoiled


def _with_nulls(row: Row, kind: int) -> Row:
    if kind == 0:
        return row | {"last_quote": None, "greeks": None}
    if kind == 1:
        return row | {"last_quote": row["last_quote"] | {"bid": None, "ask": None}}
    if kind == 2:
        return row | {"open_interest": None, "implied_volatility": None}
    if kind == 3:
        return row | {"underlying_asset": None, "day": None}
    return row | {"details": None}


def _malformed(row: Row, kind: int) -> Row:
    details, quote = row.get("details") or {}, row.get("last_quote") or {}
    ticker = str(details.get("ticker", "O:SPXW260101C01000000"))
    if kind == 0:
        # The provider's own documentation shows such a ticker: nine digits of strike.
        return row | {"details": details | {"ticker": f"{ticker[:-8]}0{ticker[-8:]}"}}
    if kind == 1:
        return row | {"last_quote": quote | {"bid": "NaN", "ask": "n/a"}}
    if kind == 2:
        return row | {"details": details | {"strike_price": "many"}}
    if kind == 3:
        return row | {"details": details | {"expiration_date": "2026-02-30"}}
    if kind == 4:
        return row | {"open_interest": "NaN", "greeks": ["delta", 1]}
    if kind == 5:
        return row | {"last_quote": "none", "day": 7}
    if kind == 6:
        return row | {"details": details | {"ticker": 260821, "contract_type": "other"}}
    return row | {"last_quote": quote | {"bid": -1.0, "ask": 1e300, "last_updated": "yesterday"}}


def _adjusted(row: Row) -> Row:
    details = row["details"]
    root, rest = details["ticker"][2:-15], details["ticker"][-15:]
    row["details"] = details | {"ticker": f"O:{root}1{rest}", "shares_per_contract": 90}
    return row
