"""The consumer-group runtime, with tiny stages of the test's own on a real server."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from structlog.testing import capture_logs
from walrus import Database

from pipeline import metrics, server
from pipeline.database import connect
from pipeline.deadletters import dead_letters
from pipeline.entry import Entry
from pipeline.errors import Gone, NotYet, Poison
from pipeline.keys import Keys
from pipeline.scripts import Scripts
from pipeline.server import EmbeddedServer
from pipeline.settings import Settings
from pipeline.stage import Engine
from tests.waiting import wait_until

STREAM = "massive:ws:stream"
EFFECTS = "effects"
_COUNT = """#!lua
-- KEYS stream, effects; ARGV group, consumer, ids. Count each entry once and acknowledge, or answer what is left.
local words = {'XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(ARGV, 3)}
words[#words + 1] = 'JUSTID'
local left = redis.call(unpack(words))
if #left < #ARGV - 2 then return left end
for i = 3, #ARGV do redis.call('HINCRBY', KEYS[2], ARGV[i], 1) end
redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 3))
return 'ok'
"""
Hook = Callable[[Sequence[Entry]], None]


class Counting:
    """A stage whose effect is one count an entry. ``before`` and ``after`` are the test's own words in a commit."""

    name = "count"

    def __init__(self, database: Database, reclaim_idle_ms: int = 60_000) -> None:
        self.keys = Keys()
        self.scripts = Scripts(database)
        self.reclaim_idle_ms = reclaim_idle_ms
        self.batches: list[list[str]] = []
        self.before: Hook = lambda _: None
        self.after: Hook = lambda _: None
        self._count = database.register_script(_COUNT)

    def streams(self) -> list[str]:
        return [STREAM]

    def commit(self, entries: Sequence[Entry], consumer: str) -> None:
        self.batches.append([entry.id for entry in entries])
        self.before(entries)
        self.apply(entries, consumer)
        self.after(entries)

    def apply(self, entries: Sequence[Entry], consumer: str) -> None:
        left = self._count([STREAM, EFFECTS], [self.name, consumer, *(entry.id for entry in entries)])
        if left != b"ok":
            raise Gone(frozenset(entry.decode() for entry in left))


class Bench:
    """One stage, its engines, and what the stream and its group say."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings
        self.stage = Counting(database)

    def engine(self, consumer: str = "one", stage: Counting | None = None, **overrides: Any) -> Engine:
        settings = self.settings.model_copy(update={"block_ms": 20, **overrides})
        return Engine(stage or self.stage, self.database, settings, consumer)

    def add(self, count: int, **fields: str) -> list[str]:
        pipe = self.database.pipeline(transaction=False)
        for number in range(count):
            pipe.xadd(STREAM, {"n": number, **fields})
        return [entry.decode() for entry in pipe.execute()]

    def deliver(self, consumer: str, count: int, idle_ms: int = 0, deliveries: int = 1) -> list[str]:
        """Entries given to a consumer that then says nothing more, ``idle_ms`` ago."""
        rows = self.database.xreadgroup("count", consumer, {STREAM: ">"}, count=count)
        ids = [row[0].decode() for row in rows[0][1]]
        self.database.xclaim(STREAM, "count", consumer, 0, ids, idle=idle_ms, retrycount=deliveries, justid=True)
        return ids

    def group(self) -> None:
        self.database.xgroup_create(STREAM, "count", "0", mkstream=True)

    def effects(self) -> dict[str, int]:
        return {entry.decode(): int(n) for entry, n in self.database.hgetall(EFFECTS).items()}

    def pending(self) -> int:
        return int(self.database.xpending(STREAM, "count")["pending"])

    def consumers(self) -> set[str]:
        return {row["name"].decode() for row in self.database.xinfo_consumers(STREAM, "count")}

    def done(self, ids: Sequence[str]) -> bool:
        try:
            return self.effects() == dict.fromkeys(ids, 1)
        except RedisError:
            return False  # the server is not back yet


@pytest.fixture
def bench(database: Database, settings: Settings) -> Bench:
    return Bench(database, settings)


@pytest.fixture
def private(private_server: EmbeddedServer, make_settings: Callable[..., Settings]) -> Iterator[Bench]:
    """A bench on a server of the test's own, which it may break."""
    database = connect(private_server.url)
    yield Bench(database, make_settings(redis_url=private_server.url))
    database.connection_pool.disconnect()


