"""hops: entries a second through read, state, XADD and XACK on the engine that runs every stage.

The stage does the least that a stage can do: one script call a batch takes ownership, adds each entry's value to a
total, passes the entry on and acknowledges the batch. All guarantees are on, reading ahead as well.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import msgpack
from walrus import Database

from pipeline.bench.benchmark import Bench, Benchmark
from pipeline.bench.measure import BenchError, Goal, Result, best_of, ratio, take_turns
from pipeline.bench.peers.hop import NEXT, TOTALS, jobs
from pipeline.bench.peers.peer import PEERS, Peer, check, jobs_per_s
from pipeline.entry import Entry
from pipeline.errors import Gone
from pipeline.keys import Keys
from pipeline.scripts import Scripts
from pipeline.settings import Settings
from pipeline.shipped import shipped
from pipeline.stage import Engine

STREAM = "bench:hops:stream"
_A_SECOND = 50_000  # entries queued a second that ours and the bare loop are to run
_FILLED_AT_ONCE = 2000
_PATIENCE_S = 60.0

# As the scripts of lua/ are written; what takes ownership is theirs.
_SCRIPT = """\
#!lua
--[[
KEYS[1] stream
KEYS[2] next       stream that each job is passed on to
KEYS[3] totals     hash: name -> sum of its values
ARGV[1] group
ARGV[2] consumer
ARGV[3] entries    msgpack list: ids of the batch
ARGV[4] jobs       msgpack list: name, value, ... of each

Returns {'ok'}; {'gone', id, ...} with what is left where another consumer had committed some.
]]
local stream, next_stream, totals = KEYS[1], KEYS[2], KEYS[3]
local group, consumer = ARGV[1], ARGV[2]
local entries, jobs = cmsgpack.unpack(ARGV[3]), cmsgpack.unpack(ARGV[4])

-- @include own
local left = own(stream, group, consumer, entries)
if #left < #entries then return {'gone', unpack(left)} end
for i = 1, #jobs, 2 do
  local name, value = jobs[i], jobs[i + 1]
  redis.call('HINCRBY', totals, name, value)
  redis.call('XADD', next_stream, '*', 'name', name, 'value', value)
end
redis.call('XACK', stream, group, unpack(entries))
return {'ok'}
"""


class HopStage:
    """A minimal stage. ``done`` is set with the commit of the last of ``expected`` entries, at ``done_at``."""

    name = "hops"
    reclaim_idle_ms = 5000

    def __init__(self, settings: Settings, database: Database, expected: int) -> None:
        self.keys = Keys(settings.layout, settings.namespace)
        self.scripts = Scripts(database)
        self.done = threading.Event()
        self.done_at = 0.0
        own = (shipped("lua") / "include" / "own.lua").read_text()
        self._script = database.register_script(_SCRIPT.replace("-- @include own\n", own))
        self._left = expected

    def streams(self) -> list[str]:
        return [STREAM]

    def commit(self, entries: Sequence[Entry], consumer: str) -> None:
        ids = [entry.id for entry in entries]
        work = [part for entry in entries for part in (entry.fields[b"name"], entry.fields[b"value"])]
        reply = self._script([STREAM, NEXT, TOTALS], [self.name, consumer, _packed(ids), _packed(work)])
        if reply[0] == b"gone":
            raise Gone(frozenset(entry.decode() for entry in reply[1:]))
        self._left -= len(entries)
        if self._left <= 0:
            self.done_at = time.perf_counter()
            self.done.set()


def _packed(value: object) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=False)
    return packed


def fill(database: Database, entries: int) -> None:
    pipeline = database.pipeline(transaction=False)
    for number, (name, value) in enumerate(jobs(entries), start=1):
        pipeline.xadd(STREAM, {"name": name, "value": value})
        if number % _FILLED_AT_ONCE == 0:
            pipeline.execute()
    pipeline.execute()


def engine_per_s(bench: Bench, database: Database, entries: int) -> float:
    """Ours, from the start of the engine to the last commit. Raises BenchError unless each job was done once."""
    bench.fresh()
    fill(database, entries)
    return entries / engine_s(bench, database, entries)


def engine_s(bench: Bench, database: Database, entries: int) -> float:
    """The seconds of that, with the entries there."""
    settings = bench.settings()
    stage = HopStage(settings, database, entries)
    engine = Engine(stage, database, settings, "hops-1")
    thread = threading.Thread(target=engine.run, name="hops")
    began = time.perf_counter()
    thread.start()
    try:
        if not stage.done.wait(_PATIENCE_S + 10 * bench.seconds):
            raise BenchError("the engine does not come to an end")
    finally:
        engine.stop.set()
        thread.join()
    check("the engine", database, entries)
    return stage.done_at - began


def bare_per_s(bench: Bench, database: Database, entries: int) -> float:
    """The least that reading and acknowledging can cost: no state, no next stream, nobody else to think of."""
    bench.fresh()
    fill(database, entries)
    database.xgroup_create(STREAM, "bare", "0")
    count, left = bench.settings().batch_max, entries
    began = time.perf_counter()
    while left:
        ((_, rows),) = database.xreadgroup("bare", "one", {STREAM: ">"}, count=count)
        database.xack(STREAM, "bare", *(entry for entry, _ in rows))
        left -= len(rows)
    return entries / (time.perf_counter() - began)


def run(bench: Bench) -> Result:
    database = bench.database()
    entries = max(1000, int(_A_SECOND * bench.seconds))
    peers = [peer for peer in PEERS if peer.installed]
    missing = [peer.name for peer in PEERS if peer not in peers]
    measures: dict[str, Callable[[], float]] = {
        "engine": partial(engine_per_s, bench, database, entries),
        "bare": partial(bare_per_s, bench, database, entries),
        **{peer.name: partial(_told, peer, bench, database) for peer in peers},
    }
    figures = take_turns(bench.repeats, measures, "entries/s")
    ratios = {"vs_bare": ratio(figures["engine"], figures["bare"])}
    pairs = {"vs_bare": ("engine", "bare")}
    for key, raced in (
        ("vs_best_peer", peers), ("vs_best_peer_by_message", [peer for peer in peers if not peer.batched]),
    ):
        if raced:
            ratios[key] = ratio(figures["engine"], best_of([figures[peer.name] for peer in raced]))
            pairs[key] = "engine", max((peer.name for peer in raced), key=lambda name: figures[name].median)
    notes = [f"{name} is not installed: see Benchmark in README.md" for name in missing]
    return Result("hops", figures, ratios, pairs, tuple(notes))


def _told(peer: Peer, bench: Bench, database: Database) -> float:
    bench.say(f"hops: {peer.name}")
    return jobs_per_s(peer, bench, database)


BENCHMARK = Benchmark(
    "hops",
    "entries a second through read, state, XADD and XACK, on the engine that runs every stage, all guarantees on",
    "a bare redis-py XREADGROUP and XACK loop; the same work on docket, FastStream, taskiq-redis, arq and Celery",
    {"vs_bare": Goal(at_least=0.5), "vs_best_peer": Goal(at_least=10.0)},
    run,
)
