"""replay: how much faster than it was recorded a session of RATE events a second is replayed, at full speed.

A chain of some 3,000 contracts, frames of fifty quotes and a spot a second, recorded some tens of seconds long, are
read by all four stages in a namespace of their own, in one process and with a process a stage, until every document is
made; the start of processes counts. ``hydrate`` is one consumer of that stage alone on the same frames: no replay with
one of it can be faster. ``redis`` is the part of a replay's time in which the server's thread worked.
"""

from io import StringIO

import orjson
from honcho.printer import Printer
from walrus import Database

from consumers.hydrate import HydrateStage
from pipeline.base_frame import recorded_settings
from pipeline.bench.benchmark import Bench, Benchmark
from pipeline.bench.hydrate import drain, forget_what_was_applied
from pipeline.bench.market import Market, open_market, small
from pipeline.bench.measure import BenchError, Goal, Result, Sample, ratio
from pipeline.bench.near_chain import SYMBOL
from pipeline.keys import Keys
from pipeline.replay.feed import CORE, Feed
from pipeline.replay.hands import InProcess, Processes
from pipeline.replay.namespace import About, drop, write
from pipeline.replay.window import Row, Window

RATE, PER_FRAME = 5_000, 50
GOAL = 20.0
_A_SECOND = RATE // PER_FRAME
_EVERY_MS = 1000 // _A_SECOND
_WAYS = ("in_process", "processes")


def run(bench: Bench) -> Result:
    market = open_market(bench, small())
    window = _recorded(market, max(200, int(bench.seconds * GOAL * RATE / PER_FRAME)))
    values: dict[str, list[float]] = {"recorded": [], **{name: [] for name in _WAYS}, "hydrate": [], "redis": []}
    for repeat in range(bench.repeats):
        bench.say(f"replay: round {repeat + 1} of {bench.repeats}")
        values["recorded"].append(float(RATE))
        values["hydrate"].append(_hydrated(market, window))
        for name in _WAYS:
            rate, redis = _replayed(bench, market, window, name)
            values[name].append(rate)
            if name == "in_process":
                values["redis"].append(redis)
    figures = {
        name: Sample(tuple(of), "of its time" if name == "redis" else "events/s") for name, of in values.items()
    }
    pairs = {
        **{name: (name, "recorded") for name in _WAYS},
        **{f"{name}_vs_hydrate": (name, "hydrate") for name in _WAYS},
    }
    return Result("replay", figures, {key: ratio(figures[a], figures[b]) for key, (a, b) in pairs.items()}, pairs)


def _recorded(market: Market, frames: int) -> Window:
    """The market's chain, then what its tape tells at the pace of RATE, so many frames and a spot a second."""
    ((raw, fields),) = market.database.xrange(market.stream("chain"))
    chain = Row(raw.decode(), fields)
    rows = {
        day: market.database.get(market.keys.chain_snapshot(SYMBOL, day, chain.text("ts")))
        for day in orjson.loads(chain.text("expirations"))
    }
    ws: list[Row] = []
    spots: list[Row] = []
    for first in range(0, frames, _A_SECOND):
        for payload in market.tape.frames(min(_A_SECOND, frames - first), PER_FRAME, _EVERY_MS):
            at = chain.ms + 1 + len(ws) * _EVERY_MS
            ws.append(Row(f"{at}-0", {b"ts": b"%d" % at, b"payload": payload}))
        ts, price = market.tape.spot()
        spots.append(Row(ws[-1].id, {b"symbol": SYMBOL.encode(), b"ts": b"%d" % ts, b"price": b"%.2f" % price}))
    return Window(
        SYMBOL, chain.ms, ws[-1].ms, "start", None, recorded_settings(market.settings, SYMBOL), market.keys.layout,
        [chain], {chain.id: rows}, ws, spots,
    )


def _hydrated(market: Market, window: Window) -> float:
    """Events a second of one hydrate consumer that has nothing but the window's frames to do."""
    forget_what_was_applied(market.database, market.keys)
    stream = market.stream("ws")
    market.database.delete(stream)
    market.database.xgroup_create(stream, HydrateStage.name, "0", mkstream=True)
    write(market.database, stream, window.ws)
    return len(window.ws) * PER_FRAME / drain(market.database, market.settings, market.keys, len(window.ws))


def _replayed(bench: Bench, market: Market, window: Window, way: str) -> tuple[float, float]:
    """Events a second, and the part of the time in which the server's thread worked."""
    database, settings = market.database, window.settings_of(market.settings, way)
    scale = dict.fromkeys(CORE, 1)
    about = About(database, way)
    about.begin(window, "replay", "max", "benchmark")
    stages = (
        InProcess(settings, database, scale) if way == "in_process"
        else Processes(settings, bench.redis_url, scale, Printer(StringIO()))
    )
    try:
        feed = Feed(window, settings, database, stages, about)
        before = _server_cpu_s(database)
        feed.run()
        worked = (_server_cpu_s(database) - before) / feed.took_s
    finally:
        stages.close()
    if feed.events != len(window.ws) * PER_FRAME:
        raise BenchError(f"replayed {feed.events} of {len(window.ws) * PER_FRAME} events")
    if not database.exists(Keys(settings.layout, settings.namespace).model("heatmap", SYMBOL)):
        raise BenchError("the replay made no heatmap")
    drop(database, way)
    return feed.rate, worked


def _server_cpu_s(database: Database) -> float:
    cpu = database.info("cpu")
    return float(cpu["used_cpu_user"] + cpu["used_cpu_sys"])


BENCHMARK = Benchmark(
    "replay", "events a second of a replay at full speed, all stages, until every document is made",
    "the pace of the record; one hydrate consumer alone", {"in_process": Goal(at_least=GOAL)}, run,
)
