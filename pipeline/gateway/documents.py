"""What is published, read from Redis for those who ask once: documents, epochs, history, and the state of the feeds."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import orjson
from walrus import Database

from pipeline.contract import settlement_of
from pipeline.epochs import Epochs
from pipeline.gateway.event import Event, fact, publication
from pipeline.keys import Keys
from pipeline.models.documents import HEADER_BYTES
from pipeline.publication import FACTS, LAID_OUT, VIEWS
from pipeline.status import read_status

ANNOUNCED = tuple(model for model in (*LAID_OUT, *FACTS) if model not in VIEWS)
"""The models that are announced on the model stream."""
OTHERS = ("spot", "vigil", "vexy", "epoch")
"""What a client may subscribe besides."""
READABLE = (*LAID_OUT, *FACTS, "spot", "vexy")
_VIGIL_SHOWN = 50
_HISTORY = 1_000


class Documents:
    """Reads one namespace. Every method speaks with Redis and may raise what it raises."""

    def __init__(self, database: Database, keys: Keys, symbols: tuple[str, ...]) -> None:
        self._database = database
        self._keys = keys
        self.symbols = symbols
        self._epochs = Epochs(database, keys)

    def close(self) -> None:
        self._database.connection_pool.disconnect()

    def document(self, model: str, symbol: str) -> tuple[str, bytes] | None:
        """(version for an ETag, JSON without blanks); None where nothing is published."""
        text: bytes | None = self._database.get(self._key(model, symbol))
        if text is None:
            return None
        if model == "spot":
            spot = orjson.loads(text)
            return f"{spot['ts']}-{spot['price']}", text
        header = _header(model, text)
        if model in LAID_OUT:
            text = text.replace(b" ", b"")  # they keep its numbers in place; it has none of its own
        return f"{header['epoch']}-{header['version']}", text

    def _key(self, model: str, symbol: str) -> str:
        if model == "spot":
            return self._keys.spot(symbol)
        return self._keys.vexy_intel(symbol) if model == "vexy" else self._keys.model(model, symbol)

    def snapshot(self, symbols: Iterable[str], models: frozenset[str]) -> list[Event]:
        """What a client that knows nothing is told, without positions: full documents, then what belongs to them."""
        asked = tuple(symbols)
        events = []
        for symbol in asked:
            states = self._database.hgetall(self._keys.models_state(symbol))
            fulls = (self._full(model, symbol, states) for model in ANNOUNCED if model in models)
            events += [full for full in fulls if full is not None]
        for symbol in asked:
            if "spot" in models and (found_spot := self.document("spot", symbol)) is not None:
                events.append(fact("spot", symbol, {**orjson.loads(found_spot[1]), "published": None}))
            if "vexy" in models and (intel := self.document("vexy", symbol)) is not None:
                members = {"symbol": symbol, "published": None, "document": orjson.Fragment(intel[1])}
                events.append(fact("vexy", symbol, members))
        if "vigil" in models:
            events += [fact("vigil", event["symbol"], event) for event in self.vigil(asked, _VIGIL_SHOWN)]
        return events

    def _full(self, model: str, symbol: str, states: dict[bytes, bytes]) -> Event | None:
        text: bytes | None = self._database.get(self._keys.model(model, symbol))
        if text is None:
            return None
        header, published = _header(model, text), states.get(f"{model}:ts".encode())
        return publication(
            symbol, model, "full", header["epoch"], header["version"] - 1, header["version"],
            text.replace(b" ", b"") if model in LAID_OUT else text, ts=header["ts"], received=None,
            published=int(published) if published else None, position=None,
        )

    def vigil(self, symbols: Iterable[str], limit: int) -> list[dict[str, Any]]:
        """The last market events, oldest first."""
        asked = frozenset(symbols)
        found: list[tuple[bytes, dict[str, Any]]] = []
        for key in dict.fromkeys(self._keys.vigil_events(symbol) for symbol in asked):
            for entry_id, fields in self._database.xrevrange(key, count=limit * max(1, len(self.symbols))):
                if fields.get(b"symbol", b"").decode() in asked:
                    found.append((entry_id, vigil_members(entry_id.decode(), fields)))
        found.sort(key=lambda one: tuple(map(int, one[0].split(b"-"))))
        return [event for _, event in found][-limit:]

    def heartbeat(self) -> dict[str, Any]:
        """Of each symbol: its epoch, when its feeds were last heard, and what is published. Times are wall ms."""
        database, keys = self._database, self._keys
        market: str | None = None
        symbols: dict[str, Any] = {}
        for symbol in self.symbols:
            epoch = (database.hget(keys.epoch_active(symbol), symbol) or b"").decode()
            with database.pipeline(transaction=False) as pipe:
                pipe.hget(keys.epoch_meta(epoch), "state")
                pipe.hget(keys.analytics("ws", symbol), f"last_frame_ms:{symbol}")
                pipe.hget(keys.analytics("chain", symbol), "market")
                pipe.xrevrange(keys.stream("spot", symbol), count=len(self.symbols) * 4)
                pipe.xrevrange(keys.stream("chain", symbol), count=len(self.symbols) * 4)
                pipe.hgetall(keys.models_state(symbol))
                state, quotes, said, spots, chains, models = pipe.execute()
            market = said.decode() if said else market
            symbols[symbol] = {
                "epoch": epoch or None, "state": state.decode() if state else None,
                "feeds": {"quotes": int(quotes) if quotes else None, "spot": _last(spots, symbol),
                          "chain": _last(chains, symbol)},
                "models": {
                    model: {"version": int(version), "published": int(models.get(f"{model}:ts".encode(), 0))}
                    for model in ANNOUNCED if (version := models.get(f"{model}:version".encode())) is not None
                },
            }
        return {"market": market, "symbols": symbols}

    def panes(self, epoch_id: str) -> list[dict[str, Any]]:
        """The panes of an epoch, in the order of their expiry."""
        epoch = self._epochs.get(epoch_id) if epoch_id else None
        if epoch is None:
            return []
        return [
            {"pane": name, "expiration": name.partition(":")[0], "root": name.partition(":")[2],
             "settlement": settlement_of(name.partition(":")[2]), "strikes": int(pane.geometry.strikes.size)}
            for name, pane in epoch.panes.items()
        ]

    def tabs(self) -> list[dict[str, Any]]:
        """Each symbol in a few words, enough to draw the page around its documents."""
        facts = self.heartbeat()["symbols"]
        listed = []
        for symbol in self.symbols:
            mode = self.document("market_mode", symbol)
            listed.append({
                "symbol": symbol, "epoch": facts[symbol]["epoch"], "state": facts[symbol]["state"],
                "status": orjson.loads(mode[1])["status"] if mode else None,
                "models": {model: told["version"] for model, told in facts[symbol]["models"].items()},
                "panes": self.panes(facts[symbol]["epoch"] or ""),
            })
        return listed

    def epochs(self) -> dict[str, Any]:
        status = read_status(self._database, self._keys, self.symbols)
        timeline = {}
        for symbol in self.symbols:
            rows = (row.decode().split("|") for row in self._database.lrange(self._keys.epoch_timeline(symbol), 0, -1))
            timeline[symbol] = [{"ts": int(ts), "epoch": epoch, "reason": reason} for ts, epoch, reason in rows]
        active = {
            symbol: {**asdict(epoch), "panes": self.panes(epoch.epoch)} for symbol, epoch in status.epochs.items()
        }
        return {"active": active, "timeline": timeline}

    def status(self) -> dict[str, Any]:
        return read_status(self._database, self._keys, self.symbols).as_record()

    def history(self, symbol: str) -> dict[str, Any]:
        """What a page draws before the first live event: minutes of spot, final minutes of gravity, facts."""
        trail = self._database.zrange(self._keys.spot_trail(symbol), 0, -1)
        gravity = self._database.zrange(self._keys.gravity_minutes(symbol), 0, -1)
        rows = self._database.xrevrange(self._keys.vexy_history(symbol), count=_HISTORY)
        series = []
        for _, fields in reversed(rows):
            if fields.get(b"symbol", b"").decode() == symbol:
                series.append(_series_row(orjson.loads(fields[b"payload"])))
        return {
            "spot": [[int(ts), float(price)] for ts, _, price in (member.decode().partition(":") for member in trail)],
            "gravity": [orjson.loads(minute) for minute in gravity], "series": series,
        }


def vigil_members(entry_id: str, fields: dict[bytes, bytes]) -> dict[str, Any]:
    """A market event as clients get it."""
    event: dict[str, Any] = {name.decode(): value.decode() for name, value in fields.items()}
    return {"id": entry_id, **event, "ts": int(event["ts"]), "evidence": orjson.loads(event["evidence"])}


def _header(model: str, text: bytes) -> dict[str, Any]:
    head = text[: 1 + HEADER_BYTES].rstrip() + b"}" if model in LAID_OUT else text
    parsed: dict[str, Any] = orjson.loads(head)
    return parsed


def _last(rows: list[tuple[bytes, dict[bytes, bytes]]], symbol: str) -> int | None:
    """When the newest entry of a symbol came."""
    return next((int(row.split(b"-")[0]) for row, fields in rows if fields.get(b"symbol") == symbol.encode()), None)


def _series_row(intel: dict[str, Any]) -> list[Any]:
    facts = intel["facts"]
    told = (("gamma", "net_usd"), ("mode", "score"), ("flip", "value"))
    return [intel["ts"], intel["spot"], *(facts[name].get(member) for name, member in told)]