@contextmanager
def running(*engines: Engine) -> Iterator[None]:
    """The engines run in threads of their own until the block ends; then they drain."""
    threads = [threading.Thread(target=engine.run, name=engine.consumer) for engine in engines]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for engine in engines:
            engine.stop.set()
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads)


def counted(metric: Any, *labels: str) -> float:
    return float(metric.labels("count", *labels)._value.get())


def spoken(lines: Sequence[Any], event: str) -> int:
    return sum(line["event"] == event for line in lines)


# --- reading ---
def test_what_was_queued_before_the_first_worker_is_done(bench: Bench) -> None:
    ids = bench.add(5)
    bench.engine().step()
    assert bench.done(ids)
    assert bench.pending() == 0


def test_own_pending_entries_come_before_new_ones(bench: Bench) -> None:
    bench.group()
    lost = bench.add(3)
    bench.deliver("one", 3)  # a reply that was lost on the way: pending, and in nobody's hands
    new = bench.add(2)
    engine = bench.engine("one")
    engine.step()
    engine.step()
    assert bench.stage.batches == [lost, new]


def test_own_pending_entries_beyond_one_read_are_all_found(bench: Bench) -> None:
    bench.group()
    ids = bench.add(50)
    bench.deliver("one", 50)
    bench.engine("one", batch_max=8).step()
    assert bench.done(ids)


def test_an_own_pending_entry_that_was_deleted_costs_nothing(bench: Bench) -> None:
    bench.group()
    ids = bench.add(3)
    bench.deliver("one", 3)
    bench.database.xdel(STREAM, ids[1])
    bench.engine("one").step()
    assert bench.done([ids[0], ids[2]])


def test_batches_grow_under_load_and_shrink_when_idle(bench: Bench) -> None:
    engine = bench.engine(batch_max=128)
    bench.add(16 + 32 + 64 + 128 + 128)
    while engine.step():
        pass
    assert [len(batch) for batch in bench.stage.batches] == [16, 32, 64, 128, 128]
    for _ in range(5):
        engine.step()
    bench.stage.batches.clear()
    bench.add(40)
    engine.step()
    assert [len(batch) for batch in bench.stage.batches] == [16]


@pytest.mark.parametrize("batch_max", [1, 3])
def test_no_batch_is_larger_than_its_limit_however_small(bench: Bench, batch_max: int) -> None:
    engine = bench.engine(batch_max=batch_max)
    ids = bench.add(20)
    while engine.step():
        pass
    assert bench.done(ids)
    assert max(map(len, bench.stage.batches)) == batch_max


def test_slow_entries_keep_batches_short_so_that_nobody_takes_them_for_dead(bench: Bench) -> None:
    bench.stage.reclaim_idle_ms = 400
    bench.stage.before = lambda entries: time.sleep(0.004 * len(entries))  # 4 ms of computing an entry
    engine = bench.engine(batch_max=256)
    ids = bench.add(200)
    while engine.step():
        pass
    assert bench.done(ids)
    assert max(map(len, bench.stage.batches)) < 64


def test_the_next_batch_is_fetched_while_the_script_runs(bench: Bench) -> None:
    ids = bench.add(48)
    go_on = threading.Event()
    bench.stage.before = lambda _: go_on.wait(20) and None
    with running(bench.engine()):
        wait_until(lambda: bench.stage.batches and bench.pending() == 48, "a second batch beside the one under way")
        assert [len(batch) for batch in bench.stage.batches] == [16]
        go_on.set()
        wait_until(lambda: bench.done(ids), "the entries")
    assert [len(batch) for batch in bench.stage.batches] == [16, 32]


def test_an_entry_is_taken_up_while_the_reader_waits(bench: Bench) -> None:
    with running(bench.engine(block_ms=1000)):
        wait_until(lambda: bench.database.exists(STREAM) and bench.consumers(), "the reader")
        began = time.monotonic()
        ids = bench.add(1)
        wait_until(lambda: bench.done(ids), "the entry", every=0.001)
        assert time.monotonic() - began < 0.8


