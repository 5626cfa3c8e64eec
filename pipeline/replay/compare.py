"""Two worlds compared, model by model and contract by contract: what a change of a formula or a constant does."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from walrus import Database

from pipeline import registers
from pipeline.epochs import Epochs
from pipeline.keys import Keys
from pipeline.publication import MODELS, VIEWS

CONTRACTS = "contracts"
_COUNTED = ("version",)
"""What counts publications is not compared: they coalesce."""


@dataclass(slots=True)
class Comparison:
    """One model of two worlds. ``largest`` is the widest gap between two numbers at ``place``; ``only`` counts values
    that one of them lacks, ``other`` those that are no numbers and differ."""

    model: str
    values: int = 0
    differing: int = 0
    only: int = 0
    other: int = 0
    largest: float = 0.0
    place: str = ""
    before: Any = None
    after: Any = None

    def take(self, place: str, before: Any, after: Any) -> None:
        self.values += 1
        if _same(before, after):
            return
        self.differing += 1
        gap = None
        if before is None or after is None:
            self.only += 1
        elif _is_number(before) and _is_number(after):
            gap = abs(float(after) - float(before))
        else:
            self.other += 1
        if not self.place or (gap is not None and gap > self.largest):
            self.place, self.before, self.after = place, before, after
        self.largest = max(self.largest, gap or 0.0)


def compare(database: Database, before: Keys, after: Keys, symbol: str) -> list[Comparison]:
    """Every published model and every contract of the active epoch, value by value. Views are in the heatmap."""
    found = []
    for model in MODELS:
        if model in VIEWS:
            continue
        documents = [orjson.loads(database.get(keys.model(model, symbol)) or b"null") for keys in (before, after)]
        found.append(_compared(model, *documents))
    found.append(_compared(CONTRACTS, *(contracts_of(database, keys, symbol) for keys in (before, after))))
    return found


def contracts_of(database: Database, keys: Keys, symbol: str) -> dict[str, dict[str, str]]:
    """The contracts of the active epoch, field by field."""
    active = (database.hget(keys.epoch_active(symbol), symbol) or b"").decode()
    epoch = Epochs(database, keys).get(active) if active else None
    found: dict[str, dict[str, str]] = {}
    for name, pane in (epoch.panes if epoch else {}).items():
        tickers = list(pane.places)
        for kind, key in keys.registers(active, name).items():
            for ticker, register in zip(tickers, database.hmget(key, tickers), strict=True):
                found.setdefault(ticker, {}).update(registers.fields(kind, (register or b"").decode()))
    return found


def _compared(model: str, before: Any, after: Any) -> Comparison:
    comparison = Comparison(model)
    for place, ours, theirs in _pairs(before, after, ""):
        comparison.take(place, ours, theirs)
    return comparison


def _pairs(before: Any, after: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) or isinstance(after, Mapping):
        left, right = _members(before), _members(after)
        for name in dict.fromkeys([*left, *right]):
            if place or name not in _COUNTED:
                yield from _pairs(left.get(name), right.get(name), f"{place} > {name}" if place else str(name))
    elif isinstance(before, list) or isinstance(after, list):
        ours, theirs = before or [], after or []
        if not isinstance(ours, list) or not isinstance(theirs, list):
            yield place, before, after
            return
        for number in range(max(len(ours), len(theirs))):
            yield from _pairs(
                ours[number] if number < len(ours) else None, theirs[number] if number < len(theirs) else None,
                f"{place}[{number}]",
            )
    else:
        yield place, before, after


def _members(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(before: Any, after: Any) -> bool:
    return type(before) is type(after) and bool(before == after)
