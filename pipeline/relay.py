"""From a provider socket to streams: one process holds the connection, the others stand by; what arrived is written.

The provider allows one connection, so scale means failover here: a lock says who connects. Frames wait in a bounded
backlog while Redis is away. An entry may be written twice, where a reply was lost: what reads these streams takes the
newest of each value, so that a repeated entry changes nothing.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from redis.exceptions import RedisError
from walrus import Database

from pipeline import metrics
from pipeline.backlog import Appended, Backlog
from pipeline.leader import Leadership
from pipeline.life import Life
from pipeline.logs import Outage, get_log
from pipeline.provider.conversation import Pace
from pipeline.provider.frames import Frame, Received
from pipeline.provider.sockets import Feed
from pipeline.settings import Settings
from pipeline.stage import passes

BACKLOG_BYTES = 64 * 1024 * 1024  # some minutes of a busy market
BATCH_ENTRIES, BATCH_BYTES = 500, 4 * 1024 * 1024
RENEW_S = 1.0  # of the lock: several times within its time to live
WRITE_S = 0.5  # at a stretch: the lock must be renewed however much is waiting
TURN_S = 0.2
COUNT_S = 0.5
_IDLE_S = 0.1

Read = Callable[[Received, Frame], Iterable[Appended]]


class Relay:
    """``read`` makes entries of a frame, on the feed's thread; ``turn`` is the stage's own work, every TURN_S."""

    def __init__(
        self, source: str, path: str, settings: Settings, database: Database, life: Life, read: Read,
        turn: Callable[[], None], *, pace: Pace | None = None, backlog_bytes: int = BACKLOG_BYTES,
    ) -> None:
        self.backlog = Backlog(backlog_bytes)
        self.leading = False
        self.feed: Feed | None = None
        self._source = source
        self._url = f"{settings.ws_url}/{path}"
        self._path = path
        self._settings = settings
        self._database = database
        self._life = life
        self._read = read
        self._turn = turn
        self._pace = pace or Pace(silent_after=settings.silent_after_s, healthy_after=settings.healthy_after_s)
        self._log = get_log(stage=life.stage, consumer=life.consumer)
        self._outage = Outage(self._log, "redis")
        # One leader a socket, beside the keeper's own.
        self._lock = Leadership(database, life.keys.leader(path))
        self._refused = False
        self._wanted: frozenset[str] = frozenset()
        self._in_hand: list[Appended] = []
        self._counting = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._notes: dict[tuple[str, str], int | str] = {}
        self._counted: Counter[str] = Counter()
        self._delay = metrics.ProviderDelay(life.stage)
        self._due = {"lock": 0.0, "turn": 0.0, "count": 0.0}

    # --- for the stage ---
    def want(self, topics: frozenset[str]) -> None:
        self._wanted = topics
        if self.feed is not None:
            self.feed.want(topics)

    def count(self, symbol: str, field: str, by: int = 1) -> None:
        """Add to a counter of the source; written twice a second."""
        with self._counting:
            self._counts[symbol, field] += by

    def note(self, symbol: str, field: str, value: int | str) -> None:
        """Set a field of the source to its newest value; written twice a second."""
        with self._counting:
            self._notes[symbol, field] = value

    def run(self) -> None:
        """Until the process is told to stop."""
        self._life.unready("")
        try:
            while not self._life.stop.is_set():
                self._step()
                self._life.progress()
                self.backlog.wait(_IDLE_S)
        finally:
            self._leave()

    # --- one turn ---
    def _step(self) -> None:
        try:
            if self._is_due("lock", RENEW_S):
                self._lead(self._lock.hold())
            self._write()
            if self.leading and self._is_due("turn", TURN_S):
                self._turn()
            if self._is_due("count", COUNT_S):
                self._write_counts()
        except (RedisError, OSError) as error:
            metrics.ERRORS.labels(self._life.stage, type(error).__name__.lower()).inc()
            self._outage.broke(f"{type(error).__name__}: {error}")
            self._life.fails("" if passes(error) else f"{type(error).__name__}: {error}")
            self._life.stop.wait(_IDLE_S)  # frames go on being received meanwhile
        else:
            self._life.fails("")
            self._outage.healed()
            self._tell_refusal()

    def _tell_refusal(self) -> None:
        refused = self.feed is not None and self.feed.refused
        if refused != self._refused:
            self._refused = refused
            self._life.unready("provider refuses the key" if refused else "")

    def _is_due(self, what: str, every_s: float) -> bool:
        now = time.monotonic()
        if now < self._due[what]:
            return False
        self._due[what] = now + every_s
        return True

    def _lead(self, ours: bool) -> None:
        if self.feed is not None and not self.feed.alive:
            self.feed = None
        if ours and self.feed is None:
            self.leading = True
            self.feed = Feed(self._url, self._settings.api_key, self._path, self._log, self._on_frame, self._pace)
            self._counted = Counter({"dropped_frames": self._counted["dropped_frames"]})
            self.feed.want(self._wanted)
            self.feed.start()
            self._log.info("holds the connection", socket=self._path)
        elif not ours and self.feed is not None:
            self.leading = False
            self._log.warning("another process holds the connection now; this one stands by", socket=self._path)
            self.feed.close()
            self.feed = None

    def _on_frame(self, received: Received, frame: Frame) -> None:
        first = frame.events[0] if frame.events else None
        if isinstance(first, dict) and isinstance(first.get("t"), int):
            self._delay.observe(received.ts, first["t"])
        self.backlog.put(self._read(received, frame))

    def _write(self) -> None:
        """What waits, in batches. What could not be written stays in hand and goes first next time."""
        until = time.monotonic() + WRITE_S
        while time.monotonic() < until:
            self._in_hand = self._in_hand or self.backlog.take(BATCH_ENTRIES, BATCH_BYTES)
            if not self._in_hand:
                return
            for stream in dict.fromkeys(entry.stream for entry in self._in_hand):
                pipe = self._database.pipeline(transaction=True)
                for entry in self._in_hand:
                    if entry.stream == stream:
                        pipe.xadd(stream, entry.fields)
                pipe.execute()
                written = [entry for entry in self._in_hand if entry.stream == stream]
                self._in_hand = [entry for entry in self._in_hand if entry.stream != stream]
                metrics.EVENTS.labels(self._life.stage, "written").inc(len(written))
                self._life.note_latency(metrics.observe_way(self._life.stage, str(written[0].ts)))

    # --- counting ---
    def _write_counts(self) -> None:
        """Counters of the connection itself belong to no underlying."""
        with self._counting:
            counts, self._counts = self._counts, Counter()
            notes, self._notes = self._notes, {}
        tally = Counter(asdict(self.feed.tally)) if self.feed is not None else Counter[str]()
        tally["dropped_frames"] = self.backlog.dropped
        # Of what the feed counts, what is new since the last time.
        grown = Counter({("", field): tally[field] - self._counted[field] for field in tally})
        # A transaction a key: on a Redis Cluster the underlyings are on several nodes.
        waiting: dict[str, Any] = {}
        for (symbol, field), by in (counts + grown).items():
            self._pipe(waiting, symbol).hincrby(self._analytics(symbol), field, by)
        for (symbol, field), value in (notes | self._state()).items():
            self._pipe(waiting, symbol).hset(self._analytics(symbol), field, value)
        try:
            for key in list(waiting):
                waiting[key].execute()
                del waiting[key]
                if key == self._analytics(""):
                    self._counted = tally
        except (RedisError, OSError):
            left = {place: by for place, by in counts.items() if self._analytics(place[0]) in waiting}
            with self._counting:
                self._counts += Counter(left)
                unsaid = {place: value for place, value in notes.items() if self._analytics(place[0]) in waiting}
                self._notes = unsaid | self._notes
            raise

    def _pipe(self, waiting: dict[str, Any], symbol: str) -> Any:
        key = self._analytics(symbol)
        if key not in waiting:
            waiting[key] = self._database.pipeline(transaction=True)
        return waiting[key]

    def _analytics(self, symbol: str) -> str:
        return self._life.keys.analytics(self._source, symbol)

    def _state(self) -> dict[tuple[str, str], int | str]:
        if self.feed is None:
            return {}
        return {
            ("", "state"): self.feed.state, ("", "queue_peak"): self.backlog.peak,
            ("", "queue_bytes"): self.backlog.bytes, ("", "unread_frames"): self.feed.queued,
        }

    # --- leaving ---
    def _leave(self) -> None:
        """Close first, so that the next in line may connect; then write what had arrived; then say so."""
        if self.feed is not None:
            self.feed.close()
        deadline = time.monotonic() + self._settings.drain_s
        while time.monotonic() < deadline:
            try:
                self._write()
                if len(self.backlog):
                    continue
                self._write_counts()
                self._lock.resign()
                break
            except (RedisError, OSError) as error:
                self._outage.broke(f"{type(error).__name__}: {error}")
                time.sleep(_IDLE_S)
        left = len(self.backlog) + len(self._in_hand)
        self._log.info("drained", left=left)