# --- recovery ---
def test_entries_of_a_dead_consumer_are_taken_over(bench: Bench) -> None:
    bench.group()
    ids = bench.add(100)
    bench.deliver("dead", 100, idle_ms=3_600_000)
    before = counted(metrics.RECLAIMED)
    engine = bench.engine(batch_max=16)
    while engine.step():
        pass
    assert bench.done(ids)
    assert counted(metrics.RECLAIMED) - before == 100


def test_entries_of_a_living_consumer_are_left_alone(bench: Bench) -> None:
    bench.group()
    bench.add(10)
    bench.deliver("living", 10, idle_ms=30_000)
    engine = bench.engine()
    for _ in range(3):
        engine.step()
    assert bench.effects() == {}


def test_young_entries_in_front_do_not_hide_a_dead_consumers(bench: Bench) -> None:
    """One sweep looks at ten times its count: from 0-0 each time it would never come past the 200 young ones."""
    bench.group()
    bench.add(200)
    bench.deliver("living", 200)
    dead = bench.add(10)
    bench.deliver("dead", 10, idle_ms=3_600_000)
    engine = bench.engine(batch_max=4)
    for _ in range(12):
        engine.step()
    assert bench.done(dead)


def test_what_was_trimmed_while_pending_is_counted_as_lost(bench: Bench) -> None:
    bench.group()
    ids = bench.add(5)
    bench.deliver("dead", 5, idle_ms=3_600_000)
    bench.database.xtrim(STREAM, maxlen=2, approximate=False)
    before = counted(metrics.LOST)
    with capture_logs() as lines:
        bench.engine().step()
    assert bench.done(ids[3:])
    assert bench.pending() == 0
    assert counted(metrics.LOST) - before == 3
    assert [line["lost"] for line in lines if line["event"] == "entries were trimmed before they were done"] == [3]


def test_an_entry_that_kills_its_consumers_is_buried(bench: Bench) -> None:
    bench.group()
    killer, good = bench.add(2)
    bench.deliver("dead", 1, idle_ms=3_600_000, deliveries=20)
    bench.deliver("dead", 1, idle_ms=3_600_000)
    bench.engine(attempts_max=5).step()
    assert bench.done([good])
    (letter,) = dead_letters(bench.database, "massive:dead")
    assert (letter.entry, letter.attempts) == (killer, 21)
    assert letter.error == "delivered 21 times and never done"


def test_an_entry_whose_consumers_died_often_is_done_alone_before_it_is_blamed(bench: Bench) -> None:
    bench.group()
    ids = bench.add(3)
    bench.deliver("dead", 1, idle_ms=3_600_000)
    bench.deliver("dead", 1, idle_ms=3_600_000, deliveries=11)
    bench.deliver("dead", 1, idle_ms=3_600_000)
    engine = bench.engine(attempts_max=5)
    engine.step()
    assert bench.done(ids)
    assert bench.stage.batches == [[ids[1]], [ids[0], ids[2]]]
    assert not dead_letters(bench.database, "massive:dead")


def test_a_sweep_that_fails_half_way_loses_none_of_what_it_took(private: Bench, private_server: EmbeddedServer) -> None:
    private.group()
    ids = private.add(5)
    private.deliver("dead", 5, idle_ms=3_600_000)
    private.database.execute_command("ACL", "SETUSER", "half", "on", ">half", "~*", "&*", "+@all", "-xpending")
    half = connect(f"redis://half:half@127.0.0.1:{private_server.port}/0")
    engine = Engine(Counting(half), half, private.settings, "half")
    engine.step()  # XAUTOCLAIM answers, XPENDING is refused
    engine.step()
    assert private.done(ids)
    half.connection_pool.disconnect()


