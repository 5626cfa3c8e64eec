"""The streams of a namespace as events, in one order: what hubs hand on and what a replay is played from.

Entries' ids are the server's clock, so those of several streams have an order. Where ids are equal, the stream's place
among the streams (its *rank*) decides; an id and a rank are a position.
"""

from collections.abc import Callable

import orjson
from redis.exceptions import ResponseError
from walrus import Database

from pipeline.announced import payload_of
from pipeline.gateway.documents import ANNOUNCED, vigil_members
from pipeline.gateway.event import START, Event, Position, fact, parse_position, publication
from pipeline.keys import Keys
from pipeline.logs import get_log

READ_MAX = 256
_Rows = list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]


class Restarted(Exception):
    """Another server answers than before: what was read from the last one may never have been stored."""


class Reader:
    """Reads on. Everything speaks with Redis and may raise what it raises."""

    def __init__(self, connect: Callable[[Callable[[], None]], Database], keys: Keys, symbols: tuple[str, ...]) -> None:
        """``connect`` gives a client that tells the function it is given of every connection."""
        self._database = connect(self._connected)
        self._symbols = frozenset(symbols)
        self._streams = _ranked(keys, symbols)
        self._ranks = {key: rank for rank, (key, _) in enumerate(self._streams)}
        self._cursors = dict.fromkeys(self._ranks, "0-0")
        self._spots: dict[str, tuple[int, float]] = {}
        self._run = ""
        self._unsure = True
        self.at_end = False
        """Whether the last read found nothing."""
        self.begun_ms = 0
        """The server's time when ``begin_since`` was called."""

    def _connected(self) -> None:
        self._unsure = True

    def close(self) -> None:
        self._database.connection_pool.disconnect()

    # --- where to begin ---
    @property
    def mark(self) -> str:
        """Where it is, in all streams: for one whose ids are no clock's, as a replay's inputs are recorded ones."""
        return "_".join(self._cursors.values())

    def begin_at(self, mark: str) -> None:
        """Go on there. Raises ValueError for what is no mark of these streams."""
        cursors = mark.split("_")
        for cursor in cursors:
            parse_position(cursor)
        if len(cursors) != len(self._cursors):
            raise ValueError(f"{mark[:40]!r} is no id of an event of this replay")
        self._cursors = dict(zip(self._cursors, cursors, strict=True))

    def begin_since(self, age_s: float) -> Position:
        """Begin with what came in the last so many seconds; the position of the first publication in it.

        Where there is none, that of the last there ever was: nothing came after it.
        """
        seconds, micros = self._database.time()
        self.begun_ms = seconds * 1000 + micros // 1000
        since = self.begun_ms - int(age_s * 1000)
        first = max(self._first(rank, key, since) for rank, (key, noun) in enumerate(self._streams) if noun == "model")
        ms, sequence, _ = first
        self._cursors = {key: _before(ms, sequence) for key, _ in self._streams}
        self._sure()
        return first

    def _first(self, rank: int, key: str, since: int) -> Position:
        rows = self._database.xrange(key, min=str(since), count=1)
        try:
            entry = rows[0][0] if rows else self._database.xinfo_stream(key)["last-generated-id"]
        except ResponseError:  # no such stream yet
            return START
        return _position(entry, rank)

    # --- reading ---
    def read(self, block_ms: int | None) -> list[Event]:
        """The next events, in order; none after so long (None: at once). Raises Restarted."""
        reply: _Rows = self._database.xread(self._cursors, count=READ_MAX, block=block_ms) or []
        self._sure()
        self.at_end = not reply
        rows: list[tuple[Position, dict[bytes, bytes]]] = []
        horizon: Position | None = None  # where a stream has more than was read, later entries of the others wait
        for stream, entries in reply:
            rank = self._ranks[stream.decode()]
            rows += ((_position(entry_id, rank), fields) for entry_id, fields in entries)
            if len(entries) >= READ_MAX:
                horizon = rows[-1][0] if horizon is None else min(horizon, rows[-1][0])
        rows.sort(key=lambda row: row[0])
        events = []
        for position, fields in rows:
            if horizon is not None and position > horizon:
                break
            key, noun = self._streams[position[2]]
            event = self._event(key, noun, position, fields)
            self._cursors[key] = f"{position[0]}-{position[1]}"
            if event is not None:
                events.append(event)
        return events

    def _sure(self) -> None:
        """That the server is the one it was. A client that lost its connection opens another without a word."""
        while self._unsure:
            self._unsure = False
            run, before = str(self._database.info("server")["run_id"]), self._run
            self._run = run
            if before not in ("", run):
                raise Restarted

    # --- entries as events ---
    def _event(self, stream: str, noun: str, position: Position, fields: dict[bytes, bytes]) -> Event | None:
        """None for what is no client's business, and for what cannot be read: an entry of somebody else's making."""
        symbol = fields.get(b"symbol", b"").decode(errors="replace")
        if symbol not in self._symbols:
            return None
        published = position[0]
        try:
            if noun == "model":
                return self._publication(symbol, position, fields)
            if noun == "spot":
                return self._spot(symbol, position, fields)
            if noun == "vigil":
                return fact("vigil", symbol, vigil_members(f"{published}-{position[1]}", fields), position)
            if noun == "vexy":
                members = {"symbol": symbol, "published": published, "document": orjson.Fragment(fields[b"payload"])}
                return fact("vexy", symbol, members, position)
            told = {name.decode(): value.decode() for name, value in fields.items()}
            # A refreshed epoch is the same epoch; what changed in it is published.
            kept = told["event"] != "refreshed"
            return fact("epoch", symbol, {**told, "ts": int(told["ts"])}, position) if kept else None
        except (KeyError, ValueError) as error:
            get_log(stage="gateway").warning("an entry is left out", stream=stream, why=repr(error))
            return None

    def _publication(self, symbol: str, position: Position, fields: dict[bytes, bytes]) -> Event | None:
        model = fields[b"model"].decode()
        if model not in ANNOUNCED:
            return None
        document = payload_of(self._database, fields)
        if document is None:
            return None  # so old that its payload is gone; who misses it has been away for longer than is kept
        origin = fields.get(b"origin", b"").partition(b"-")[0]
        return publication(
            symbol, model, fields[b"kind"].decode(), fields[b"epoch"].decode(), int(fields[b"base"]),
            int(fields[b"version"]), document, ts=int(fields[b"ts"]),
            received=int(origin) if origin.isdigit() else None, published=position[0], position=position,
        )

    def _spot(self, symbol: str, position: Position, fields: dict[bytes, bytes]) -> Event | None:
        """The newest wins: one that REST brings late is no news."""
        ts, price = int(fields[b"ts"]), float(fields[b"price"])
        if (ts, price) <= self._spots.get(symbol, (0, 0.0)):
            return None
        self._spots[symbol] = (ts, price)
        members = {"symbol": symbol, "price": price, "ts": ts, "published": position[0]}
        return fact("spot", symbol, members, position)


def _ranked(keys: Keys, symbols: tuple[str, ...]) -> list[tuple[str, str]]:
    """(stream, what it holds), the models' first."""
    ranked = [(keys.stream(noun, symbol), noun) for noun in ("model", "spot", "epoch") for symbol in symbols]
    ranked += [(keys.vigil_events(symbol), "vigil") for symbol in symbols]
    ranked += [(keys.vexy_history(symbol), "vexy") for symbol in symbols]
    return list(dict.fromkeys(ranked))


def _position(entry_id: bytes, rank: int) -> Position:
    ms, _, sequence = entry_id.decode().partition("-")
    return int(ms), int(sequence), rank


def _before(ms: int, sequence: int) -> str:
    """The id after which an entry of this id is read."""
    if sequence:
        return f"{ms}-{sequence - 1}"
    return f"{ms - 1}-{2**64 - 1}" if ms else "0-0"
