"""hydrate: events a second drained from a prefilled massive:ws:stream by one consumer, all guarantees on, beside
pipelined HSETs of three fields on the same server.

Frames of 50 quotes with a real skew over 8,000 contracts of an active epoch. ``updates`` are what is left of the events
when each call has kept the newest of every contract: those are what Redis is told.
"""

import threading
import time
from typing import Any

from walrus import Database

from consumers.hydrate import HydrateStage
from pipeline.bench.benchmark import Bench, Benchmark
from pipeline.bench.load import quote_frames, wide_chain
from pipeline.bench.market import Chain, open_market
from pipeline.bench.measure import BenchError, Goal, Result, Sample, ratio
from pipeline.bench.models import SPOT_USD
from pipeline.bench.near_chain import AS_OF_MS, SYMBOL
from pipeline.keys import Keys
from pipeline.registers import FIRST_MS, LEGEND
from pipeline.settings import Settings
from pipeline.stage import Engine

CONTRACTS, PER_FRAME = 8_000, 50
PIPELINE, WINDOW = 64, 16
_FRAMES_A_SECOND = 6_000  # about what is drained: the prefilled stream lasts about as long as was asked
_PATIENCE_S = 120.0


def run(bench: Bench) -> Result:
    listed = wide_chain(CONTRACTS)
    frames = quote_frames(listed, max(200, int(bench.seconds * _FRAMES_A_SECOND)), PER_FRAME)
    market = open_market(bench, Chain(listed, SPOT_USD))
    database, settings, keys = market.database, market.settings, market.keys
    events, updates, sets = [], [], []
    for repeat in range(bench.repeats):
        bench.say(f"hydrate: round {repeat + 1} of {bench.repeats}")
        forget_what_was_applied(database, keys)
        fill(database, keys, frames)
        before = _counted(database, keys)
        took_s = drain(database, settings, keys, len(frames))
        counted = _counted(database, keys)
        if counted["events"] - before["events"] != len(frames) * PER_FRAME:
            raise BenchError(f"{counted['events'] - before['events']} of {len(frames) * PER_FRAME} events were applied")
        events.append(len(frames) * PER_FRAME / took_s)
        updates.append((counted["updates"] - before["updates"]) / took_s)
        sets.append(hset_rate(database, bench.seconds / 2, CONTRACTS))
    figures = {
        name: Sample(tuple(values), "/s") for name, values in (("events", events), ("updates", updates), ("hset", sets))
    }
    return Result(
        "hydrate", figures,
        {"events_vs_hset": ratio(figures["events"], figures["hset"]),
         "updates_vs_hset": ratio(figures["updates"], figures["hset"])},
        {"events_vs_hset": ("events", "hset"), "updates_vs_hset": ("updates", "hset")},
    )


def forget_what_was_applied(database: Database, keys: Keys) -> None:
    """The same frames are newest again: every round does the same work."""
    epoch = (database.hget(keys.epoch_active(SYMBOL), SYMBOL) or b"").decode()
    for key in database.scan_iter(match=keys.registers(epoch)["quotes"] + "*"):
        held = database.hgetall(key)
        legend = held.pop(LEGEND.encode())
        old = str(FIRST_MS).encode()
        quotes = {ticker: old + quote[len(old):] if quote else quote for ticker, quote in held.items()}
        database.hset(key, mapping={**quotes, LEGEND: legend})


def fill(database: Database, keys: Keys, frames: list[bytes]) -> None:
    stream = keys.stream("ws", SYMBOL)
    database.delete(stream)
    database.xgroup_create(stream, HydrateStage.name, "0", mkstream=True)
    with database.pipeline(transaction=False) as pipeline:
        for number, frame in enumerate(frames):
            pipeline.xadd(stream, {"ts": int(time.time() * 1000), "payload": frame})
            if number % 500 == 499:
                pipeline.execute()
        pipeline.execute()


def drain(database: Database, settings: Settings, keys: Keys, frames: int) -> float:
    """Seconds from the first read to the last acknowledgement."""
    stop = threading.Event()
    engine = Engine(HydrateStage(settings, database), database, settings, "bench-hydrate", stop)
    done = threading.Event()
    stream, group = keys.stream("ws", SYMBOL), HydrateStage.name

    def on_turn() -> None:
        (row,) = database.xinfo_groups(stream)
        if row["entries-read"] == frames and row["pending"] == 0:
            done.set()

    engine.on_turn = on_turn
    worker = threading.Thread(target=engine.run, name="bench-hydrate")
    started = time.perf_counter()
    worker.start()
    finished = done.wait(_PATIENCE_S)
    took_s = time.perf_counter() - started
    stop.set()
    worker.join()
    if not finished:
        raise BenchError(f"{group} did not drain {frames} frames within {_PATIENCE_S:.0f} s")
    return took_s


def _counted(database: Database, keys: Keys) -> dict[str, int]:
    counters = {name.decode(): int(n) for name, n in database.hgetall(keys.analytics("hydrate", SYMBOL)).items()}
    return {
        "events": counters.get("events", 0),
        "updates": sum(counters.get(name, 0) for name in ("applied", "stale", "geometry_miss")),
    }


def hset_rate(database: Database, seconds: float, keys: int) -> float:
    """HSETs of three fields a second: PIPELINE of them a write, WINDOW writes under way, so that the server never
    waits. `redis-benchmark -P 64` with its 50 connections gives the same, within a few per cent."""
    connection: Any = database.connection_pool.make_connection()
    connection.connect()
    texts = [
        b"".join(
            _resp(f"bench:hset:{(first + at) * 7919 % keys}", first + at) for at in range(PIPELINE)
        )
        for first in range(0, keys, PIPELINE)
    ]
    socket = connection._sock  # the client's own way of sending costs more than the server's work
    started, sent, replies = time.perf_counter(), 0, 0
    while time.perf_counter() - started < seconds:
        while sent - replies < WINDOW * PIPELINE:
            socket.sendall(texts[sent // PIPELINE % len(texts)])
            sent += PIPELINE
        replies += socket.recv(65536).count(b"\n")
    took_s = time.perf_counter() - started
    connection.disconnect()
    return replies / took_s


def _resp(key: str, number: int) -> bytes:
    fields = ("bid", f"{number % 90}.25", "ask", f"{number % 90}.75", "quote_ts", str(AS_OF_MS + number))
    words = ["HSET", key, *fields]
    return f"*{len(words)}\r\n".encode() + b"".join(f"${len(word)}\r\n{word}\r\n".encode() for word in words)


BENCHMARK = Benchmark(
    "hydrate", "events drained from a prefilled stream of frames by one consumer", "pipelined HSET of three fields",
    {"events_vs_hset": Goal(at_least=0.5), "updates_vs_hset": Goal(at_least=0.25)}, run,
)