# --- entries that fail ---
def test_bisection_isolates_the_one_that_fails_and_the_others_commit(bench: Bench) -> None:
    ids = bench.add(50)
    bad = bench.add(1, bad="1")
    ids += bench.add(49)

    def refuse(entries: Sequence[Entry]) -> None:
        if any(b"bad" in entry.fields for entry in entries):
            raise ValueError("it cannot be done")

    bench.stage.before = refuse
    engine = bench.engine(attempts_max=3)
    wait_until(lambda: engine.step() == 0 and bench.done(ids), "the neighbours")
    letters = wait_until(
        lambda: (engine.step() and []) or dead_letters(bench.database, "massive:dead"), "the burial"
    )
    assert [(letter.entry, letter.attempts, letter.error, letter.stage, letter.stream) for letter in letters] == [
        (bad[0], 3, "ValueError: it cannot be done", "count", STREAM)
    ]
    assert letters[0].fields == {b"n": b"0", b"bad": b"1"}
    raw = bench.database.xrange("massive:dead")[0][1]
    assert raw[b"field:bad"] == b"1"
    assert bench.done(ids)
    assert bench.pending() == 0


def test_retries_back_off(bench: Bench) -> None:
    (entry,) = bench.add(1)
    tried: list[float] = []

    def fail_thrice(_: Sequence[Entry]) -> None:
        tried.append(time.monotonic())
        if len(tried) <= 3:
            raise KeyError("not this time")

    bench.stage.before = fail_thrice
    engine = bench.engine()
    wait_until(lambda: bench.done([entry]) or (engine.step() and False), "the entry")
    gaps = [after - before for before, after in pairwise(tried)]
    assert len(gaps) == 3
    for gap, least in zip(gaps, (0.15, 0.3, 0.6), strict=True):
        assert gap >= least
    assert bench.database.xlen("massive:dead") == 0


def test_a_failing_entry_does_not_hold_up_what_comes_after_it(bench: Bench) -> None:
    (bad,) = bench.add(1, bad="1")

    def refuse(entries: Sequence[Entry]) -> None:
        if any(entry.id == bad for entry in entries):
            raise ValueError("bad")

    bench.stage.before = refuse
    with running(bench.engine(attempts_max=100)):
        for _ in range(20):
            ids = bench.add(1)
            wait_until(lambda ids=ids: set(ids) <= set(bench.effects()), "an entry behind the failing one")
    assert bad not in bench.effects()


def test_poison_goes_to_the_dead_letters_at_once_and_its_neighbours_commit(bench: Bench) -> None:
    ids = bench.add(9)

    def poison(entries: Sequence[Entry]) -> None:
        if reasons := {entry.id: "no such thing" for entry in entries if entry.id in ids[3:5]}:
            raise Poison(reasons)

    bench.stage.before = poison
    bench.engine().step()
    assert bench.done(ids[:3] + ids[5:])
    letters = dead_letters(bench.database, "massive:dead")
    assert {(letter.entry, letter.error, letter.attempts) for letter in letters} == {
        (entry, "no such thing", 1) for entry in ids[3:5]
    }
    assert bench.pending() == 0


def test_an_entry_too_wide_for_one_script_call_is_buried_all_the_same(bench: Bench) -> None:
    wide = bench.database.xadd(STREAM, {f"f{n}": n for n in range(6000)}).decode()
    ids = bench.add(1)

    def poison(entries: Sequence[Entry]) -> None:
        if any(entry.id == wide for entry in entries):
            raise Poison({wide: "a surrogate \ud800 in its error"})

    bench.stage.before = poison
    bench.engine().step()
    assert bench.done(ids)
    assert [letter.entry for letter in dead_letters(bench.database, "massive:dead")] == [wide]


def test_a_batch_is_built_again_from_what_another_has_left(bench: Bench) -> None:
    ids = bench.add(6)
    other = Counting(bench.database)

    def another(entries: Sequence[Entry]) -> None:
        if len(entries) == 6:
            other.apply(entries[2:4], "other")

    bench.stage.before = another
    before = counted(metrics.GONE)
    bench.engine().step()
    assert bench.done(ids)
    assert bench.stage.batches == [ids, [*ids[:2], *ids[4:]]]
    assert counted(metrics.GONE) - before == 2


