"""The consumer-group runtime. One engine runs every stage that reads a stream.

A stage says which streams it reads and commits batches of entries; everything else is here: own pending first, adaptive
batches, reading ahead, reclaim of dead consumers' entries, bisection of a failing batch, retries with backoff, dead
letters, and a drain on SIGTERM. Reads are at-least-once; a stage's commit is one Lua call that takes ownership of its
entries, applies them and acknowledges them, so effects are once.
"""

import heapq
import itertools
import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from walrus import Database

from pipeline import metrics
from pipeline.database import Moved
from pipeline.deadletters import bury
from pipeline.entry import Entry, id_key
from pipeline.errors import Gone, NotYet, Poison
from pipeline.keys import Keys
from pipeline.logs import Outage, get_log
from pipeline.scripts import Scripts
from pipeline.settings import Settings
from pipeline.tracing import trace_of

# What the server says while it cannot serve for reasons that pass: the batch is kept and tried again, uncounted. The
# client library knows some by type and takes the code off their text; the others keep it. LOADING is a ConnectionError.
_PASSING_TYPES = (
    RedisConnectionError, RedisTimeoutError, OSError, OutOfMemoryError, ReadOnlyError, MasterDownError,
    ClusterDownError, TryAgainError,
)
_PASSING_CODES = ("BUSY ", "NOREPLICAS", "MISCONF", "OOM ", "READONLY ")
_Rows = list[tuple[bytes, dict[bytes, bytes]]]
_Reply = list[tuple[bytes, _Rows]] | None
_BACKOFF_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.0)
_BATCH_MIN = 16
_FAILING_S = 5.0  # what fails for so long without a break is told; anything shorter is the backoff's business
_COMMITLESS_S = 6.0  # so long failing at every entry: longer than it takes to try a single bad one and bury it
_LATELY_S = 2.0  # and still failing: between a bad entry's last tries there are longer pauses
_DUE_MAX = 2


class Stage(Protocol):
    """What the engine needs of a stage."""

    name: str
    """Also the name of its consumer group."""
    reclaim_idle_ms: int
    """Entries idle for so long are taken from their consumer. Well above the longest commit."""
    keys: Keys
    scripts: Scripts

    def streams(self) -> list[str]:
        """The streams it reads."""
        ...

    def commit(self, entries: Sequence[Entry], consumer: str) -> None:
        """Apply a batch of one stream and acknowledge it, in one script call an atomic piece. Or raise: see errors."""
        ...


@runtime_checkable
class Deferring(Protocol):
    """A stage some of whose entries are not for now."""

    def wait_s(self, entry: Entry) -> float:
        """How long from now; 0 or less: commit it."""
        ...


