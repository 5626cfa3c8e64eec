"""One reader of a namespace's streams, and everybody who listens.

A thread reads the streams with XREAD (no group: what is read is nobody's work) and makes events of the entries; the
event loop keeps the last minute of them and hands each batch to its channels. A *channel* is what several clients asked
for alike: a batch is joined into one piece of bytes per channel, and every client of it is handed that very piece.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from redis.exceptions import RedisError, ResponseError
from walrus import Database

from pipeline.announced import payload_of
from pipeline.gateway.documents import ANNOUNCED, Documents, vigil_members
from pipeline.gateway.event import START, Event, Position, compressed, encoded, fact, publication
from pipeline.gateway.view import View
from pipeline.keys import Keys
from pipeline.logs import Outage, get_log

READ_MAX = 256
BLOCK_MS = 500
HEARTBEAT_S = 2.0
KEPT_BYTES = 64 * 1024 * 1024
"""What is kept of the past, so that a client that was away resumes without a full document."""
_RETRY_S = 0.2
_SNAPSHOT_S = 1.0
"""A snapshot serves all who ask for the same within so long: a crowd that comes back at once costs one reading."""


@dataclass(frozen=True, slots=True)
class Channel:
    """What a client asked for."""

    symbols: frozenset[str]
    models: frozenset[str]
    view: View
    gzip: bool

    def wants(self, event: Event) -> bool:
        return event.model in self.models and event.symbol in self.symbols

    def piece(self, events: Iterable[Event]) -> bytes:
        """The bytes of those of the events that it wants."""
        return b"".join(event.frame(self.view, self.gzip) for event in events if self.wants(event))


@dataclass(slots=True)
class Snapshot:
    """Full documents at least as new as ``position``: what comes after it completes them."""

    made_at: float
    position: Position
    piece: bytes


class Subscriber:
    """A client's queue. ``behind`` says why it needs a snapshot before anything else, '' that it does not."""

    LIMIT_BYTES = 8 * 1024 * 1024
    """More than this waiting for a client that does not read is given up for one fresh snapshot."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.behind = "start"
        self._pieces: deque[bytes] = deque()
        self._bytes = 0
        self._woken = asyncio.Event()
        self.closed = False

    def put(self, piece: bytes) -> bool:
        """False where it overflowed: what waited is dropped."""
        if self.behind:
            return True
        self._pieces.append(piece)
        self._bytes += len(piece)
        self._woken.set()
        if self._bytes > self.LIMIT_BYTES and len(self._pieces) > 1:
            self.fall_behind("slow")
            return False
        return True

    def fall_behind(self, why: str) -> None:
        self._pieces.clear()
        self._bytes = 0
        self.behind = why
        self._woken.set()

    def close(self) -> None:
        self.closed = True
        self._woken.set()

    async def take(self) -> bytes:
        """Everything that waits, in one piece; empty where there is nothing but news of its state."""
        await self._woken.wait()
        self._woken.clear()
        piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._bytes = 0
        return piece


class Hub:
    """Live, or a replay: one namespace. Everything but the reader thread is on the event loop."""

    def __init__(
        self, connect: Callable[[], Database], keys: Keys, symbols: tuple[str, ...], kept_s: float, replay: str = ""
    ) -> None:
        self.documents = Documents(connect(), keys, symbols)
        self.symbols = symbols
        self.subscribers: set[Subscriber] = set()
        self.conflated = 0
        self.alive_at = time.monotonic()
        self._database = connect()
        self._facts_database = Documents(connect(), keys, symbols)
        self._keys = keys
        self._kept_s = kept_s
        self._replay = replay
        self._streams = self._ranked()
        self._stop = threading.Event()
        self._outage = Outage(get_log(stage="gateway", namespace=keys.namespace or "live"), "redis")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ring: deque[Event] = deque()
        self._ring_bytes = 0
        self._floor: Position = START
        """A client at or after this position resumes from the ring."""
        self._position: Position = START
        self._spots: dict[str, tuple[int, float]] = {}
        self._snapshots: dict[Channel, Snapshot] = {}
        self._snapshot_locks: dict[Channel, asyncio.Lock] = {}
        self._facts: dict[str, Any] = {"market": None, "symbols": {}}
        self._facts_at = float("-inf")
        self._beating: asyncio.Task[None] | None = None
        self._threads: list[threading.Thread] = []

    def _ranked(self) -> list[tuple[str, str]]:
        """(stream, noun): its place is the rank of its entries in positions."""
        keys, ranked = self._keys, []
        for noun in ("model", "spot", "epoch", "vigil", "vexy"):
            for symbol in self.symbols:
                key = {"vigil": keys.vigil_events, "vexy": keys.vexy_history}[noun](symbol) if noun in (
                    "vigil", "vexy") else keys.stream(noun, symbol)
                ranked.append((key, noun))
        return list(dict.fromkeys(ranked))

    # --- life ---
    def start(self) -> None:
        """Begin to read; on the event loop."""
        self._loop = asyncio.get_running_loop()
        for name, target in (("reader", self._read), ("watcher", self._watch)):
            thread = threading.Thread(target=target, name=f"gateway-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._beating = asyncio.create_task(self._beat())

    def close(self) -> None:
        """End every stream and both threads."""
        self._stop.set()
        if self._beating is not None:
            self._beating.cancel()
        for subscriber in self.subscribers:
            subscriber.close()

    # --- clients ---
    def subscribe(self, channel: Channel, after: Position | None) -> Subscriber:
        """A queue that begins after a position where that is still known, else with a snapshot."""
        subscriber = Subscriber(channel)
        if after is not None:
            if self._floor <= after <= self._position:
                subscriber.behind = ""
                if piece := channel.piece(self._since(after)):
                    subscriber.put(piece)
            else:
                subscriber.behind = "gap"
        self.subscribers.add(subscriber)
        return subscriber

    def _since(self, position: Position) -> list[Event]:
        later: list[Event] = []
        for event in reversed(self._ring):
            if event.position is None or event.position <= position:
                break
            later.append(event)
        return later[::-1]

    async def catch_up(self, subscriber: Subscriber) -> bytes:
        """The reset, the snapshot and what came since: from here on the subscriber's queue goes on by itself."""
        channel, why = subscriber.channel, subscriber.behind
        while True:
            snapshot = await self._snapshot(channel)
            if snapshot.position >= self._floor:
                break
            self._snapshots.pop(channel, None)
        subscriber.behind = ""
        reset = encoded("reset", orjson.dumps({
            "reason": why, "symbols": sorted(channel.symbols), "models": sorted(channel.models),
        }))
        reset = compressed(reset) if channel.gzip else reset
        return reset + snapshot.piece + channel.piece(self._since(snapshot.position))

    async def _snapshot(self, channel: Channel) -> Snapshot:
        lock = self._snapshot_locks.setdefault(channel, asyncio.Lock())
        async with lock:
            held = self._snapshots.get(channel)
            if held is not None and time.monotonic() - held.made_at < _SNAPSHOT_S:
                return held
            position = self._position
            piece = await asyncio.to_thread(self._read_snapshot, channel, position)
            made = Snapshot(time.monotonic(), position, piece)
            self._snapshots[channel] = made
            asyncio.get_running_loop().call_later(_SNAPSHOT_S, self._forget_snapshot, channel, made)
            return made

    def _forget_snapshot(self, channel: Channel, made: Snapshot) -> None:
        if self._snapshots.get(channel) is made:
            del self._snapshots[channel]
            self._snapshot_locks.pop(channel, None)

    def _read_snapshot(self, channel: Channel, position: Position) -> bytes:
        in_order = [symbol for symbol in self.symbols if symbol in channel.symbols]
        events = self.documents.snapshot(in_order, channel.models)
        if position > START:
            # The last word of a snapshot says where it was taken: a client cut off before it begins anew.
            events.append(Event("heartbeat", "", "", position, self.heartbeat(), b""))
        return b"".join(event.frame(channel.view, channel.gzip) for event in events)

    # --- the reader's thread ---
    def _read(self) -> None:
        cursors: dict[str, str] = {}
        while not self._stop.is_set():
            try:
                if not cursors:
                    cursors = self._begin()
                reply = self._database.xread(cursors, count=READ_MAX, block=BLOCK_MS)
                events = self._events(reply or [], cursors)
            except (RedisError, OSError) as error:
                self._outage.broke(f"{type(error).__name__}: {error}")
                self._stop.wait(_RETRY_S)
                continue
            self._outage.healed()
            self.alive_at = time.monotonic()
            if events:
                self._hand_over(events)

    def _begin(self) -> dict[str, str]:
        """Where to read from, so that what the streams still hold of the last minute is taken in."""
        seconds, micros = self._database.time()
        since = int(seconds * 1000 + micros // 1000 - self._kept_s * 1000)
        floor = max(self._first(rank, key, since) for rank, (key, noun) in enumerate(self._streams) if noun == "model")
        self._on_loop(lambda: self._begin_ring(floor))
        ms, sequence, _ = floor
        return {key: _before(ms, sequence) for key, _ in self._streams}

    def _first(self, rank: int, key: str, since: int) -> Position:
        """The first entry of the window; where there is none, the last there ever was: nothing came after it."""
        rows = self._database.xrange(key, min=str(since), count=1)
        try:
            entry = rows[0][0] if rows else self._database.xinfo_stream(key)["last-generated-id"]
        except ResponseError:  # no such stream yet
            return START
        ms, _, sequence = entry.decode().partition("-")
        return int(ms), int(sequence), rank

    def _events(self, reply: list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]], cursors: dict[str, str],
                ) -> list[Event]:
        """In the order of their positions. Where a stream has more than was read, later entries of the others wait."""
        ranks = {key: rank for rank, (key, _) in enumerate(self._streams)}
        rows: list[tuple[Position, dict[bytes, bytes]]] = []
        horizon: Position | None = None
        for stream, entries in reply:
            rank = ranks[stream.decode()]
            for entry_id, fields in entries:
                ms, _, sequence = entry_id.decode().partition("-")
                rows.append(((int(ms), int(sequence), rank), fields))
            if len(entries) >= READ_MAX:
                horizon = rows[-1][0] if horizon is None else min(horizon, rows[-1][0])
        rows.sort(key=lambda row: row[0])
        events = []
        for position, fields in rows:
            if horizon is not None and position > horizon:
                break
            key, noun = self._streams[position[2]]
            cursors[key] = f"{position[0]}-{position[1]}"
            event = self._event(noun, position, fields)
            if event is not None:
                events.append(event)
        return events

    def _event(self, noun: str, position: Position, fields: dict[bytes, bytes]) -> Event | None:
        """None for what is no client's business, and for what cannot be read: an entry of somebody else's making."""
        symbol = fields.get(b"symbol", b"").decode(errors="replace")
        if symbol not in self.symbols:
            return None
        published = position[0]
        try:
            if noun == "model":
                return self._publication(symbol, position, fields)
            if noun == "spot":
                return self._spot(symbol, position, fields)
            if noun == "vigil":
                return fact("vigil", symbol, vigil_members(f"{published}-{position[1]}".encode(), fields), position)
            if noun == "vexy":
                members = {"symbol": symbol, "published": published, "document": orjson.Fragment(fields[b"payload"])}
                return fact("vexy", symbol, members, position)
            told = {name.decode(): value.decode() for name, value in fields.items()}
            # A refreshed epoch is the same epoch; what changed in it is published.
            kept = told["event"] != "refreshed"
            return fact("epoch", symbol, {**told, "ts": int(told["ts"])}, position) if kept else None
        except (KeyError, ValueError) as error:
            stream = self._streams[position[2]][0]
            get_log(stage="gateway").warning("an entry is left out", stream=stream, why=repr(error))
            return None

    def _spot(self, symbol: str, position: Position, fields: dict[bytes, bytes]) -> Event | None:
        """The newest wins: one that REST brings late is no news."""
        ts, price = int(fields[b"ts"]), float(fields[b"price"])
        if (ts, price) <= self._spots.get(symbol, (0, 0.0)):
            return None
        self._spots[symbol] = (ts, price)
        members = {"symbol": symbol, "price": price, "ts": ts, "published": position[0]}
        return fact("spot", symbol, members, position)

    def _publication(self, symbol: str, position: Position, fields: dict[bytes, bytes]) -> Event | None:
        model = fields[b"model"].decode()
        if model not in ANNOUNCED:
            return None
        document = payload_of(self._database, fields)
        if document is None:
            return None  # so old that its payload is gone: a reset covers it
        origin = fields.get(b"origin", b"").partition(b"-")[0]
        return publication(
            symbol, model, fields[b"kind"].decode(), fields[b"epoch"].decode(), int(fields[b"base"]),
            int(fields[b"version"]), document, ts=int(fields[b"ts"]),
            received=int(origin) if origin.isdigit() else None, published=position[0], position=position,
        )

    def _hand_over(self, events: list[Event]) -> None:
        """Frames of what is being listened to are made here: compressing is no work for the event loop."""
        for channel in self._channels():
            for event in events:
                if channel.wants(event):
                    event.frame(channel.view, channel.gzip)
        self._on_loop(lambda: self._deliver(events))

    def _channels(self) -> set[Channel]:
        return {subscriber.channel for subscriber in tuple(self.subscribers)}

    def _on_loop(self, act: Callable[[], None]) -> None:
        """Do it on the event loop and wait until it is done: a loop that is busy slows the reading."""
        done = threading.Event()

        def run() -> None:
            try:
                act()
            finally:
                done.set()

        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(run)
        except RuntimeError:
            return  # the loop is closed
        while not done.wait(1.0) and not self._stop.is_set():
            pass

    # --- the event loop ---
    def _begin_ring(self, floor: Position) -> None:
        self._ring.clear()
        self._ring_bytes = 0
        self._floor = self._position = floor

    def _deliver(self, events: list[Event]) -> None:
        pieces: dict[Channel, bytes] = {}
        for subscriber in self.subscribers:
            channel = subscriber.channel
            if channel not in pieces:
                pieces[channel] = channel.piece(events)
            if pieces[channel] and not subscriber.put(pieces[channel]):
                self.conflated += 1
        for event in events:
            self._ring.append(event)
            self._ring_bytes += event.size
        if events[-1].position is not None:
            self._position = max(self._position, events[-1].position)
        oldest = int(self._position[0] - self._kept_s * 1000)
        while self._ring and (self._ring_bytes > KEPT_BYTES or (self._ring[0].position or START)[0] < oldest):
            gone = self._ring.popleft()
            self._ring_bytes -= gone.size
            self._floor = max(self._floor, gone.position or START)

    # --- the heartbeat ---
    def _watch(self) -> None:
        """The state of the feeds, read on a thread of its own: a server that hangs must not hang the heart."""
        while not self._stop.is_set():
            try:
                self._facts = self._facts_database.heartbeat()
                self._facts_at = time.monotonic()
            except (RedisError, OSError):
                pass  # the reader says so in the log
            self._stop.wait(HEARTBEAT_S / 2)

    def heartbeat(self) -> bytes:
        heard = time.monotonic() - self._facts_at < 3 * HEARTBEAT_S and not self._outage.broken
        return orjson.dumps({
            "now": time.time_ns() // 1_000_000, "redis": heard, "replay": self._replay or None, **self._facts,
        })

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            event = Event("heartbeat", "", "", None, self.heartbeat(), b"")
            for subscriber in self.subscribers:
                subscriber.put(event.frame(subscriber.channel.view, subscriber.channel.gzip))


def _before(ms: int, sequence: int) -> str:
    """The id after which an entry of this id is read."""
    if sequence:
        return f"{ms}-{sequence - 1}"
    return f"{ms - 1}-{2**64 - 1}" if ms else "0-0"
