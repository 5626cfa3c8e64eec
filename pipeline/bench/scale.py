"""scale: hydrate and calculate with one, two and four consumers, a process each, and a tenth or all of the contracts.

Quotes come of the thousand contracts that are quoted most, as the socket stage subscribes them (the provider allows no
more on a connection): ten times the contracts are then an epoch ten times as large under the same quotes. ``_all`` has
every contract quoted instead, so that fewer events are merged and Redis has the most to do.

The work is there before anybody may have it: the group's place in the stream is set to the end of all streams while the
stream is filled, and back to where it was to begin. hydrate drains frames of 50 quotes; calculate drains the panes of
30,000 contracts after spot has moved, which makes each of them look again at its greeks, move after move.

Redis does one thing at a time, so it is what limits every number of consumers in the end: its main thread's time, by
its own account, over the wall's says how near that is.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from walrus import Database

from consumers.hydrate import HydrateStage
from pipeline.bench.benchmark import Bench, Benchmark
from pipeline.bench.load import wide_chain
from pipeline.bench.market import Chain, Market, open_market
from pipeline.bench.measure import BenchError, Goal, Result, Sample, ratio
from pipeline.bench.models import SPOT_USD
from pipeline.bench.near_chain import SYMBOL
from pipeline.bench.tape import Tape
from pipeline.bench.workers import Workers, await_rest, workers
from pipeline.stage import Engine
from pipeline.status import main_thread_s

CONSUMERS = (1, 2, 4)
PER_FRAME = 50
_FRAMES_A_SECOND = 2_000
_FRAME_EVERY_MS = 1.0
_FILLED_AT_ONCE = 500
_PATIENCE_S = 120.0
_POLL_S = 0.005
_END = f"{2**63 - 1}-0"
_BLOCK_MS = 10
"""How late a consumer may notice that it may begin: a read that waits does not see a group being set back."""


SUBSCRIBED = 1_000


def narrow() -> Chain:
    return Chain(wide_chain(3_000), SPOT_USD)


def wide() -> Chain:
    return Chain(wide_chain(30_000), SPOT_USD)


@dataclass(frozen=True, slots=True)
class Drained:
    """How much in how long, and the part of it in which the server's main thread worked. ``updates``: what was left
    for the server to do, of events that each call had merged to the newest of every contract."""

    units: int
    seconds: float
    busy: float
    updates: int = 0

    @property
    def per_s(self) -> float:
        return self.units / self.seconds


def _subscribed(market: Market, chain: Chain) -> Market:
    """The same market, of which only the contracts that are quoted most are quoted."""
    most = sorted(chain.listed, key=lambda one: -one.weight)[:SUBSCRIBED]
    return replace(market, tape=Tape(most, chain.spot))


def _begin(market: Market) -> None:
    """A market's first quotes write fields that no later ones have to, and make the group."""
    for frame in market.tape.frames(_FILLED_AT_ONCE, PER_FRAME, _FRAME_EVERY_MS):
        market.database.xadd(market.stream("ws"), {"ts": "0", "payload": frame, "symbol": SYMBOL})
    engine = Engine(HydrateStage(market.settings, market.database), market.database, market.settings, "bench-begin")
    while engine.step():
        pass


def hydrate(bench: Bench, market: Market, consumers: int) -> Drained:
    """Events drained by so many consumers. Raises BenchError unless every event was counted."""
    frames = market.tape.frames(max(50, int(bench.seconds * _FRAMES_A_SECOND)), PER_FRAME, _FRAME_EVERY_MS)
    stream, before = market.stream("ws"), _counted(market)
    with _workers(bench, market, "hydrate", consumers) as running:
        with _held(market.database, stream, "hydrate"):
            pipe = market.database.pipeline(transaction=False)
            for number, frame in enumerate(frames, start=1):
                pipe.xadd(stream, {"ts": str(int(time.time() * 1000)), "payload": frame, "symbol": SYMBOL})
                if number % _FILLED_AT_ONCE == 0:
                    pipe.execute()
            pipe.execute()
            began, busy_s = time.perf_counter(), _busy_s(market.database)
        _await(market, running, "hydrate")
        took_s, busy_s = time.perf_counter() - began, _busy_s(market.database) - busy_s
    events, updates = (now - then for now, then in zip(_counted(market), before, strict=True))
    if events != len(frames) * PER_FRAME:
        raise BenchError(f"{events} of {len(frames) * PER_FRAME} events were counted")
    market.database.xtrim(stream, maxlen=1, approximate=False)
    return Drained(events, took_s, busy_s / took_s, updates)


def _counted(market: Market) -> tuple[int, int]:
    """Events so far, and updates."""
    counts = market.database.hgetall(market.keys.analytics("hydrate", SYMBOL))
    return int(counts.get(b"events", 0)), sum(int(counts.get(name, 0)) for name in (b"applied", b"stale"))


def calculate(bench: Bench, market: Market, consumers: int) -> Drained:
    """Panes drained by so many consumers, one move of spot after the other until the seconds are full."""
    hydrating = Engine(HydrateStage(market.settings, market.database), market.database, market.settings, "bench-spot")
    panes, took_s, busy_s = 0, 0.0, 0.0
    with _workers(bench, market, "calculate", consumers) as running:
        _await(market, running, "calculate")
        warm = False
        while not warm or took_s < bench.seconds:
            with _held(market.database, market.stream("dirty"), "calculate"):
                queued = _move_spot(market, hydrating)
                began, busy_began_s = time.perf_counter(), _busy_s(market.database)
            _await(market, running, "calculate")
            if warm:  # the first time round every process has the panes to read
                panes += queued
                took_s += time.perf_counter() - began
                busy_s += _busy_s(market.database) - busy_began_s
            warm = True
    return Drained(panes, took_s, busy_s / took_s)


