"""promote: a chain of 30,000 contracts becomes a new epoch while ticks flow, beside the same ticks without it.

All stages of the way are processes. A tick's latency is from a frame's receipt to the commit that applied it (to the
old epoch and to the one being staged); an idle client pings meanwhile, and its longest wait is the longest time for
which the server served nobody. What follows a promotion, the first version of the new epoch, falls into the same
seconds.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np

from pipeline.bench.benchmark import Bench, Benchmark
from pipeline.bench.feed import BLOCK_MS, END, feed
from pipeline.bench.hands import Hand
from pipeline.bench.market import Chain, Market, large, open_market
from pipeline.bench.measure import BenchError, Goal, Result, Sample, ratio
from pipeline.bench.near_chain import AS_OF_MS, SYMBOL, announce
from pipeline.bench.tick import await_published, load
from pipeline.bench.workers import Workers, await_rest, workers
from pipeline.database import connect

RATE = 1_000
"""Events a second; a hundred frames, so that every second has a hundred latencies."""
STAGES = {"normalize": 1, "hydrate": 1, "calculate": 1, "models": 1}
WHILE_S = 3.0
"""What a promotion and the first version of its epoch take, about; ticks flow for so much longer than was asked."""
_PING_S = 0.0005
_PATIENCE_S = 90.0
_START_NS = 50_000_000


def run(bench: Bench) -> Result:
    chain, figures = large(), dict[str, list[float]]()
    market = open_market(bench, chain)
    with ExitStack() as stack:
        feeder, reader, pinger = (stack.enter_context(Hand()) for _ in range(3))
        running = stack.enter_context(workers(bench, market.settings, STAGES))
        await_published(market, running)
        _watch(market, running, feeder, reader, pinger, 1.0, None)  # caches fill
        for repeat in range(bench.repeats):
            bench.say(f"promote: round {repeat + 1} of {bench.repeats}")
            for name, promoted in (("still", False), ("promoting", True)):
                found = _watch(
                    market, running, feeder, reader, pinger, bench.seconds + WHILE_S,
                    (chain, AS_OF_MS + 1000 * (repeat + 1)) if promoted else None,
                )
                for figure, value in found.items():
                    figures.setdefault(f"{name}_{figure}", []).append(value)
    units = {name: "s" if name.endswith("_s") else "ms" for name in figures}
    samples = {name: Sample(tuple(values), units[name]) for name, values in figures.items()}
    samples["longest_stall_ms"] = samples.pop("promoting_longest_stall_ms")
    pair = "promoting_tick_p99_ms", "still_tick_p99_ms"
    return Result("promote", samples, {"tick_p99": ratio(*(samples[name] for name in pair))}, {"tick_p99": pair})


def _watch(
    market: Market, running: Workers, feeder: Hand, reader: Hand, pinger: Hand, seconds: float,
    coming: tuple[Chain, int] | None,
) -> dict[str, float]:
    """Ticks for so long, with the chain announced after a fifth of it."""
    database, commits = market.database, market.stream("commit")
    await_rest(database, market.keys, SYMBOL, running, _PATIENCE_S)
    url = str(market.settings.redis_url.get_secret_value())
    entries = load(market, market.stream("ws"), RATE, seconds, spots=False)
    newest = database.xrevrange(commits, count=1)[0][0].decode()
    start_ns = time.monotonic_ns() + _START_NS
    reader.begin(read_commits, url, commits, newest)
    pinger.begin(ping, url, start_ns + int(seconds * 1e9))
    feeder.begin(feed, url, entries, start_ns)
    found: dict[str, float] = {}
    if coming is not None:
        time.sleep(seconds / 5)
        begun = time.monotonic()
        chain, ts = coming
        announce(database, market.settings, chain.listed, chain.spot, ts, force=True)
        while f":{ts}:".encode() not in (database.hget(market.keys.epoch_active(SYMBOL), SYMBOL) or b""):
            running.check()
            if time.monotonic() - begun > _PATIENCE_S:
                raise BenchError("the chain was not promoted")
            time.sleep(0.005)
        found["promotion_s"] = time.monotonic() - begun
    written = feeder.result(_PATIENCE_S + seconds)
    stalls = pinger.result(_PATIENCE_S)
    await_rest(database, market.keys, SYMBOL, running, _PATIENCE_S)
    database.xadd(commits, {"kind": END})
    taken_ms = _latencies_ms(written, reader.result(_PATIENCE_S))
    return {
        **found, "tick_p50_ms": float(np.percentile(taken_ms, 50)), "tick_p99_ms": float(np.percentile(taken_ms, 99)),
        "longest_stall_ms": max(stalls, default=0.0),
    }


def _latencies_ms(written: Sequence[tuple[bytes, int]], commits: Sequence[tuple[str, int]]) -> list[float]:
    """Of every frame, from its receipt to the arrival of the commit whose ids name it: `a..b` is all from a to b."""
    places = {entry_id.decode(): place for place, (entry_id, _) in enumerate(written)}
    applied: dict[int, int] = {}
    for ids, now in commits:
        for part in ids.split():
            first, _, last = part.partition("..")
            if first in places:
                applied.update(dict.fromkeys(range(places[first], places[last or first] + 1), now))
    if len(applied) < len(written):
        raise BenchError(f"{len(applied)} of {len(written)} frames were applied")
    return [(applied[place] - at) / 1e6 for place, (_, at) in enumerate(written)]


def read_commits(url: str, stream: str, after: str) -> list[tuple[str, int]]:
    """(ids, when it arrived, ns) of each commit of frames, up to an entry of the kind END."""
    database = connect(url)
    commits: list[tuple[str, int]] = []
    last: bytes | str = after
    while True:
        reply = database.xread({stream: last}, count=256, block=BLOCK_MS)
        now = time.monotonic_ns()
        for _, rows in reply or ():
            last = rows[-1][0]
            for _, fields in rows:
                if fields[b"kind"] == END:
                    return commits
                if fields[b"kind"] == b"hydrate":
                    commits.append((fields[b"ids"].decode(), now))


def ping(url: str, until_ns: int) -> list[float]:
    """How long each answer took, ms."""
    database = connect(url)
    database.ping()
    took: list[float] = []
    while time.monotonic_ns() < until_ns:
        begun = time.perf_counter()
        database.ping()
        took.append((time.perf_counter() - begun) * 1e3)
        time.sleep(_PING_S)
    return took


BENCHMARK = Benchmark(
    "promote", "staging and promotion of 30,000 contracts while ticks flow", "the same ticks without a promotion",
    {"tick_p99": Goal(at_most=3.0)}, run,
)
