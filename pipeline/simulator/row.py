"""Rows of the snapshots, with the gaps real rows have: the provider leaves out what it does not know."""

import math
from typing import Any

import numpy as np

from pipeline.simulator.clock import from_ns, market_hours
from pipeline.simulator.fault import FaultBoard
from pipeline.simulator.market import Market

Row = dict[str, Any]

_DELAY_NS = 15 * 60 * 1_000_000_000
_INDEX_NAMES = {"SPX": "S&P 500", "NDX": "Nasdaq 100", "SPY": "SPDR S&P 500 ETF Trust", "QQQ": "Invesco QQQ Trust"}


def chain_rows(market: Market, rows: list[int], faults: FaultBoard) -> list[Row]:
    """One dictionary a contract, as ``results`` of the chain snapshot holds them."""
    index = np.array(rows, dtype=np.int64)
    greeks = [column.tolist() for column in market.current_greeks(index)]
    delay = _DELAY_NS if faults.active("delayed") else 0
    timeframe = "DELAYED" if delay else "REAL-TIME"
    # Before the open there are no quotes yet, while the day's figures are still yesterday's.
    quoted = not market_hours(from_ns(market.time_ns)).early
    return [
        _row(market, row, tuple(column[i] for column in greeks), quoted, delay, timeframe) for i, row in enumerate(rows)
    ]


def _row(market: Market, i: int, greeks: tuple[float, ...], quoted: bool, delay: int, timeframe: str) -> Row:
    number = int(market.symbol[i])
    spot, strike, call = float(market.spot[number]), float(market.strike[i]), bool(market.call[i])
    bid, ask = float(market.bid[i]), float(market.ask[i])
    premium = (bid + ask) / 2
    even = round(strike + premium if call else strike - premium, 4)
    index = bool(market.index[number])
    row: Row = {
        "break_even_price": even,
        "day": _day(market, i, delay),
        "details": {
            "contract_type": "call" if call else "put",
            "exercise_style": "european" if index else "american",
            "expiration_date": market.expiration_text[i],
            "shares_per_contract": 100,
            "strike_price": int(strike) if strike.is_integer() else strike,
            "ticker": market.ticker[i],
        },
    }
    delta, gamma, theta, vega = greeks
    if gamma > 0:
        named = {"delta": delta, "gamma": gamma, "theta": theta, "vega": vega}
        row["greeks"] = {name: value for name, value in named.items() if not math.isnan(value)}
    if market.iv[i] > 0 and not math.isnan(delta):
        row["implied_volatility"] = float(market.iv[i])
    row["last_quote"] = _last_quote(market, i, quoted, delay, timeframe)
    row["last_trade"] = _last_trade(market, i, delay, timeframe)
    row["open_interest"] = int(market.open_interest[i])
    row["underlying_asset"] = {
        "change_to_break_even": round(even - spot, 4),
        "last_updated": int(market.spot_ns[number]) - delay,
        "ticker": market.index_ticker(number),
        "timeframe": timeframe,
        # An index has a value, a stock a price.
        ("value" if index else "price"): spot,
    }
    return row


def _day(market: Market, i: int, delay: int) -> Row:
    volume, last = int(market.volume[i]), float(market.last[i])
    if volume == 0:
        return {}
    before = float(market.previous_close[i])
    return {
        "change": round(last - before, 4),
        "change_percent": round(100 * (last - before) / before, 4) if before else 0.0,
        "close": last,
        "high": float(market.day_high[i]),
        "last_updated": int(market.trade_ns[i]) - delay,
        "low": float(market.day_low[i]),
        "open": float(market.day_open[i]),
        "previous_close": before,
        "volume": volume,
        "vwap": round(float(market.worth[i]) / volume, 4),
    }


