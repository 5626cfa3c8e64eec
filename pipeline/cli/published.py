"""Published documents as commands read them: whole, or of a heatmap one pane's bytes, and how old they are."""

import re
from dataclasses import dataclass, field
from typing import Any

import orjson
from walrus import Database

from pipeline.keys import Keys
from pipeline.models.documents import HEADER_BYTES

Document = dict[str, Any]

SMALL = ("gex", "market_mode", "liquidity_intent", "dealer_gravity")
"""What a view of an underlying shows beside the surface."""
_PANE_KEY = re.compile(rb'"(\d{4}-\d\d-\d\d:[A-Z0-9]+)":\{')
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Surface:
    """One pane of the heatmap of one strategy; ``panes`` are all of its epoch, in the order of their expiry."""

    header: Document
    widths: tuple[float, ...]
    panes: tuple[str, ...]
    pane: str
    body: Document


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is published of an underlying. ``documents`` lacks what is not; ``ages`` are ms since each publication."""

    symbol: str
    surface: Surface | None
    documents: dict[str, Document] = field(default_factory=dict)
    ages: dict[str, int] = field(default_factory=dict)

    @property
    def header(self) -> Document | None:
        """Of the newest there is."""
        found = [*([self.surface.header] if self.surface else []), *self.documents.values()]
        return max(found, key=lambda document: int(document["ts"]), default=None)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the panes are in the bytes of a heatmap: the same in every version of an epoch."""

    epoch: str
    widths: tuple[float, ...]
    panes: dict[str, tuple[int, int]]


def nearest_pane(panes: Document) -> str | None:
    """The first expiration still to come, settled in the afternoon where a day has both; ``panes`` by name."""
    order = sorted(panes, key=lambda pane: (panes[pane]["dte"] < 0, panes[pane]["dte"], panes[pane]["settlement"]))
    ahead = [pane for pane in order if panes[pane]["dte"] == panes[order[0]]["dte"]]
    return ahead[-1] if ahead else None


def chosen_pane(panes: tuple[str, ...], wanted: str) -> str | None:
    """The pane of that name, or the only one whose name begins so (a date where it has one root)."""
    if wanted in panes:
        return wanted
    found = [pane for pane in panes if pane.startswith(wanted)]
    return found[0] if len(found) == 1 else None


class Published:
    """Reads one underlying, again and again; what has not changed is not read twice."""

    def __init__(self, database: Database, keys: Keys, symbol: str) -> None:
        self._database = database
        self._keys = keys
        self.symbol = symbol
        self._places: dict[str, _Places] = {}
        self._seen: tuple[object, ...] = ()
        self._last = Snapshot(symbol, None)

    def document(self, name: str) -> Document | None:
        """A model's document, or ``spot``."""
        text = self._database.get(_key(self._keys, name, self.symbol))
        return None if text is None else orjson.loads(text)

    def ages(self) -> dict[str, int]:
        """Milliseconds since each model's last publication, by the server's clock."""
        return self._ages(self._database.hgetall(self._keys.models_state(self.symbol)))

    def snapshot(self, strategy: str, pane: str | None) -> Snapshot:
        """Everything a view shows. ``pane`` None, or one of an epoch that is gone: the nearest."""
        state = self._database.hgetall(self._keys.models_state(self.symbol))
        ages, seen = self._ages(state), (state, strategy, pane)
        if seen == self._seen:
            self._last = Snapshot(self.symbol, self._last.surface, self._last.documents, ages)
            return self._last
        texts = self._database.mget([self._keys.model(name, self.symbol) for name in SMALL])
        documents = {name: orjson.loads(text) for name, text in zip(SMALL, texts, strict=True) if text is not None}
        self._last = Snapshot(self.symbol, self.surface(strategy, pane), documents, ages)
        self._seen = seen
        return self._last

    def surface(self, strategy: str, pane: str | None) -> Surface | None:
        """One pane of a strategy's heatmap; None where none is published."""
        key = self._keys.model(f"heatmap_{strategy}", self.symbol)
        for _ in range(_TRIES):  # an epoch may change between two reads
            places = self._places.get(strategy)
            if places is None:
                text = self._database.get(key)
                if text is None:
                    return None
                self._places[strategy] = places = _placed(text)
            name = pane if pane in places.panes else self._nearest(key, places)
            if name is None:
                return None
            start, end = places.panes[name]
            with self._database.pipeline(transaction=True) as pipeline:
                pipeline.getrange(key, 0, HEADER_BYTES)
                pipeline.getrange(key, start, end - 1)
                head, body = pipeline.execute()
            header = _header(head) if head else {}
            if header.get("epoch") == places.epoch:
                return Surface(header, places.widths, tuple(places.panes), name, orjson.loads(body))
            del self._places[strategy]
        return None

    def _nearest(self, key: str, places: _Places) -> str | None:
        """By the days to expiration, which are in each pane's head: it is its first bytes."""
        with self._database.pipeline(transaction=False) as pipeline:
            for start, _ in places.panes.values():
                pipeline.getrange(key, start, start + 255)
            heads = pipeline.execute()
        facts = {}
        for pane, head in zip(places.panes, heads, strict=True):
            dte = re.search(rb'"dte":(-?\d+)', head)
            settlement = re.search(rb'"settlement":"(\w+)"', head)
            if dte and settlement:
                facts[pane] = {"dte": int(dte[1]), "settlement": settlement[1].decode()}
        return nearest_pane(facts)

    def _ages(self, state: dict[bytes, bytes]) -> dict[str, int]:
        seconds, micros = self._database.time()
        now_ms = seconds * 1000 + micros // 1000
        return {
            name.decode().removesuffix(":ts"): max(0, now_ms - int(ts))
            for name, ts in state.items() if name.endswith(b":ts")
        }


def published_symbols(database: Database, keys: Keys, symbols: tuple[str, ...], name: str) -> list[str]:
    """Of these and of those with an active epoch, the underlyings that have this model."""
    active = {
        symbol.decode() for key in dict.fromkeys(map(keys.epoch_active, symbols)) for symbol in database.hkeys(key)
    }
    return [symbol for symbol in sorted({*symbols, *active}) if database.exists(_key(keys, name, symbol))]


def _key(keys: Keys, name: str, symbol: str) -> str:
    return keys.spot(symbol) if name == "spot" else keys.model(name, symbol)


def _header(text: bytes) -> Document:
    parsed: Document = orjson.loads(text[: HEADER_BYTES + 1].rstrip() + b"}")
    return parsed


def _placed(text: bytes) -> _Places:
    found = list(_PANE_KEY.finditer(text))
    # Between two panes there is a comma; behind the last one the braces of all panes and of the document.
    ends = [match.start() - 1 for match in found[1:]] + [len(text) - 2]
    first = found[0].start() if found else len(text)
    widths = re.search(rb'"widths":(\[[^]]*\])', text[:first])
    return _Places(
        _header(text)["epoch"], tuple(orjson.loads(widths[1])) if widths else (),
        {match[1].decode(): (match.end() - 1, end) for match, end in zip(found, ends, strict=True)},
    )