def test_not_yet_waits_without_counting(bench: Bench) -> None:
    ids = bench.add(2)

    def wait(_: Sequence[Entry]) -> None:
        if len(bench.stage.batches) <= 20:
            raise NotYet("something else is under way", 0.002)

    bench.stage.before = wait
    engine = bench.engine(attempts_max=1)
    wait_until(lambda: bench.done(ids) or (engine.step() and False), "the entries")
    assert bench.database.xlen("massive:dead") == 0


# --- the server ---
def test_a_group_destroyed_under_way_is_made_again_from_the_start(bench: Bench) -> None:
    ids = bench.add(5)
    first = threading.Event()

    def destroy(_: Sequence[Entry]) -> None:
        if not first.is_set():
            first.set()
            bench.database.xgroup_destroy(STREAM, "count")

    bench.stage.before = destroy
    before = counted(metrics.ERRORS, "nogroup")
    with capture_logs() as lines, running(bench.engine()):
        wait_until(lambda: bench.done(ids), "the entries")
        more = bench.add(3)
        wait_until(lambda: bench.done(ids + more), "what came after")
        wait_until(lambda: spoken(lines, "redis healed"), "the log line")
    assert counted(metrics.ERRORS, "nogroup") > before
    assert spoken(lines, "redis broke") == spoken(lines, "redis healed") == 1


def test_a_group_destroyed_while_the_reader_waits_is_made_again(bench: Bench) -> None:
    with running(bench.engine()):
        wait_until(lambda: bench.database.exists(STREAM) and bench.consumers(), "the reader")
        bench.database.delete(STREAM)
        ids = bench.add(4)
        wait_until(lambda: bench.done(ids), "the entries")


def test_scripts_flushed_under_way_are_loaded_again(bench: Bench) -> None:
    engine = bench.engine()
    ids = bench.add(1)
    engine.step()
    bench.database.script_flush()
    ids += bench.add(4)
    engine.step()
    assert bench.done(ids)


@contextmanager
def full(bench: Bench, _: EmbeddedServer) -> Iterator[None]:
    bench.database.config_set("maxmemory", 1)
    yield
    bench.database.config_set("maxmemory", 0)


@contextmanager
def read_only(bench: Bench, _: EmbeddedServer) -> Iterator[None]:
    bench.database.execute_command("REPLICAOF", "127.0.0.1", "1")  # nobody listens there
    yield
    bench.database.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def busy(bench: Bench, own: EmbeddedServer) -> Iterator[None]:
    bench.database.config_set("busy-reply-threshold", 10)
    spinning = connect(own.url)

    def spin() -> None:
        with pytest.raises(RedisError, match=r"(?i)kill"):
            spinning.eval("while true do end", 0)

    thread = threading.Thread(target=spin)
    thread.start()

    def answers_busy() -> bool:
        try:
            bench.database.ping()
        except RedisError as error:
            return str(error).startswith("BUSY")
        return False

    wait_until(answers_busy, "a server that spins")
    yield
    bench.database.script_kill()
    thread.join(10)
    spinning.connection_pool.disconnect()


@contextmanager
def stopped(_: Bench, own: EmbeddedServer) -> Iterator[None]:
    own.stop()
    yield
    own.start()


@contextmanager
def crashed(_: Bench, own: EmbeddedServer) -> Iterator[None]:
    own.kill()
    yield
    own.start()


@pytest.mark.parametrize("outage", [full, read_only, busy, stopped, crashed], ids=lambda outage: outage.__name__)
def test_a_server_that_cannot_serve_is_waited_for_and_each_entry_has_one_effect(
    private: Bench, private_server: EmbeddedServer, outage: Callable[..., Any]
) -> None:
    ids = private.add(400)
    held = threading.Event()

    def hold(_: Sequence[Entry]) -> None:
        if len(private.stage.batches) == 2:
            held.wait(20)  # the outage comes between a read and its commit

    private.stage.before = hold
    with capture_logs() as lines, running(private.engine(attempts_max=1)):
        wait_until(lambda: len(private.stage.batches) == 2, "the second batch")
        with outage(private, private_server):
            held.set()
            wait_until(lambda: spoken(lines, "redis broke"), "the log line")
            tried = len(private.stage.batches)
            wait_until(lambda: len(private.stage.batches) >= tried + 2, "further tries")
            assert spoken(lines, "redis healed") == 0
        wait_until(lambda: private.done(ids), "every entry, once")
        wait_until(lambda: spoken(lines, "redis healed"), "the log line")
        assert private.pending() == 0
    assert spoken(lines, "redis broke") == spoken(lines, "redis healed") == 1
    assert private.database.xlen("massive:dead") == 0


