"""Steps of the market in the words of the socket: one dictionary an event, only for what somebody asked for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.simulator.aggregate import Bar
from pipeline.simulator.market import Market, Step

Event = dict[str, Any]
Mask = NDArray[np.bool_]

OPTION_CHANNELS = ("Q", "T", "A", "AM")
INDEX_CHANNELS = ("V", "A", "AM")
# Channels of other plans: known, and refused.
PLAN_CHANNELS = ("FMV", "LV")
# Quotes have no wildcard.
WILDCARDS = frozenset({"T.*", "A.*", "AM.*", "V.*"})


class Selection:
    """Which contracts (or indices) of the market a set of topics covers, a channel each."""

    def __init__(self, market: Market, cluster: str, topics: frozenset[str]) -> None:
        channels = OPTION_CHANNELS if cluster == "options" else INDEX_CHANNELS if cluster == "indices" else ()
        rows = market.row_of if cluster == "options" else {t: i for i, t in enumerate(index_tickers(market))}
        size = len(market.ticker) if cluster == "options" else len(market.symbols)
        self.masks: dict[str, Mask] = {channel: np.zeros(size, dtype=bool) for channel in channels}
        for topic in topics:
            channel, _, ticker = topic.partition(".")
            if channel not in self.masks:
                continue
            if ticker == "*":
                self.masks[channel][:] = True
            elif ticker in rows:
                self.masks[channel][rows[ticker]] = True


def index_tickers(market: Market) -> list[str]:
    return [market.index_ticker(number) for number in range(len(market.symbols))]


def option_events(market: Market, step: Step, selection: Selection) -> list[Event]:
    events = _quote_events(market, step, selection.masks["Q"]) + _trade_events(market, step, selection.masks["T"])
    for channel, bars in (("A", step.seconds), ("AM", step.minutes)):
        mask = selection.masks[channel]
        events += [_option_bar(channel, market.ticker[row], bar) for row, bar in bars if mask[row]]
    return events


def _quote_events(market: Market, step: Step, mask: Mask) -> list[Event]:
    quotes = step.quotes
    if quotes is None:
        return []
    chosen = np.flatnonzero(mask[quotes.row])
    if not len(chosen):
        return []
    tickers = market.ticker
    columns = (
        quotes.row,
        quotes.exchange,
        quotes.bid,
        quotes.ask,
        quotes.bid_size,
        quotes.ask_size,
        quotes.t,
        quotes.q,
    )
    return [
        {"ev": "Q", "sym": tickers[row], "bx": x, "ax": x, "bp": bp, "ap": ap, "bs": bs, "as": size, "t": t, "q": q}
        # How a one-sided quote looks is not known, so both forms are seen: a price of 0, and no price at all.
        if (bp > 0 and ap > 0) or row % 2
        else _one_sided(tickers[row], x, bp, ap, bs, size, t, q)
        for row, x, bp, ap, bs, size, t, q in zip(*(column[chosen].tolist() for column in columns), strict=True)
    ]


def _one_sided(ticker: str, x: int, bid: float, ask: float, bid_size: int, ask_size: int, t: int, q: int) -> Event:
    event: Event = {"ev": "Q", "sym": ticker}
    if bid > 0:
        event |= {"bx": x, "bp": bid, "bs": bid_size}
    if ask > 0:
        event |= {"ax": x, "ap": ask, "as": ask_size}
    return event | {"t": t, "q": q}


def _trade_events(market: Market, step: Step, mask: Mask) -> list[Event]:
    trades = step.trades
    if trades is None:
        return []
    chosen = np.flatnonzero(mask[trades.row])
    events: list[Event] = []
    columns = (trades.row, trades.exchange, trades.price, trades.size, trades.condition, trades.t, trades.q)
    for row, x, p, s, c, t, q in zip(*(column[chosen].tolist() for column in columns), strict=True):
        event: Event = {"ev": "T", "sym": market.ticker[row], "x": x, "p": p, "s": s, "t": t, "q": q}
        if c >= 0:
            event["c"] = [c]
        events.append(event)
    return events


def _option_bar(channel: str, ticker: str, bar: Bar) -> Event:
    return {
        "ev": channel,
        "sym": ticker,
        "v": bar.volume,
        "av": bar.volume_today,
        "op": round(bar.open_today, 4),
        "vw": round(bar.worth / bar.volume, 4),
        "o": bar.open,
        "c": bar.close,
        "h": bar.high,
        "l": bar.low,
        "a": round(bar.vwap_today, 4),
        "z": bar.volume // bar.trades,
        "s": bar.start_ms,
        "e": bar.end_ms,
    }


def index_events(market: Market, step: Step, selection: Selection) -> list[Event]:
    tickers = index_tickers(market)
    mask = selection.masks["V"]
    # Underlyings that are not indices have no place on the indices socket.
    events: list[Event] = [
        value_event(tickers[i], t, value) for i, t, value in step.values if mask[i] and market.index[i]
    ]
    for channel, bars in (("A", step.index_seconds), ("AM", step.index_minutes)):
        mask = selection.masks[channel]
        events += [
            {
                "ev": channel, "sym": tickers[i], "op": bar.open_today, "o": bar.open, "c": bar.close,
                "h": bar.high, "l": bar.low, "s": bar.start_ms, "e": bar.end_ms,
            }
            for i, bar in bars
            if mask[i] and market.index[i]
        ]  # fmt: skip
    return events


def value_event(ticker: str, t_ms: int, value: float) -> Event:
    return {"ev": "V", "val": value, "T": ticker, "t": t_ms}