def _last_quote(market: Market, i: int, quoted: bool, delay: int, timeframe: str) -> Row:
    bid, ask = float(market.bid[i]), float(market.ask[i])
    quote: Row = {}
    # A side nobody quotes is a 0 in half of the contracts and no key at all in the others, as on the socket.
    if quoted and (bid > 0 or i % 2):
        quote |= {"bid": bid, "bid_size": int(market.bid_size[i]), "bid_exchange": 302}
    if quoted and (ask > 0 or i % 2):
        quote |= {"ask": ask, "ask_size": int(market.ask_size[i]), "ask_exchange": 302}
    if "bid" in quote and "ask" in quote:
        quote["midpoint"] = round((bid + ask) / 2, 4)
    return quote | {"last_updated": int(market.quote_ns[i]) - delay, "timeframe": timeframe}


def _last_trade(market: Market, i: int, delay: int, timeframe: str) -> Row:
    if not market.traded[i] or market.last[i] <= 0:
        return {}
    return {
        "conditions": [209],
        "exchange": 302,
        "price": float(market.last[i]),
        "sip_timestamp": int(market.trade_ns[i]) - delay,
        "size": int(market.last_size[i]),
        "timeframe": timeframe,
    }


def last_trade(market: Market, i: int) -> Row:
    """``results`` of ``/v2/last/trade``: one-letter names, ns."""
    at = int(market.trade_ns[i])
    return {
        "T": market.ticker[i], "c": [209], "i": str(at % 100_000), "p": float(market.last[i]),
        "q": at // 1_000_000 % 10**9, "s": int(market.last_size[i]), "t": at, "x": 302, "y": at - 250_000,
    }  # fmt: skip


def reference_row(market: Market, i: int) -> Row:
    """One contract of ``/v3/reference/options/contracts``; here the underlying is spelled bare."""
    index = bool(market.index[market.symbol[i]])
    side = "call" if market.call[i] else "put"
    strike = float(market.strike[i])
    return {
        "cfi": f"O{side[0].upper()}{'E' if index else 'A'}{'I' if index else 'S'}PS",
        "contract_type": side,
        "exercise_style": "european" if index else "american",
        "expiration_date": market.expiration_text[i],
        "primary_exchange": "XCBO" if index else "BATO",
        "shares_per_contract": 100,
        "strike_price": int(strike) if strike.is_integer() else strike,
        "ticker": market.ticker[i],
        "underlying_ticker": market.symbols[market.symbol[i]],
    }


def underlying_row(market: Market, number: int) -> Row:
    """One index of ``/v3/snapshot/indices``, or one stock of the unified snapshot."""
    index = bool(market.index[number])
    spot, opening = float(market.spot[number]), float(market.spot_open[number])
    session = {
        "change": round(spot - opening, 4),
        "change_percent": round(100 * (spot / opening - 1), 4),
        "close": spot,
        "high": float(market.spot_high[number]),
        "low": float(market.spot_low[number]),
        "open": opening,
        "previous_close": opening,
    }
    row: Row = {
        "last_updated": int(market.spot_ns[number]),
        "market_status": market_hours(from_ns(market.time_ns)).session,
        "name": _INDEX_NAMES.get(market.symbols[number], market.symbols[number]),
        "session": session,
        "ticker": market.index_ticker(number),
        "timeframe": "REAL-TIME",
        "type": "indices" if index else "stocks",
    }
    if index:
        row["value"] = spot
    else:
        row["last_trade"] = {"last_updated": row["last_updated"], "price": spot, "size": 100, "timeframe": "REAL-TIME"}
    return row


def unified_row(market: Market, ticker: str, faults: FaultBoard) -> Row:
    """One ticker of ``/v3/snapshot``; an unknown one is a row too."""
    if ticker not in market.row_of:
        for number in range(len(market.symbols)):
            if market.index_ticker(number) == ticker:
                return underlying_row(market, number)
        return {"error": "NOT_FOUND", "message": "Ticker not found.", "ticker": ticker}
    row = chain_rows(market, [market.row_of[ticker]], faults)[0]
    details = row["details"]
    del details["ticker"]
    strike, side = details["strike_price"], details["contract_type"].capitalize()
    return row | {
        "market_status": market_hours(from_ns(market.time_ns)).session,
        "name": f"{market.root[market.row_of[ticker]]} ${strike} {side}",
        "session": row.pop("day"),
        "ticker": ticker,
        "type": "options",
    }