def test_a_server_that_reads_its_file_back_is_waited_for(
    private_server: EmbeddedServer, make_settings: Callable[..., Settings], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "_CONFIG", server._CONFIG + "enable-debug-command yes\n")
    with EmbeddedServer(tmp_path / "slow", private_server._binary) as slow:
        database = connect(slow.url)
        bench = Bench(database, make_settings(redis_url=slow.url))
        ids = bench.add(20)
        database.mset({f"ballast:{n}": "x" * 200 for n in range(1000)})
        database.config_set("key-load-delay", 1000)  # µs a key
        database.config_set("loading-process-events-interval-bytes", 1024)
        reload = threading.Thread(target=lambda: connect(slow.url).execute_command("DEBUG", "RELOAD"))

        def load(_: Sequence[Entry]) -> None:
            if len(bench.stage.batches) == 1:
                reload.start()
                wait_until(lambda: _refused(database, "loading"), "a server that loads")

        bench.stage.before = load
        with capture_logs() as lines, running(bench.engine(attempts_max=1)):
            wait_until(lambda: bench.done(ids), "the entries", timeout=30)
            wait_until(lambda: spoken(lines, "redis healed"), "the log line")
        reload.join(20)
        assert spoken(lines, "redis broke") == spoken(lines, "redis healed") == 1
        assert database.xlen("massive:dead") == 0
        database.connection_pool.disconnect()


def _refused(database: Database, why: str) -> bool:
    try:
        database.ping()
    except RedisError as error:
        return why in str(error).lower()
    return False


def test_killed_connections_change_nothing(private: Bench, private_server: EmbeddedServer) -> None:
    killer = connect(private_server.url)
    stages = [Counting(connect(private_server.url)) for _ in range(3)]
    engines = [private.engine(f"c{n}", stage, batch_max=32) for n, stage in enumerate(stages)]
    ids: list[str] = []
    with running(*engines):
        for _ in range(12):
            seen = len(_patiently(private.effects))
            ids += private.add(100)
            killer.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            wait_until(lambda seen=seen: len(_patiently(private.effects)) > seen, "some more effects")
        wait_until(lambda: private.done(ids), "every entry, once")
    assert private.pending() == 0
    assert killer.xlen("massive:dead") == 0
    killer.connection_pool.disconnect()


def _patiently(ask: Callable[[], dict[str, int]]) -> dict[str, int]:
    try:
        return ask()
    except RedisError:  # our own connection was killed too
        return {}


def test_a_reply_lost_after_the_commit_has_one_effect(bench: Bench) -> None:
    ids = bench.add(10)

    def lose(_: Sequence[Entry]) -> None:
        if len(bench.stage.batches) == 1:
            raise RedisConnectionError("the reply was lost")

    bench.stage.after = lose
    engine = bench.engine()
    engine.step()
    assert bench.stage.batches == [ids, ids]
    assert bench.done(ids)
    assert bench.pending() == 0


def test_a_commit_that_was_sent_twice_has_one_effect(bench: Bench) -> None:
    ids = bench.add(10)
    bench.stage.before = lambda entries: bench.stage.apply(entries, "one")
    bench.engine().step()
    assert bench.done(ids)


# --- leaving ---
def test_what_was_read_is_finished_before_leaving(bench: Bench) -> None:
    ids = bench.add(48)
    go_on = threading.Event()
    bench.stage.before = lambda _: go_on.wait(20) and None
    engine = bench.engine()
    with running(engine):
        wait_until(lambda: bench.stage.batches and bench.pending() == 48, "a second batch")
        engine.stop.set()
        go_on.set()
    assert bench.done(ids)
    assert bench.consumers() == set()


