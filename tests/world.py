"""A small world for tests of the stages: a chain and ticks by hand, the real stages, the real server."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import count
from typing import Any

import orjson
from walrus import Database

from consumers.calculate import CalculateStage
from consumers.hydrate import HydrateStage
from consumers.models import ModelsStage
from consumers.normalize import NormalizeStage
from pipeline import registers
from pipeline.announced import payload_of
from pipeline.contract import make_ticker, parse_ticker
from pipeline.keys import Keys
from pipeline.publication import MODELS
from pipeline.settings import Settings
from pipeline.stage import Engine, Stage

T0 = 1_787_239_200_000
"""2026-08-20 11:20 in New York, ms."""
STAGES: dict[str, type[Any]] = {
    "normalize": NormalizeStage, "hydrate": HydrateStage, "calculate": CalculateStage, "models": ModelsStage,
}


def tickers(
    root: str = "SPXW", days: Sequence[date] = (date(2026, 8, 21),), strikes: Iterable[int] = range(7500, 7605, 5)
) -> list[str]:
    listed = list(strikes)
    return [
        make_ticker(root, day, side, strike) for day in days for strike in listed for side in ("call", "put")
    ]


def row(
    ticker: str, bid: float | None = 10.0, ask: float | None = 11.0, ts: int = T0, oi: float = 100.0, **more: Any
) -> dict[str, Any]:
    """A chain row as the provider writes it."""
    quote: dict[str, Any] = {"last_updated": ts * 1_000_000, "bid_size": 5, "ask_size": 7, "timeframe": "REAL-TIME"}
    if bid is not None:
        quote["bid"] = bid
    if ask is not None:
        quote["ask"] = ask
    return {
        "details": {
            "ticker": ticker, "contract_type": "call" if ticker[-9] == "C" else "put",
            "expiration_date": f"20{ticker[-15:-13]}-{ticker[-13:-11]}-{ticker[-11:-9]}",
            "strike_price": int(ticker[-8:]) / 1000, "shares_per_contract": 100, "exercise_style": "european",
        },
        "open_interest": oi, "last_quote": quote, "day": {}, "last_trade": {}, **more,
    }


def quote(ticker: str, bid: float, ask: float, t: int, q: int, **more: Any) -> dict[str, Any]:
    """A Q event as the provider writes it."""
    return {"ev": "Q", "sym": ticker, "bp": bid, "ap": ask, "bs": 1, "as": 1, "t": t, "q": q, **more}


class World:
    """The provider's side (chains, frames, spots as stream entries) and the published side of one Redis."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings
        self.keys = Keys(settings.layout, settings.namespace)
        self._numbers = count(1)

    # --- what comes in ---
    def chain(
        self, rows: Sequence[dict[str, Any]], ts: int = T0, symbol: str = "SPX", spot: float | None = 7550.0,
        force: bool = False, spot_ts: int | None = None, market: str = "", reason: str = "manual",
    ) -> str:
        by_day: dict[str, list[dict[str, Any]]] = {}
        for one in rows:
            by_day.setdefault(one["details"]["expiration_date"], []).append(one)
        for day, of_day in by_day.items():
            self.database.set(self.keys.chain_snapshot(symbol, day, ts), orjson.dumps(of_day), ex=300)
        fields: dict[str, Any] = {
            "symbol": symbol, "ts": ts, "expirations": orjson.dumps(sorted(by_day)), "contracts": len(rows),
            "latency_ms": 1, "force": int(force), "reason": reason,
        }
        if market:
            fields["market"] = market
        if spot is not None:
            fields |= {"spot": spot, "spot_ts": spot_ts or ts}
        return str(self.database.xadd(self.keys.stream("chain", symbol), fields).decode())

    def frame(self, events: Sequence[Any] | bytes, symbol: str = "SPX") -> str:
        payload = events if isinstance(events, bytes) else orjson.dumps(events)
        return str(self.database.xadd(self.keys.stream("ws", symbol), {"ts": T0, "payload": payload}).decode())

    def spot(self, price: float, ts: int, symbol: str = "SPX") -> str:
        fields = {"symbol": symbol, "ts": ts, "price": price}
        return str(self.database.xadd(self.keys.stream("spot", symbol), fields).decode())

    # --- the stages ---
    def engine(self, stage: str, **overrides: Any) -> Engine:
        settings = self.settings.model_copy(update=overrides)
        made: Stage = STAGES[stage](settings, self.database)
        return Engine(made, self.database, settings, f"{stage}-{next(self._numbers)}")

    def settle(self, engines: Sequence[Engine] | None = None, rounds: int = 400) -> None:
        """Turn the stages until nothing moves any more."""
        engines = engines if engines is not None else [self.engine(stage) for stage in STAGES]
        quiet = 0
        for _ in range(rounds):
            moved = sum(engine.step() for engine in engines)
            quiet = 0 if moved else quiet + 1
            if quiet >= 2:
                return
        raise AssertionError("the stages do not come to rest")

    # --- what goes out ---
    def epoch(self, symbol: str = "SPX") -> str:
        return str((self.database.hget(self.keys.epoch_active(symbol), symbol) or b"").decode())

    def contract(self, ticker: str, symbol: str = "SPX") -> dict[str, str]:
        """What is known of a contract, field by field; empty for one that is not listed."""
        known: dict[str, str] = {}
        for kind, key in self.keys.registers(self.epoch(symbol), parse_ticker(ticker).pane).items():
            known |= registers.fields(kind, (self.database.hget(key, ticker) or b"").decode())
        return known

    def contracts(self, symbol: str = "SPX") -> dict[str, dict[str, str]]:
        """Every contract that any register of the active epoch names."""
        found: set[str] = set()
        for prefix in self.keys.registers(self.epoch(symbol)).values():
            for key in self.database.scan_iter(match=prefix + "*", count=1000):
                found |= {field.decode() for field in self.database.hkeys(key)}
        return {ticker: self.contract(ticker, symbol) for ticker in sorted(found - {registers.LEGEND})}

    def model(self, name: str, symbol: str = "SPX") -> dict[str, Any]:
        parsed: dict[str, Any] = orjson.loads(self.database.get(self.keys.model(name, symbol)))
        return parsed

    def publications(self, name: str, symbol: str = "SPX") -> Iterator[tuple[str, dict[str, Any]]]:
        """(kind, payload) of every publication of a model, in order."""
        for _, fields in self.database.xrange(self.keys.stream("model", symbol)):
            if fields[b"model"].decode() == name and fields[b"symbol"].decode() == symbol:
                yield fields[b"kind"].decode(), orjson.loads(payload_of(self.database, fields) or b"")

    def final(self, symbol: str = "SPX") -> dict[str, Any]:
        """Contracts and documents, without what counts publications: what G7 says is the same whoever did it."""
        documents = {}
        for name in MODELS:
            documents[name] = {key: value for key, value in self.model(name, symbol).items() if key != "version"}
        return {"contracts": self.contracts(symbol), "documents": documents}
