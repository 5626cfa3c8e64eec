"""What the end must be, said plainly: a fold over what arrived, without Redis, batches, consumers or order."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from pipeline.calendar import previous_session
from pipeline.contract import geometry_hash, parse_ticker
from pipeline.epochs import Epoch
from pipeline.geometry import Pane, new_york_day, pack_panes, unpack_pane
from pipeline.models.exposure import expose
from pipeline.models.pane import PaneValues, calculate, solve
from pipeline.publication import MODELS, Edition, Facts, Layouts, next_derived, next_surface

MINUTE = 60_000


def text(value: float | int | None) -> str | None:
    """The shortest decimal that reads back to the same float64; whole numbers without a point."""
    if value is None:
        return None
    return repr(float(value)).removesuffix(".0")


def fold(
    rows: Sequence[Mapping[str, Any]], chain_ts: int, events: Iterable[Mapping[str, Any]]
) -> dict[str, dict[str, str]]:
    """Contracts of one chain after some events: the newest quote, trade and volume by (time, sequence)."""
    quotes: dict[str, list[tuple[Any, ...]]] = {}
    trades: dict[str, list[tuple[Any, ...]]] = {}
    volumes: dict[str, list[tuple[Any, ...]]] = {}
    contracts: dict[str, dict[str, str]] = {}
    for row in rows:
        ticker = row["details"]["ticker"]
        contracts[ticker] = {
            "chain_ts": str(chain_ts), "oi": str(round(row["open_interest"])),
        }
        quote = row["last_quote"]
        quotes[ticker] = [(quote["last_updated"] // 10**6, 0, quote.get("bid"), quote.get("ask"),
                           quote.get("bid_size"), quote.get("ask_size"))]
    for event in events:
        ticker = event["sym"]
        if ticker not in contracts:
            continue
        if event["ev"] == "Q":
            quotes[ticker].append((event["t"], event["q"], event["bp"], event["ap"], event["bs"], event["as"]))
        elif event["ev"] == "T":
            trades.setdefault(ticker, []).append((event["t"], event["q"], event["p"], event["s"]))
        else:
            volumes.setdefault(ticker, []).append((event["e"], event["av"]))
    for ticker, contract in contracts.items():
        for names, said in (
            (("quote_ts", "quote_seq", "bid", "ask", "bid_size", "ask_size"), quotes),
            (("trade_ts", "trade_seq", "last", "last_size"), trades),
            (("volume_ts", "volume"), volumes),
        ):
            if ticker in said:
                newest = max(said[ticker], key=lambda register: register[:2])
                contract.update(
                    (name, str(text(value))) for name, value in zip(names, newest, strict=True) if value is not None
                )
    return contracts


def documents(
    symbol: str, contracts: Mapping[str, Mapping[str, str]], chain_ts: int, spots: Sequence[tuple[int, float]],
    widths: Sequence[float], rate: float,
) -> dict[str, Any]:
    """Every document of these contracts, computed whole, as parsed JSON without its version. ``spots``: (ms, price)."""
    tickers = [parse_ticker(ticker) for ticker in contracts]
    epoch_id = f"{symbol}:{chain_ts}:{geometry_hash(contracts)[:6]}"
    panes: dict[str, Pane] = {
        name: unpack_pane(name, packed, widths) for name, packed in pack_panes(tickers).items()
    }
    spot_ts, price = max(spots)
    models, exposures = {}, {}
    for name, pane in panes.items():
        arrays = {
            field: np.full((2, pane.geometry.strikes.size), np.nan)
            for field in ("bid", "ask", "iv", "gamma", "oi", "volume")
        }
        for ticker, (row, column) in pane.places.items():
            for field, array in arrays.items():
                if field in contracts[ticker]:
                    array[row, column] = float(contracts[ticker][field])
        values = PaneValues(
            arrays["bid"], arrays["ask"], arrays["iv"], arrays["gamma"], arrays["oi"], arrays["volume"],
            price, spot_ts // MINUTE * MINUTE, rate,
        )
        volatility = solve(pane.geometry, values)
        models[name] = calculate(pane.geometry, values)
        exposures[name] = expose(pane.geometry, values, volatility)
    newest = max(
        int(contract[field]) for contract in contracts.values()
        for field in ("quote_ts", "trade_ts", "volume_ts") if field in contract
    )
    closes = {ts // MINUTE * MINUTE: value for ts, value in sorted(spots)}
    facts = Facts(
        price, spot_ts, newest // MINUTE * MINUTE, chain_ts, previous_session(new_york_day(chain_ts)).isoformat(),
        trail=tuple(sorted(closes.items())),
    )
    epoch = Epoch(epoch_id, symbol, chain_ts, rate, panes)
    known = {model: Edition() for model in MODELS}
    layouts = Layouts(epoch)
    made = next_surface(layouts, models, known, facts, full=True)
    made += next_derived(layouts, exposures, made[0].edition.heads, set(panes), known, facts, b"", full=True).made
    parsed = {publication.model: orjson.loads(publication.document) for publication in made}
    return {
        name: {key: value for key, value in document.items() if key != "version"} for name, document in parsed.items()
    }