def test_what_waits_for_its_retry_is_handed_back_and_taken_at_once(bench: Bench) -> None:
    ids = bench.add(10)

    def fail(entries: Sequence[Entry]) -> None:
        if any(entry.id == ids[4] for entry in entries):
            raise ValueError("not here")

    bench.stage.before = fail
    with running(bench.engine("first", attempts_max=100)):
        wait_until(lambda: len(bench.effects()) == 9, "the others")
    assert bench.consumers() == {"first"}, "it owns an entry: taking it off the group would drop the entry"
    (row,) = bench.database.xpending_range(STREAM, "count", "-", "+", 10)
    assert (row["message_id"].decode(), row["times_delivered"]) == (ids[4], 0)
    bench.engine("second", Counting(bench.database, reclaim_idle_ms=600_000)).step()
    assert bench.done(ids)


def test_an_outage_at_the_end_hands_back_what_was_in_hand(private: Bench, private_server: EmbeddedServer) -> None:
    ids = private.add(100)
    engine = private.engine("first")
    killer = connect(private_server.url)

    def leave(_: Sequence[Entry]) -> None:
        if len(private.stage.batches) == 1:
            wait_until(lambda: int(killer.xpending(STREAM, "count")["pending"]) > 16, "a second batch")
            engine.stop.set()
            killer.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    private.stage.before = leave
    with running(engine):
        wait_until(engine.stop.is_set, "the end")
    next_one = private.engine("second", Counting(killer, reclaim_idle_ms=600_000))
    while next_one.step():
        pass
    assert private.done(ids)
    killer.connection_pool.disconnect()


def test_leaving_while_the_server_is_away_ends_in_time(private: Bench, private_server: EmbeddedServer) -> None:
    private.add(10)
    engine = private.engine("first")
    private.stage.before = lambda _: private_server.kill()
    with capture_logs() as lines:
        began = time.monotonic()
        with running(engine):
            wait_until(lambda: spoken(lines, "redis broke"), "the outage")
        assert time.monotonic() - began < 8
    assert spoken(lines, "left without saying so; the keeper will notice") == 1


def test_two_workers_and_a_crash_have_one_effect_an_entry(bench: Bench) -> None:
    """A worker that dies with its entries in hand is a thread that never commits them."""
    bench.group()
    ids = bench.add(300)
    bench.deliver("dead", 64)
    stages = [Counting(bench.database, reclaim_idle_ms=50) for _ in range(2)]
    with running(*(bench.engine(f"c{n}", stage, batch_max=32) for n, stage in enumerate(stages))):
        wait_until(lambda: bench.done(ids), "every entry, once")
    assert bench.pending() == 0


def test_a_stage_that_fails_at_everything_says_so_and_one_bad_entry_now_and_then_does_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("pipeline.stage.time.monotonic", lambda: now[0])
    engine = bench.engine(attempts_max=1)

    def fail(_: Sequence[Entry]) -> None:
        raise ValueError("broken")

    def fails_after(pause_s: float) -> str:
        now[0] += pause_s
        bench.add(1)
        engine.step()
        return engine.fault()

    bench.stage.before = fail
    assert [fails_after(60.0) for _ in range(3)] == ["", "", ""]
    assert [fails_after(1.0) for _ in range(9)][-1] == "commits nothing: ValueError: broken"
    bench.stage.before = lambda _: None
    assert fails_after(1.0) == ""


class Deferring(Counting):
    """Some of whose entries are not for now."""

    def wait_s(self, entry: Entry) -> float:
        return 0.05 if entry.fields.get(b"later") and not self.now else 0.0

    now = False


def test_what_is_not_for_now_waits_and_nothing_waits_for_it(bench: Bench) -> None:
    bench.group()
    stage = Deferring(bench.database)
    later, now = bench.add(5, later="1"), bench.add(2)
    engine = bench.engine(stage=stage)
    engine.step()
    assert stage.batches == [now]
    assert not set(bench.effects()) & set(later)
    stage.now = True
    wait_until(lambda: engine.step() == 0 and bench.done([*later, *now]), "what was deferred", 10)
    assert all(len(batch) <= 2 for batch in stage.batches[1:]), "a few at a time: what is new must not wait for them"
    assert bench.pending() == 0
