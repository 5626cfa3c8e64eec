"""What a stage needs that folds publications into a state: each once, in the order of the stream, whoever does it.

The state of an underlying lies in a hash beside the id of the last entry folded into it (its *position*). A consumer
folds a batch from the state it knows; the script that stores the result refuses it where another has advanced the
state, where an entry was folded by another, or where an older entry is still in somebody's hands. An entry at or before
the position was folded already (its group was made again): it is acknowledged and nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from walrus import Database

from pipeline.announced import payload_of
from pipeline.entry import Entry, FieldError, id_key
from pipeline.errors import Gone, NotYet, Poison

_TRIES = 20
_WAIT_S = 0.02


@dataclass(frozen=True, slots=True)
class Seen:
    """An entry of the model stream. ``ts`` is the event time in ms of the oldest event behind it.

    ``body`` is the payload with the changed members of a net GEX diff at its top, where the full document has them.
    """

    symbol: str
    model: str
    kind: str
    epoch: str
    version: int
    ts: int
    body: Mapping[str, Any]

    @property
    def order(self) -> tuple[int, int]:
        """Publications of one model come in this order: by the epoch's time, then by version."""
        parts = self.epoch.split(":")
        return (int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0), self.version


def read_publication(database: Database, entry: Entry, wanted: Callable[[str], bool]) -> Seen | None:
    """None for a model that is not ``wanted``, whose payload is not even parsed, or whose payload is gone by now.

    Raises FieldError.
    """
    model = entry.text("model")
    if not wanted(model):
        return None
    payload = payload_of(database, entry.fields)
    if payload is None:
        return None
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise FieldError(f"{entry.stream} {entry.id}: payload is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise FieldError(f"{entry.stream} {entry.id}: payload is no object")
    if model == "gex":
        heads = body.get("heads")
        net = heads.get("net") if isinstance(heads, dict) else None
        body = {**body, **(net if isinstance(net, dict) else {})}
    kind, epoch = entry.text("kind"), entry.text("epoch")
    return Seen(entry.text("symbol"), model, kind, epoch, entry.integer("version"), entry.integer("ts"), body)


def member(body: Mapping[str, Any], *path: str) -> Any:
    """What is found at a path of names; None where any of it is absent."""
    found: Any = body
    for name in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def number(body: Mapping[str, Any], *path: str) -> float | None:
    """A number at a path of names; None where it is absent or no number."""
    found = member(body, *path)
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def text(body: Mapping[str, Any], *path: str) -> str | None:
    found = member(body, *path)
    return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class Held:
    """A state as it is stored: the id of the last entry in it, and its JSON."""

    position: str = ""
    value: bytes = b""


Fold = Callable[[str, bytes, Sequence[Entry]], tuple[bytes, dict[str, Any]]]
"""(symbol, stored state, its entries in order) -> the next state, and what the script is told of it besides."""


class Folder:
    """Folds batches of one part of the state; keeps the states it knows, which the script verifies."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._known: dict[str, Held] = {}

    def commit(
        self,
        entries: Sequence[Entry],
        symbols: Mapping[str, str],
        fold: Fold,
        run: Callable[[list[str], list[dict[str, Any]]], list[Any]],
    ) -> None:
        """Fold a batch and store it. ``symbols``: underlyings of ours and the keys of their states.

        ``run`` calls the script with entry ids and sections. Raises Gone, NotYet and Poison: see errors.
        """
        batch = sorted(entries, key=lambda entry: id_key(entry.id))
        of = _by_symbol(batch, symbols)
        for _ in range(_TRIES):
            sections = self._sections(of, symbols, fold)
            reply = run([entry.id for entry in batch], sections)
            words = [bytes(word) for word in reply]
            match words[0]:
                case b"ok":
                    for section in sections:
                        self._known[section["symbol"]] = Held(section["position"], section["value"])
                    if len(batch) < len(entries):
                        done = {entry.id for entry in batch}
                        raise Gone(frozenset(entry.id for entry in entries if entry.id not in done))
                    return
                case b"gone":
                    raise Gone(frozenset(word.decode() for word in words[1:]) | _beyond(entries, batch))
                case b"wait":
                    older = words[1].decode()
                    batch = [entry for entry in batch if id_key(entry.id) < id_key(older)]
                    if not batch:
                        raise NotYet(f"{older} comes first", _WAIT_S)
                    of = _by_symbol(batch, symbols)
                case _:
                    for symbol, position, value in zip(words[1::3], words[2::3], words[3::3], strict=True):
                        self._known[symbol.decode()] = Held(position.decode(), value)
        raise NotYet("others advance the same states", _WAIT_S)

    def _sections(
        self, of: Mapping[str, list[Entry]], symbols: Mapping[str, str], fold: Fold
    ) -> list[dict[str, Any]]:
        sections = []
        for symbol, listed in of.items():
            held = self._known.get(symbol, Held())
            fresh = [entry for entry in listed if not held.position or id_key(entry.id) > id_key(held.position)]
            if not fresh:  # folded before, says what is known here; the script says whether that is so
                sections.append(self._section(symbol, symbols, held, held, {"events": [], "made": []}))
                continue
            value, more = fold(symbol, held.value, fresh)
            sections.append(self._section(symbol, symbols, held, Held(fresh[-1].id, value), more))
        return sections

    def _section(
        self, symbol: str, symbols: Mapping[str, str], held: Held, after: Held, more: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "symbol": symbol, "state": symbols[symbol], "part": self._part, "expected": held.position,
            "position": after.position, "value": after.value, **more,
        }


def _by_symbol(entries: Sequence[Entry], symbols: Mapping[str, str]) -> dict[str, list[Entry]]:
    """The entries of each underlying of ours. Raises Poison for entries that say of none that they are."""
    found: dict[str, list[Entry]] = {}
    poison: dict[str, str] = {}
    for entry in entries:
        try:
            symbol = entry.text("symbol")
        except FieldError as error:
            poison[entry.id] = str(error)
            continue
        if symbol in symbols:
            found.setdefault(symbol, []).append(entry)
    if poison:
        raise Poison(poison)
    return found


def _beyond(entries: Sequence[Entry], batch: Sequence[Entry]) -> frozenset[str]:
    tried = {entry.id for entry in batch}
    return frozenset(entry.id for entry in entries if entry.id not in tried)
