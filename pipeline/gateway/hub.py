"""Everybody who listens to what is live: one reader, one encoding, one piece of bytes for all who asked alike.

A thread reads and makes events; the event loop keeps the last minute of them (the *ring*) and hands each batch on. A
*channel* is what several clients asked for alike: a batch is joined into one piece per channel, and every client of it
is handed that very piece.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from redis.exceptions import RedisError
from walrus import Database

from pipeline import metrics
from pipeline.gateway.documents import Documents
from pipeline.gateway.event import START, Event, Position, compressed, encoded, position_text
from pipeline.gateway.reader import Reader, Restarted
from pipeline.gateway.view import View
from pipeline.keys import Keys
from pipeline.logs import Outage, get_log

BLOCK_MS = 500
HEARTBEAT_S = 2.0
STUCK_S = 30.0
"""A client that takes nothing for so long is cut off."""
QUEUE_BYTES = 8 * 1024 * 1024
"""More than this waiting for a client that does not read is given up for one fresh snapshot."""
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

    def piece(self, events: Iterable[Event], keep: bool = True) -> bytes:
        """The bytes of those of the events that it wants. ``keep``: so are those that others will want."""
        return b"".join(event.frame(self.view, self.gzip, keep) for event in events if self.wants(event))

    def reset(self, why: str) -> bytes:
        """What a client is told that must forget what it holds."""
        members = {"reason": why, "symbols": sorted(self.symbols), "models": sorted(self.models)}
        text = encoded("reset", orjson.dumps(members))
        return compressed(text) if self.gzip else text

    def mark(self, where: str) -> bytes:
        """A block that is no event: it only tells the client where it is."""
        text = f"id: {where}\n\n".encode()
        return compressed(text) if self.gzip else text


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Full documents at least as new as ``position``: what comes after it completes them."""

    made_at: float
    position: Position
    piece: bytes


class Subscriber:
    """A client's queue. ``behind`` says why it needs a snapshot before anything else, '' that it does not."""

    def __init__(self, channel: Channel, after: Position | None, transport: asyncio.Transport) -> None:
        self.channel = channel
        self.after = after
        self.placed = False
        self.behind = "start"
        self.closed = False
        self.sending_since = 0.0
        """When it was given what it has not taken yet; 0 while it has taken everything."""
        self._transport = transport
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._waiting: asyncio.Future[None] | None = None

    @property
    def open(self) -> bool:
        return not self.closed and not self._transport.is_closing()

    def put(self, piece: bytes) -> None:
        """Once too much waits, all of it is dropped: one snapshot will say as much."""
        if self.behind:
            return
        self._pieces.append(piece)
        self._bytes += len(piece)
        self._wake()
        if self._bytes > QUEUE_BYTES and len(self._pieces) > 1:
            self.fall_behind("slow")

    def fall_behind(self, why: str) -> None:
        self._pieces.clear()
        self._bytes = 0
        self.behind = why
        self._wake()

    def close(self) -> None:
        self.closed = True
        self._wake()

    def cut_off(self) -> None:
        """Whatever waits for it, in this process or in the kernel."""
        self.closed = True
        self._transport.abort()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def take(self) -> bytes:
        """Everything that waits, in one piece; empty where there is nothing but a change of its state."""
        if not self._pieces and not self.behind and not self.closed:
            # A future, and no asyncio.Event, which costs twice as much: this is done by each client ten times a second.
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
            self._waiting = None
        piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._bytes = 0
        return piece