class Engine:
    """Runs one stage as one consumer until ``stop`` is set. ``step`` does one turn, for tests that own the order."""

    def __init__(
        self, stage: Stage, database: Database, settings: Settings, consumer: str, stop: threading.Event | None = None
    ) -> None:
        self.stage = stage
        self.consumer = consumer
        self.stop = stop or threading.Event()
        self.on_turn: Callable[[], None] = lambda: None  # the loop came round: health is progress
        self._database = database
        self._settings = settings
        self._streams = stage.streams()
        self._group = database.consumer_group(stage.name, dict.fromkeys(self._streams, "0"), consumer=consumer)
        self._grouped = False
        self._log = get_log(stage=stage.name, consumer=consumer)
        self._outage = Outage(self._log, "redis")
        # Which of read, reclaim and commit fail, since when, and whether the server is away: healed when none does.
        self._failing: dict[str, tuple[float, bool]] = {}
        self._why = ""  # the newest failure
        self._commitless: tuple[float, float] | None = None  # first and last failure of an entry since the last commit
        self._worst_s: float | None = None  # longest way of an entry to its commit since last asked
        self._deferring = stage if isinstance(stage, Deferring) else None
        self._held: set[tuple[str, str]] = set()  # entries in this process's hands: not to be taken up a second time
        self._lock = threading.Lock()  # of what other threads ask about
        self._read_own = True  # after any lost reply an entry may be ours without our knowing
        self._retries: list[tuple[float, int, Entry]] = []
        self._order = itertools.count()
        self._cursors = dict.fromkeys(self._streams, "0-0")
        self._next_reclaim = 0.0
        self._trace = trace_of(settings, stage.name)
        self._count = min(_BATCH_MIN, settings.batch_max)
        self._entry_s = 0.0  # what an entry took lately
        self._full = False  # whether the last read brought as much as it asked for
        self._ahead: Future[_Reply] | None = None  # the next read's reply

    # --- life ---
    def run(self) -> None:
        """Until stop: read, commit, recover. Then finish what was read, hand over the rest, leave the group.

        Where reads come full the next batch is fetched by another thread while this one is committed. Otherwise nothing
        is gained by it, and the two take the interpreter from each other: a tick then took a twentieth longer.
        """
        self._ensure_group()
        with ThreadPoolExecutor(1, f"{self.stage.name}-reader") as reader:
            while not self.stop.is_set():
                self._handle(self._due())
                self._handle(self._reclaim())
                entries = self._read(self._wait_ms())
                if self._full:
                    self._ahead = self._ask_ahead(reader)
                self._handle(entries)
                self.on_turn()
            if self._ahead is not None:
                self._handle(self._read())
        self._leave()

    def step(self) -> int:
        """One turn without threads: retries that are due, reclaim, one read, its commit. Answers entries handled."""
        if not self._grouped:
            self._ensure_group()
        entries = self._reclaim() + self._due() + self._read()
        self._handle(entries)
        return len(entries)

    def fault(self) -> str:
        """Why no work is being done, in a few words, or an empty string. Any thread may ask, of an engine that runs."""
        now = time.monotonic()
        with self._lock:
            since = min((began for began, _ in self._failing.values()), default=now)
            commitless = self._commitless
        if now - since > _FAILING_S:
            return f"fails: {self._why}"
        if commitless and now - commitless[0] > _COMMITLESS_S and now - commitless[1] < _LATELY_S:
            return f"commits nothing: {self._why}"
        return ""

    def away(self) -> bool:
        """Whether what fails is the server or the way to it, which no restart of this process would mend."""
        with self._lock:
            return any(away for _, away in self._failing.values())

    def lag(self) -> int:
        """Entries that nobody has read; what the server has lost count of is not in it. Raises RedisError."""
        lag = 0
        for stream in self._streams:
            try:
                rows = self._database.xinfo_groups(stream)
            except ResponseError:
                continue  # no such stream any more: the next read makes it, and the group, again
            lag += sum(row.get("lag") or 0 for row in rows if row["name"] == self.stage.name.encode())
        return lag

    def take_latency(self) -> float | None:
        """The longest way of an entry to its commit since this was last asked, in seconds."""
        worst_s, self._worst_s = self._worst_s, None
        return worst_s

    def _wait_ms(self) -> int | None:
        """How long a read may wait for new entries; None: not at all."""
        if not self._retries:
            return self._settings.block_ms
        due_ms = math.ceil((self._retries[0][0] - time.monotonic()) * 1000)
        return min(due_ms, self._settings.block_ms) if due_ms > 0 else None

    # --- reading ---
    def _read(self, wait_ms: int | None = None) -> list[Entry]:
        ahead, self._ahead, self._full = self._ahead, None, False
        try:
            if ahead is not None:
                reply = ahead.result()
            elif self._read_own and (entries := self._own_pending()):
                return entries
            else:
                self._read_own = False
                reply = self._group.read(count=self._count, block=wait_ms)
        except (RedisError, OSError) as error:
            self._broke("read", error)
            return []
        self._healed("read")
        entries = self._entries(reply or [], fresh=True)
        self._adapt(max((len(rows) for _, rows in reply or []), default=0))
        return entries

    def _ask_ahead(self, reader: ThreadPoolExecutor) -> "Future[_Reply] | None":
        """The server is asked for the next batch before it gets this one's script; the answer is parsed while that runs
        (asked by the other thread it would come after the script: a tenth less is passed on then)."""
        pool = self._database.connection_pool
        try:
            connection: Any = pool.get_connection()
        except (RedisError, OSError):
            return None  # the next read says why
        words = ("GROUP", self.stage.name, self.consumer, "COUNT", self._count, "STREAMS", *self._streams)
        try:
            connection.send_command("XREADGROUP", *words, *([">"] * len(self._streams)))
        except (RedisError, OSError):
            self._read_own = True
            pool.release(connection)
            return None

        def reply() -> _Reply:
            try:
                rows: _Reply = self._database.parse_response(connection, "XREADGROUP")
            except Moved:
                return None  # nothing was read; the next read goes where it should
            except BaseException:
                connection.disconnect()
                raise
            finally:
                pool.release(connection)
            return rows

        return reader.submit(reply)

    def _adapt(self, read: int) -> None:
        """Batches double while reads fill them and halve when they do not. What is in hand and what is read ahead
        together must take well under the time after which others take it for a dead consumer's."""
        least, most = min(_BATCH_MIN, self._settings.batch_max), self._settings.batch_max
        if self._entry_s:
            most = max(least, min(most, int(self.stage.reclaim_idle_ms / 4000 / self._entry_s)))
        self._full = read >= self._count
        if self._full:
            self._count *= 2
        elif read < self._count // 2:
            self._count //= 2
        self._count = max(least, min(self._count, most))

    def _own_pending(self) -> list[Entry]:
        """What was delivered to this consumer and is not in its hands: replies that were lost on the way."""
        entries: list[Entry] = []
        for stream in self._streams:
            after = "0-0"
            while rows := self._group.streams[stream].read(count=self._settings.batch_max, last_id=after):
                after = rows[-1][0].decode()
                entries += self._entries([(stream.encode(), rows)], fresh=False)
        return entries

    def _entries(self, reply: Iterable[tuple[bytes, _Rows]], fresh: bool) -> list[Entry]:
        entries: list[Entry] = []
        for stream_key, rows in reply:
            stream, previous = stream_key.decode(), ""
            for raw_id, fields in rows:
                entry_id = raw_id.decode()
                if fields is None:  # trimmed away while pending: the next reclaim counts it as lost
                    continue
                if (stream, entry_id) not in self._held:
                    self._held.add((stream, entry_id))
                    entries.append(Entry(stream, entry_id, fields, previous if fresh else ""))
                previous = entry_id
        metrics.of(metrics.ENTRIES, self.stage.name).inc(len(entries))
        return entries

    def _let_go(self, entries: Iterable[Entry]) -> None:
        self._held.difference_update((entry.stream, entry.id) for entry in entries)

    # --- recovery ---
    def _reclaim(self) -> list[Entry]:
        """Entries of consumers that died, taken over; what the stream no longer holds is counted as lost."""
        now = time.monotonic()
        if now < self._next_reclaim:
            return []
        self._next_reclaim = now + self.stage.reclaim_idle_ms / 2000
        taken: list[Entry] = []
        for stream in self._streams:
            entries: list[Entry] = []
            try:
                cursor, rows, lost = self._group.streams[stream].autoclaim(
                    self.consumer, self.stage.reclaim_idle_ms, self._cursors[stream], self._settings.batch_max
                )
                self._cursors[stream] = cursor.decode()
                if lost:
                    metrics.LOST.labels(self.stage.name).inc(len(lost))
                    self._log.error("entries were trimmed before they were done", stream=stream, lost=len(lost))
                entries = self._entries([(stream.encode(), rows)], fresh=False)
                if entries:
                    metrics.RECLAIMED.labels(self.stage.name).inc(len(entries))
                    taken += self._bury_killers(stream, entries)
            except (RedisError, OSError) as error:
                self._let_go(entries)  # they are ours, and read again as our own pending
                self._broke("reclaim", error)
                return taken
        self._healed("reclaim")
        if any(cursor != "0-0" for cursor in self._cursors.values()):
            self._next_reclaim = now  # more to look through
        return taken

    def _bury_killers(self, stream: str, entries: list[Entry]) -> list[Entry]:
        """An entry that was delivered often and never done may be what kills its consumers: it is done alone and first.
        Where that does not help either it is buried."""
        low, high = entries[0].id, entries[-1].id
        deliveries = {
            row["message_id"].decode(): row["times_delivered"]
            for row in self._group.streams[stream].pending(
                low, high, count=len(entries) + len(self._held), consumer=self.consumer
            )
        }
        spared = []
        for entry in entries:
            count = deliveries.get(entry.id, 1)
            if count > 4 * self._settings.attempts_max:
                self._bury(entry, f"delivered {count} times and never done", count)
            elif count > 2 * self._settings.attempts_max:
                self._commit([entry])
            else:
                spared.append(entry)
        return spared

    def _broke(self, what: str, error: Exception) -> None:
        """A failing server: say so once, wait a little, put right what can be put right."""
        self._read_own = True
        if _no_group(error):
            metrics.ERRORS.labels(self.stage.name, "nogroup").inc()
            self._fails(what, "the consumer group is gone; it is made again from the start of the stream", away=False)
            self._ensure_group()
        else:
            metrics.ERRORS.labels(self.stage.name, _reason(error)).inc()
            self._fails(what, f"{type(error).__name__}: {error}", away=passes(error))
        self.stop.wait(0.1 + random.random() * 0.2)

    def _fails(self, what: str, why: str, away: bool) -> None:
        with self._lock:
            since = self._failing.get(what, (time.monotonic(), away))[0]
            self._failing[what] = since, away
            self._why = why
            self._outage.broke(why)

    def _healed(self, what: str) -> None:
        with self._lock:
            self._failing.pop(what, None)
            if not self._failing:
                self._outage.healed()

    def _ensure_group(self) -> None:
        for backoff in _backoffs():
            try:
                self._group.create(ensure_keys_exist=False, mkstream=True)
                self._grouped = True
                return
            except (RedisError, OSError) as error:
                self._fails("read", f"{type(error).__name__}: {error}", away=passes(error))
                if self.stop.wait(backoff):
                    return

    # --- committing ---
    def _handle(self, entries: Sequence[Entry]) -> None:
        by_stream: dict[str, list[Entry]] = {}
        for entry in entries:
            if self._deferring and (wait_s := self._deferring.wait_s(entry)) > 0.0:
                heapq.heappush(self._retries, (time.monotonic() + wait_s, next(self._order), entry))
                continue
            by_stream.setdefault(entry.stream, []).append(entry)
        for batch in by_stream.values():
            batch.sort(key=lambda entry: id_key(entry.id))
            self._commit(batch)

    def _commit(self, entries: list[Entry]) -> None:
        """Commit a batch, whatever it takes: every entry ends committed, gone, waiting for its retry, or buried."""
        backoff = _backoffs()
        while entries:
            started = time.perf_counter()
            try:
                self.stage.commit(entries, self.consumer)
            except Gone as gone:
                self._healed("commit")
                done = [entry for entry in entries if entry.id not in gone.left]
                entries = [entry for entry in entries if entry.id in gone.left]
                metrics.GONE.labels(self.stage.name).inc(len(done))
                self._commitless = None
                self._let_go(done)
                continue
            except Poison as poison:
                for entry in entries:
                    if entry.id in poison.reasons:
                        self._bury(entry, poison.reasons[entry.id], 1)
                entries = [entry for entry in entries if entry.id not in poison.reasons]
                continue
            except NotYet as wait:
                self._retry_later(entries, wait.delay_s)
                return
            except Exception as error:  # a poisoned entry must not stop the stage, whatever it makes the code do
                if _no_group(error):
                    self._let_go(entries)  # before the group is made again: it delivers them anew
                    self._broke("commit", error)
                    return
                if not passes(error):
                    self._healed("commit")
                    self._isolate(entries, error)
                    return
                if not self._wait_out(error, next(backoff)):
                    return
                continue
            took_s = time.perf_counter() - started
            self._entry_s = max(took_s / len(entries), self._entry_s * 0.7)
            metrics.of(metrics.BATCH_SECONDS, self.stage.name).observe(took_s)
            metrics.of(metrics.BATCH_ENTRIES, self.stage.name).observe(len(entries))
            metrics.of(metrics.COMMITTED, self.stage.name).inc(len(entries))
            origins = () if b"origin" not in entries[0].fields else [  # all entries of a stream have one, or none
                entry.fields[b"origin"] for entry in entries
                if b"origin" in entry.fields and b"since" not in entry.fields  # what is deferred is no tick's way
            ]
            way_s = metrics.observe_way(self.stage.name, entries[0].id, origins)
            self._worst_s = max(way_s, self._worst_s or 0.0)
            if self._trace is not None:
                self._trace(entries)
            self._commitless = None
            self._healed("commit")
            self._let_go(entries)
            return

    def _wait_out(self, error: Exception, backoff_s: float) -> bool:
        """False: told to stop meanwhile; what is in hand is handed back when leaving."""
        self._read_own = True
        metrics.ERRORS.labels(self.stage.name, _reason(error)).inc()
        self._fails("commit", f"{type(error).__name__}: {error}", away=passes(error))
        return not self.stop.wait(backoff_s * (0.5 + random.random()))

    def _isolate(self, entries: list[Entry], error: Exception) -> None:
        """Bisect a failing batch until the entry that fails stands alone; that one is retried, then buried."""
        metrics.ERRORS.labels(self.stage.name, _reason(error)).inc()
        now = time.monotonic()
        first, last = self._commitless or (now, now)
        self._commitless = (first if now - last < _COMMITLESS_S else now), now
        self._why = f"{type(error).__name__}: {error}"
        if len(entries) > 1:
            middle = len(entries) // 2
            self._commit(entries[:middle])
            self._commit(entries[middle:])
            return
        entry = entries[0]
        attempts = entry.deliveries
        if attempts >= self._settings.attempts_max:
            self._bury(entry, f"{type(error).__name__}: {error}", attempts)
            return
        metrics.RETRIES.labels(self.stage.name).inc()
        again = Entry(entry.stream, entry.id, entry.fields, "", attempts + 1)
        self._retry_later([again], min(0.1 * 2**attempts, 5.0))

    def _retry_later(self, entries: Iterable[Entry], delay_s: float) -> None:
        due = time.monotonic() + delay_s * (0.75 + random.random() / 2)
        for entry in entries:
            heapq.heappush(self._retries, (due, next(self._order), entry))

    def _due(self) -> list[Entry]:
        """A few of what has waited long enough: what is new must not wait for all of it."""
        now = time.monotonic()
        due: list[Entry] = []
        while self._retries and self._retries[0][0] <= now and len(due) < _DUE_MAX:
            due.append(heapq.heappop(self._retries)[2])
        return due

    def _bury(self, entry: Entry, reason: str, attempts: int) -> None:
        """Entry and acknowledgement move to the dead letters in one call."""
        metrics.DEAD.labels(self.stage.name).inc()
        told = {name: entry.fields[name.encode()].decode(errors="replace")[:80]
                for name in ("symbol", "epoch", "pane", "model") if name.encode() in entry.fields}
        self._log.error("entry buried", stream=entry.stream, entry=entry.id, reason=reason, attempts=attempts, **told)
        for backoff in _backoffs():
            try:
                bury(self.stage.scripts, self.stage.keys, self.stage.name, self.consumer, entry, reason, attempts)
                self._healed("commit")
                self._let_go([entry])
                return
            except (RedisError, OSError) as error:
                if _no_group(error):
                    self._let_go([entry])
                    self._broke("commit", error)
                    return
                if not self._wait_out(error, backoff):
                    return

    # --- leaving ---
    def _leave(self) -> None:
        """What is still ours, the next sweep of another takes at once."""
        try:
            for stream in self._streams:
                self.stage.scripts.run(
                    "leave", {"stream": stream}, {"group": self.stage.name, "consumer": self.consumer}
                )
        except (RedisError, OSError) as error:
            self._log.warning("left without saying so; the keeper will notice", why=f"{type(error).__name__}: {error}")
        self._log.info("drained")


def _backoffs() -> Iterator[float]:
    """Seconds to wait before each further try of what the server refused; without end."""
    return itertools.chain(_BACKOFF_S, itertools.repeat(_BACKOFF_S[-1]))


def _no_group(error: Exception) -> bool:
    return isinstance(error, ResponseError) and str(error).startswith("NOGROUP")


def passes(error: Exception) -> bool:
    """Whether the server, or the way to it, cannot serve just now: nothing that an entry did."""
    return isinstance(error, _PASSING_TYPES) or (
        isinstance(error, ResponseError) and str(error).startswith(_PASSING_CODES)
    )


def _reason(error: Exception) -> str:
    """A short, bounded name for a metric's label."""
    if type(error) is ResponseError:
        code = str(error).split(" ", 1)[0].rstrip(":").lower()
        return code if code.isalpha() and len(code) <= 12 else "response"
    return type(error).__name__.lower()
