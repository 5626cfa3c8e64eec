"""A synthetic SPX chain near the money, as a provider lists it, and ticks with a real skew: what `old` runs on."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson
from walrus import Database

from pipeline.contract import parse_ticker
from pipeline.geometry import scope_at
from pipeline.keys import Keys
from pipeline.models.expiry import NEW_YORK, days_to_expiration
from pipeline.settings import Settings
from pipeline.simulator.synthetic import synthetic_chain

SYMBOL = "SPX"
AS_OF_MS = int(datetime(2026, 8, 20, 11, 0, tzinfo=NEW_YORK).timestamp() * 1000)
SCOPE_DAYS, SCOPE_STRIKES = 45, 0.19
WIDTHS = (20.0, 25.0, 30.0, 40.0, 45.0, 50.0)
_SNAPSHOT_S = 300
_WHOLE = ("bid_size", "ask_size", "open_interest", "volume")
_FIGURES = ("bid", "ask", "last", "iv", "delta", "gamma", "theta", "vega", *_WHOLE)


@dataclass(frozen=True, slots=True)
class Listed:
    """A contract as its chain says it; 0 for what the provider has no number of. ``weight``: how often it is quoted,
    against the others, which is most of all near the money and in the front expirations."""

    ticker: str
    pane: str
    side: str
    strike: float
    bid: float
    ask: float
    bid_size: int
    ask_size: int
    last: float
    iv: float
    delta: float
    gamma: float
    theta: float
    vega: float
    open_interest: int
    volume: int
    weight: float


@dataclass(frozen=True, slots=True)
class Quote:
    ticker: str
    bid: float
    ask: float


def near_chain(seed: int = 4) -> tuple[list[Listed], float]:
    """The contracts in scope, and spot."""
    chain = synthetic_chain(SYMBOL, AS_OF_MS * 1_000_000, seed)
    scope = scope_at("near", SCOPE_DAYS, SCOPE_STRIKES, AS_OF_MS, chain.spot, None)
    figures = {name: np.nan_to_num(getattr(chain, name)).round(8).tolist() for name in _FIGURES}
    listed = []
    for at, ticker in enumerate(chain.ticker.tolist()):
        said = parse_ticker(ticker)
        if scope.has(said):
            days = days_to_expiration(said.expiration, AS_OF_MS)
            away = math.log(said.strike / chain.spot) / (0.004 + 0.008 * math.sqrt(max(days, 0.02)))
            listed.append(Listed(
                ticker, said.pane, said.side, said.strike, weight=math.exp(-away * away / 2) / (0.5 + days),
                **{name: int(column[at]) if name in _WHOLE else column[at] for name, column in figures.items()},
            ))
    return listed, chain.spot


def near_ticks(listed: Sequence[Listed], quotes: int, seed: int = 5) -> Iterator[list[Quote]]:
    """Without end: so many quotes a tick, of different contracts, each of which moves a price by a tick."""
    rng = np.random.default_rng(seed)
    live = [one for one in listed if one.bid > 0.0]
    weight = np.array([one.weight for one in live])
    weight /= weight.sum()
    raised = [False] * len(live)
    while True:
        tick = []
        for at in rng.choice(len(live), quotes, replace=False, p=weight).tolist():
            raised[at] = not raised[at]
            by = 0.1 if raised[at] else 0.0
            tick.append(Quote(live[at].ticker, round(live[at].bid + by, 2), round(live[at].ask + by, 2)))
        yield tick


def announce(
    database: Database, settings: Settings, listed: Sequence[Listed], spot: float, ts: int = AS_OF_MS,
    force: bool = False,
) -> None:
    """The chain as the chain stage hands it on: its rows by expiration, and the entry that names them."""
    keys = Keys(settings.layout, settings.namespace)
    by_day: dict[str, list[dict[str, Any]]] = {}
    for one in listed:
        by_day.setdefault(one.pane.partition(":")[0], []).append(_row(one))
    for day, rows in by_day.items():
        database.set(keys.chain_snapshot(SYMBOL, day, ts), orjson.dumps(rows), ex=_SNAPSHOT_S)
    database.xadd(keys.stream("chain", SYMBOL), {
        "symbol": SYMBOL, "ts": ts, "expirations": orjson.dumps(sorted(by_day)), "contracts": len(listed),
        "latency_ms": 1, "force": int(force), "reason": "manual", "spot": spot, "spot_ts": ts,
    })


def _row(one: Listed) -> dict[str, Any]:
    said = parse_ticker(one.ticker)
    row: dict[str, Any] = {
        "details": {
            "ticker": one.ticker, "contract_type": one.side, "expiration_date": said.expiration.isoformat(),
            "strike_price": one.strike, "shares_per_contract": 100, "exercise_style": "european",
        },
        "open_interest": one.open_interest, "day": {"volume": one.volume}, "last_trade": {},
        "last_quote": {
            "last_updated": AS_OF_MS * 1_000_000, "bid": one.bid, "ask": one.ask, "bid_size": one.bid_size,
            "ask_size": one.ask_size, "timeframe": "REAL-TIME",
        },
    }
    if one.iv > 0.0 and one.gamma > 0.0:
        row |= {"implied_volatility": one.iv, "greeks": {"gamma": one.gamma}}
    return row


def frame(tick: Sequence[Quote], number: int) -> bytes:
    """A tick as the provider's socket writes it; ``number`` rises, and time with it."""
    return orjson.dumps([
        {"ev": "Q", "sym": quote.ticker, "bp": quote.bid, "ap": quote.ask, "bs": 3, "as": 4, "t": AS_OF_MS + number,
         "q": number}
        for quote in tick
    ])