class Hub:
    """Threads read, everything else is on the event loop."""

    def __init__(
        self, connect: Callable[[Callable[[], None] | None], Database], keys: Keys, symbols: tuple[str, ...],
        kept_s: float,
    ) -> None:
        """``connect`` opens a client, and tells the function it is given of every connection."""
        self.symbols = symbols
        self.documents = Documents(connect(None), keys, symbols)
        self._listening: dict[Channel, set[Subscriber]] = {}
        self._reader = Reader(connect, keys, symbols)
        self._watched = Documents(connect(None), keys, symbols)
        self._kept_s = kept_s
        self._stop = threading.Event()
        self._log = get_log(stage="gateway")
        self._outage = Outage(self._log, "redis")
        self._ring: deque[Event] = deque()
        self._ring_bytes = 0
        self._floor: Position = START
        """What came after it is in the ring."""
        self._snapshots: dict[Channel, Snapshot] = {}
        self._locks: dict[Channel, asyncio.Lock] = {}
        self._facts: dict[str, Any] = {"market": None, "symbols": {}}
        self._facts_at = float("-inf")
        self._begun = asyncio.Event()
        """The ring is what the streams hold; before that nobody is told anything."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beating: asyncio.Task[None] | None = None

    # --- life ---
    def start(self) -> None:
        """Begin to read; on the event loop."""
        self._loop = asyncio.get_running_loop()
        for name, run in (("reader", self._read), ("watcher", self._watch)):
            threading.Thread(target=run, name=f"gateway-{name}", daemon=True).start()
        self._beating = asyncio.create_task(self._beat())

    def close(self) -> None:
        """End every stream; the threads end within a read's time."""
        self._stop.set()
        if self._beating is not None:
            self._beating.cancel()
        for subscriber in self._subscribers():
            subscriber.close()

    @property
    def closed(self) -> bool:
        return self._stop.is_set()

    @property
    def reads(self) -> bool:
        """Whether Redis answers."""
        return not self._outage.broken

    # --- clients ---
    def subscribe(self, channel: Channel, after: Position | None, transport: asyncio.Transport) -> Subscriber:
        """A queue that goes on after a position, where what came since is known; else it begins with a snapshot."""
        subscriber = Subscriber(channel, after, transport)
        if self._stop.is_set():
            subscriber.close()  # it came in while the others were sent away
        if self._begun.is_set():
            self._place(subscriber)
        self._listening.setdefault(channel, set()).add(subscriber)
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        of = self._listening[subscriber.channel]
        of.discard(subscriber)
        if not of:
            del self._listening[subscriber.channel]

    def _subscribers(self) -> list[Subscriber]:
        return [subscriber for of in self._listening.values() for subscriber in of]

    def _place(self, subscriber: Subscriber) -> None:
        """Where it goes on, once. It is behind already: as who begins."""
        if subscriber.placed:
            return
        subscriber.placed = True
        if subscriber.after is None:
            return
        since = self._since(subscriber.after)
        if since is None:
            subscriber.behind = "gap"
            return
        subscriber.behind = ""
        metrics.GATEWAY_RESUMED.inc()
        if piece := subscriber.channel.piece(since, keep=False):
            subscriber.put(piece)

    def _since(self, position: Position) -> list[Event] | None:
        """What came after a position; None where that is not known.

        A position that is neither in the ring nor right before it is none of ours: a server that lost its last second
        may have used it for something else.
        """
        later: list[Event] = []
        for event in reversed(self._ring):
            if event.position == position:
                return later[::-1]
            if event.position is None or event.position < position:
                return None
            later.append(event)
        return later[::-1] if position == self._floor else None

    async def catch_up(self, subscriber: Subscriber) -> bytes:
        """The reset, the snapshot and what came since: from here on the subscriber's queue goes on by itself.

        Something else, or nothing, while there is no snapshot to be had: it is then still behind.
        """
        channel = subscriber.channel
        if not self._begun.is_set():
            await asyncio.wait({asyncio.ensure_future(self._begun.wait())}, timeout=HEARTBEAT_S / 2)
            return self._heartbeat().frame(channel.view, channel.gzip)
        asked_at = time.monotonic()
        try:
            snapshot = await self._snapshot(channel)
        except (RedisError, OSError):
            await asyncio.sleep(HEARTBEAT_S / 2)
            return self._heartbeat().frame(channel.view, channel.gzip)  # which says that Redis is away
        since = self._since(snapshot.position)
        rest = channel.piece(since or (), keep=False)
        if since is None or (len(rest) > len(snapshot.piece) and snapshot.made_at < asked_at):
            # The ring was begun anew or has moved on while it was read, or another one is shorter by now.
            self._snapshots.pop(channel, None)
            return b""
        why, subscriber.behind = subscriber.behind, ""
        metrics.GATEWAY_SNAPSHOTS.labels(why).inc()
        return channel.reset(why) + snapshot.piece + rest

    async def _snapshot(self, channel: Channel) -> Snapshot:
        lock = self._locks.setdefault(channel, asyncio.Lock())
        async with lock:
            held = self._snapshots.get(channel)
            if held is not None and time.monotonic() - held.made_at < _SNAPSHOT_S:
                return held
            position = (self._ring[-1].position or START) if self._ring else self._floor
            piece = await asyncio.to_thread(self._read_snapshot, channel, position)
            made = self._snapshots[channel] = Snapshot(time.monotonic(), position, piece)
            asyncio.get_running_loop().call_later(_SNAPSHOT_S, self._forget, channel, made)
            return made

    def _forget(self, channel: Channel, made: Snapshot) -> None:
        if self._snapshots.get(channel) is made:
            del self._snapshots[channel]
            if not self._locks[channel].locked():
                del self._locks[channel]

    def _read_snapshot(self, channel: Channel, position: Position) -> bytes:
        symbols = [symbol for symbol in self.symbols if symbol in channel.symbols]
        events = self.documents.snapshot(symbols, channel.models)
        # Its last word says where it was taken: a client that is cut off before that begins anew.
        events.append(self._heartbeat(position))
        return b"".join(event.frame(channel.view, channel.gzip) for event in events)

    # --- the reader's thread ---
    def _read(self) -> None:
        begun, why = False, ""
        while not self._stop.is_set():
            try:
                if not begun:
                    self._begin(why)
                    begun = True
                events = self._reader.read(BLOCK_MS)
            except Restarted:
                self._log.warning("another server answers: every client gets its documents anew")
                begun, why = False, "server"
                continue
            except (RedisError, OSError) as error:
                self._outage.broke(f"{type(error).__name__}: {error}")
                self._stop.wait(_RETRY_S)
                continue
            self._outage.healed()
            if events:
                self._hand_over(events)
                self._observe(events)
        self._reader.close()
        self.documents.close()

    def _begin(self, why: str) -> None:
        """Take in what the streams hold of the last minute; then serve those who wait for it. ``why`` the others forget
        what they hold, '' where there are none."""
        floor = self._reader.begin_since(self._kept_s)
        self._on_loop(partial(self._clear, floor, why))
        while not self._stop.is_set():
            events = self._reader.read(None)
            if events:
                self._on_loop(partial(self._keep, events))
            if self._reader.at_end:
                break
        self._on_loop(self._open)

    def _hand_over(self, events: list[Event]) -> None:
        """Frames of what is listened to are made here: compressing is no work for the event loop."""
        for channel in tuple(self._listening):
            channel.piece(events)
        self._on_loop(lambda: self._deliver(events))

    def _observe(self, events: list[Event]) -> None:
        """How old it is that clients have by now; not of what was published before there was anybody to have it."""
        fresh = [event for event in events if event.position and event.position[0] > self._reader.begun_ms]
        if told := [event for event in fresh if event.received]:
            oldest = position_text(told[0].position or START)
            metrics.observe_way("gateway", oldest, (b"%d-0" % (event.received or 0) for event in told))

    def _on_loop(self, act: Callable[[], None]) -> None:
        """Do it on the event loop, and wait until it is done: a loop that is busy slows the reading."""
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
            return  # it is closed
        while not done.wait(1.0) and not self._stop.is_set():
            pass

    # --- the event loop ---
    def _clear(self, floor: Position, why: str) -> None:
        self._begun.clear()
        self._ring.clear()
        self._ring_bytes = 0
        self._floor = floor
        self._snapshots.clear()
        for subscriber in self._subscribers():
            if subscriber.placed:
                subscriber.fall_behind(why)

    def _open(self) -> None:
        self._begun.set()
        for subscriber in self._subscribers():
            self._place(subscriber)

    def _deliver(self, events: list[Event]) -> None:
        for channel, subscribers in self._listening.items():
            if piece := channel.piece(events):
                for subscriber in subscribers:
                    subscriber.put(piece)
        self._keep(events)

    def _keep(self, events: list[Event]) -> None:
        self._ring.extend(events)
        self._ring_bytes += sum(event.size for event in events)
        newest = events[-1].position or START
        oldest_ms = newest[0] - int(self._kept_s * 1000)
        while self._ring_bytes > KEPT_BYTES or (self._ring[0].position or START)[0] < oldest_ms:
            gone = self._ring.popleft()
            self._ring_bytes -= gone.size
            self._floor = gone.position or START

    # --- the heartbeat ---
    def _watch(self) -> None:
        """The state of the feeds, read on a thread of its own: a server that hangs must not hang the heart."""
        while not self._stop.is_set():
            try:
                self._facts = self._watched.heartbeat()
                self._facts_at = time.monotonic()
            except (RedisError, OSError):
                pass  # the reader says so in the log
            self._stop.wait(HEARTBEAT_S / 2)
        self._watched.close()

    def heartbeat(self) -> bytes:
        """The state of the feeds as JSON."""
        heard = time.monotonic() - self._facts_at < 3 * HEARTBEAT_S and self.reads
        return orjson.dumps({"now": time.time_ns() // 1_000_000, "redis": heard, "replay": None, **self._facts})

    def _heartbeat(self, position: Position | None = None) -> Event:
        return Event("heartbeat", "", "", position, self.heartbeat(), b"")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            beat, now = self._heartbeat(), time.monotonic()
            for subscriber in self._subscribers():
                if subscriber.sending_since and now - subscriber.sending_since > STUCK_S:
                    metrics.GATEWAY_STUCK.inc()
                    subscriber.cut_off()
                else:
                    subscriber.put(beat.frame(subscriber.channel.view, subscriber.channel.gzip))