def _move_spot(market: Market, hydrating: Engine) -> int:
    """How many panes it queued."""
    dirty = market.stream("dirty")
    before = market.database.xinfo_stream(dirty)["entries-added"]
    ts, price = market.tape.spot()
    market.tape.frames(1, 1, 1000.0)  # a second goes by
    market.database.xadd(market.stream("spot"), {"symbol": SYMBOL, "ts": str(ts), "price": str(price)})
    while hydrating.step():
        pass
    return int(market.database.xinfo_stream(dirty)["entries-added"] - before)


@contextmanager
def _held(database: Database, stream: str, group: str) -> Iterator[None]:
    """While this lasts the group is given nothing; then all that has come meanwhile."""
    (row,) = (row for row in database.xinfo_groups(stream) if row["name"] == group.encode())
    database.xgroup_setid(stream, group, _END)
    try:
        yield
    finally:
        database.xgroup_setid(stream, group, row["last-delivered-id"])


@contextmanager
def _workers(bench: Bench, market: Market, stage: str, number: int) -> Iterator[Workers]:
    with workers(bench, market.settings, {stage: number}, MASSIVE_BLOCK_MS=str(_BLOCK_MS)) as running:
        yield running


def _await(market: Market, running: Workers, stage: str) -> None:
    await_rest(market.database, market.keys, SYMBOL, running, _PATIENCE_S, frozenset({stage}), _POLL_S)


def _busy_s(database: Database) -> float:
    """CPU seconds of the server's main thread; of all its threads where it cannot tell them apart."""
    return main_thread_s(database.info("cpu"))


def measured(
    bench: Bench, narrow: Callable[[], Chain], wide: Callable[[], Chain], consumers: Sequence[int]
) -> Result:
    """``wide`` has ten times the contracts of ``narrow``; ``consumers`` rise from 1."""
    drained: dict[str, list[Drained]] = {}
    for repeat in range(bench.repeats):
        bench.say(f"scale: round {repeat + 1} of {bench.repeats}")
        chain = narrow()
        market = _subscribed(open_market(bench, chain), chain)
        _begin(market)
        for number in consumers:
            drained.setdefault(f"hydrate_{number}", []).append(hydrate(bench, market, number))
        chain = wide()
        everything = open_market(bench, chain)
        market = _subscribed(everything, chain)
        _begin(market)
        drained.setdefault("hydrate_1_10x", []).append(hydrate(bench, market, 1))
        _begin(everything)
        for number in dict.fromkeys((1, consumers[-1])):
            drained.setdefault(f"hydrate_{number}_10x_all", []).append(hydrate(bench, everything, number))
        for number in consumers:
            drained.setdefault(f"calculate_{number}", []).append(calculate(bench, market, number))
    return _result(drained, consumers[-1])


def _result(drained: Mapping[str, list[Drained]], most: int) -> Result:
    figures, busy = {}, {}
    for name, pieces in drained.items():
        figures[name] = Sample(tuple(piece.per_s for piece in pieces), "panes/s" if "calculate" in name else "events/s")
        busy[f"{name}_redis_busy"] = Sample(tuple(piece.busy for piece in pieces), "of 1")
    updates = {
        f"{name}_updates": Sample(tuple(piece.updates / piece.seconds for piece in drained[name]), "updates/s")
        for name in ("hydrate_1", "hydrate_1_10x_all")
    }
    ratios = {
        "redis_busy": Sample(busy[f"hydrate_{most}_10x_all_redis_busy"].values),
        "redis_busy_subscribed": Sample(busy[f"hydrate_{most}_redis_busy"].values),
        "cost_10x_contracts": ratio(figures["hydrate_1"], figures["hydrate_1_10x"]),
        "cost_10x_contracts_all": ratio(figures["hydrate_1"], figures["hydrate_1_10x_all"]),
        "cost_10x_contracts_all_an_update": ratio(updates["hydrate_1_updates"], updates["hydrate_1_10x_all_updates"]),
        f"hydrate_{most}": ratio(figures[f"hydrate_{most}"], figures["hydrate_1"]),
        f"calculate_{most}": ratio(figures[f"calculate_{most}"], figures["calculate_1"]),
    }
    pairs = {
        f"hydrate_{most}": (f"hydrate_{most}", "hydrate_1"), f"calculate_{most}": (f"calculate_{most}", "calculate_1"),
    }
    return Result("scale", {**figures, **updates, **busy}, ratios, pairs, (
        "cost_10x_contracts: wall time an event with ten times the contracts over that with a tenth, one consumer each",
        f"quotes are of the {SUBSCRIBED:,} contracts that are quoted most; of all contracts in what is named _all",
        "an update is what is left of a contract's events in a call: over more contracts fewer are merged",
    ))


BENCHMARK = Benchmark(
    "scale",
    "hydrate and calculate with 1, 2 and 4 consumers, a process each, and 3,000 and 30,000 contracts",
    "one consumer; a tenth of the contracts; the time the server's main thread has",
    {"redis_busy": Goal(at_least=0.9), "cost_10x_contracts": Goal(at_most=1.3)},
    partial(measured, narrow=narrow, wide=wide, consumers=CONSUMERS),
)
