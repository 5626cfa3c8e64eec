"""tick: from the receipt of a quote to the diff on massive:model:stream that it is behind, beside bare hops.

hydrate, calculate and models are a process each, as `up` starts them; so are the feeder, which writes what the socket
and spot stages write, and the reader. A frame comes every ten milliseconds whatever the rate: providers conflate what
they send into frames. Nine quotes of ten change sizes alone; spot moves once a second, which touches every pane.

A diff's latency is that of the oldest event behind it: nothing that waited longer was merged into it. What counts is
the heatmap's diff, which shows what the quote moved, and names that event's entry. Greeks, and the documents that rest
on them, wait for more ticks by design (``greeks_interval_s``): theirs is told apart, as ``gex``, from the event's time.

The yardstick is as many bare hops as there are streams on the way, of the same frames at the same rate, each a process:
ws, dirty, diff and model are four XADDs, three XREADGROUPs with XACK, and the reader's XREAD.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
import orjson

from pipeline.bench.benchmark import Bench, Benchmark
from pipeline.bench.feed import END, GEX, HEATMAP, Arrived, Timed, feed, hop, read
from pipeline.bench.hands import Hand
from pipeline.bench.market import Chain, Market, large, open_market, small
from pipeline.bench.measure import BenchError, Goal, Result, Sample, ratio
from pipeline.bench.near_chain import SYMBOL
from pipeline.bench.workers import Workers, await_rest, workers
from pipeline.models.quotes import Floats
from pipeline.publication import MODELS
from pipeline.settings import Settings

RATES = (1_000, 5_000, 20_000, 50_000)
"""Events a second."""
CHAINS: Mapping[int, Callable[[], Chain]] = {3_000: small, 30_000: large}
"""By about how many contracts they hold; ratios are of the first, the others' say so in their names."""
STAGES = {"hydrate": 1, "calculate": 1, "models": 1}
FRAMES_PER_S = 100
DRIFT_RATE, DRIFT_LEAST_S = 50_000, 1.0
DEFERRED_RATE = 5_000
"""At which what is deferred is told as a ratio."""
_LEAD_IN_S = 0.3  # of each piece, and not measured: queues and caches fill
_WARM_RATE, _WARM_MAX_S = 5_000, 1.0
_START_NS = 50_000_000  # from the order to begin to the first frame
_PATIENCE_S = 60.0
_HOPS = ("bench:tick:ws", "bench:tick:dirty", "bench:tick:diff", "bench:tick:model")
_GROUP = "bench"


@dataclass(frozen=True, slots=True)
class Latencies:
    """Of what was published, in that order, ms."""

    ms: Floats

    def percentile(self, q: float) -> float:
        """Raises BenchError where nothing was published."""
        if not self.ms.size:
            raise BenchError("no diff was published of what was fed")
        return float(np.percentile(self.ms, q))

    @property
    def drift(self) -> float:
        """The last third's median over the first third's. Thirds of what was published, not of the seconds: where the
        stages fall behind, what came in last is merged into what came before it."""
        if self.ms.size < 2:
            raise BenchError(f"{self.ms.size} diffs are too few to tell the first third from the last")
        third = math.ceil(self.ms.size / 3)
        return float(np.median(self.ms[-third:]) / np.median(self.ms[:third]))


@dataclass(frozen=True, slots=True)
class Crew:
    """The processes beside the stages; they wait while nothing is measured."""

    url: str
    feeder: Hand
    reader: Hand
    hops: tuple[Hand, ...]


def assemble(url: str, stack: ExitStack) -> Crew:
    hands = [stack.enter_context(Hand()) for _ in range(2 + len(_HOPS) - 1)]
    return Crew(url, hands[0], hands[1], tuple(hands[2:]))


def load(market: Market, stream: str, rate: int, seconds: float, spots: bool) -> list[Timed]:
    """Frames, and with ``spots`` one spot a second, for so long after a start."""
    every_s = 1 / FRAMES_PER_S
    count, per_frame = round(seconds / every_s), rate // FRAMES_PER_S
    # The tape's spot before its frames: both are dated from where the last piece ended.
    moves = [(at, *market.tape.spot(at * 1000)) for at in np.arange(0.5, seconds, 1.0)] if spots else []
    begin_s = time.time()
    entries = [
        Timed(int(number * every_s * 1e9), stream,
              {"ts": str(int((begin_s + number * every_s) * 1000)), "payload": frame, "symbol": SYMBOL})
        for number, frame in enumerate(market.tape.frames(count, per_frame, every_s * 1000))
    ]
    entries += [
        Timed(int(at * 1e9), market.stream("spot"), {"symbol": SYMBOL, "ts": str(ts), "price": str(price)})
        for at, ts, price in moves
    ]
    return sorted(entries, key=lambda entry: entry.after_ns)


def _latencies(received: Mapping[bytes, int], arrived: Iterable[tuple[bytes, int]], begin_ns: int) -> Latencies:
    """Of (event, when its diff arrived), where the event was ``received`` after ``begin_ns``."""
    taken_ns = [now - at for event, now in arrived if (at := received.get(event, 0)) >= begin_ns]
    return Latencies(np.array(taken_ns, dtype=np.float64) / 1e6)


def _times(entry: Timed) -> set[bytes]:
    """The events' own times, as diffs name the oldest behind them."""
    if "payload" not in entry.fields:
        return {str(entry.fields["ts"]).encode()}
    return {str(event["t"]).encode() for event in orjson.loads(entry.fields["payload"])}


def _of(model: bytes, arrived: Sequence[Arrived]) -> list[Arrived]:
    return [diff for diff in arrived if diff.model == model]


def through_stages(
    crew: Crew, market: Market, running: Workers, rate: int, seconds: float
) -> tuple[Latencies, Latencies]:
    """Feed at ``rate``, and wait until all of it is published; of the heatmap's diffs and of GEX's."""
    await_rest(market.database, market.keys, SYMBOL, running, _PATIENCE_S)
    _forget(market)
    entries = load(market, market.stream("ws"), rate, _LEAD_IN_S + seconds, spots=True)
    start_ns = time.monotonic_ns() + _START_NS
    models = market.stream("model")
    crew.reader.begin(read, crew.url, models, _newest(market, models))
    crew.feeder.begin(feed, crew.url, entries, start_ns)
    written = crew.feeder.result(_PATIENCE_S + 10 * seconds)
    await_rest(market.database, market.keys, SYMBOL, running, _PATIENCE_S + 10 * seconds)
    market.database.xadd(models, {"model": HEATMAP, "kind": END})
    arrived = crew.reader.result(_PATIENCE_S)
    begin_ns = start_ns + int(_LEAD_IN_S * 1e9)
    by_ts = {ts: start_ns + entry.after_ns for entry in reversed(entries) for ts in _times(entry)}
    return (
        _latencies(dict(written), [(diff.origin, diff.at_ns) for diff in _of(HEATMAP, arrived)], begin_ns),
        # A few a second are too few to leave those of the lead-in out.
        _latencies(by_ts, [(diff.ts, diff.at_ns) for diff in _of(GEX, arrived)], start_ns),
    )


def through_hops(crew: Crew, market: Market, rate: int, seconds: float) -> Latencies:
    """The same load over bare hops."""
    database = market.database
    database.delete(*_HOPS)
    for stream in _HOPS[:-1]:
        database.xgroup_create(stream, _GROUP, "0", mkstream=True)
    entries = load(market, _HOPS[0], rate, _LEAD_IN_S + seconds, spots=False)
    entries.append(Timed(int((_LEAD_IN_S + seconds) * 1e9), _HOPS[0], {"kind": END}))
    start_ns = time.monotonic_ns() + _START_NS
    crew.reader.begin(read, crew.url, _HOPS[-1], "0")
    for hand, source, target in zip(crew.hops, _HOPS, _HOPS[1:], strict=False):
        hand.begin(hop, crew.url, source, target, _GROUP)
    crew.feeder.begin(feed, crew.url, entries, start_ns)
    written = crew.feeder.result(_PATIENCE_S + 10 * seconds)
    for hand in crew.hops:
        hand.result(_PATIENCE_S)
    arrived = crew.reader.result(_PATIENCE_S)
    database.delete(*_HOPS)
    return _latencies(
        dict(written), [(diff.origin, diff.at_ns) for diff in arrived], start_ns + int(_LEAD_IN_S * 1e9)
    )


def _newest(market: Market, stream: str) -> str:
    newest = market.database.xrevrange(stream, count=1)
    return str(newest[0][0].decode()) if newest else "0"


def _forget(market: Market) -> None:
    """What is done with goes, as the keeper would trim it: it does not run here, so that none of its minutes falls into
    one of these seconds. The last entry stays: a group must be able to tell what it was given."""
    for noun in ("ws", "spot", "dirty", "diff", "commit", "model"):
        market.database.xtrim(market.stream(noun), maxlen=1, approximate=False)


def warm_up(crew: Crew, market: Market, running: Workers, seconds: float) -> None:
    """Every stage has seen every pane, and quotes of most contracts, before anything is measured."""
    through_stages(crew, market, running, _WARM_RATE, min(seconds, _WARM_MAX_S))


def await_published(market: Market, running: Workers) -> None:
    """Until the whole epoch is published once."""
    deadline = time.monotonic() + _PATIENCE_S
    state = market.keys.models_state(SYMBOL)
    while market.database.hget(state, f"{MODELS[-1]}:epoch") != market.epoch.encode():
        running.check()
        if time.monotonic() > deadline:
            raise BenchError(f"{market.epoch} was not published within {_PATIENCE_S:.0f} s")
        time.sleep(0.05)
    await_rest(market.database, market.keys, SYMBOL, running, _PATIENCE_S)


def measured(bench: Bench, rates: Sequence[int], chains: Mapping[int, Callable[[], Chain]]) -> Result:
    figures: dict[str, list[float]] = {}
    drifts: dict[str, list[float]] = {}
    with ExitStack() as stack:
        crew = assemble(bench.redis_url, stack)
        for contracts, chain in chains.items():
            market = open_market(bench, chain(), deferring=True)
            with workers(bench, market.settings, STAGES) as running:
                await_published(market, running)
                warm_up(crew, market, running, bench.seconds)
                for repeat in range(bench.repeats):
                    bench.say(f"tick: {contracts:,} contracts, round {repeat + 1} of {bench.repeats}")
                    for rate in rates:
                        seconds = max(bench.seconds, DRIFT_LEAST_S) if rate == DRIFT_RATE else bench.seconds
                        ours, gex = through_stages(crew, market, running, rate, seconds)
                        bare = through_hops(crew, market, rate, seconds)
                        place = f"{rate}_{contracts}"
                        for q in (50, 95, 99):
                            figures.setdefault(f"p{q}_ms_{place}", []).append(ours.percentile(q))
                            figures.setdefault(f"bare_p{q}_ms_{place}", []).append(bare.percentile(q))
                        figures.setdefault(f"gex_p50_ms_{place}", []).append(gex.percentile(50))
                        if rate == DRIFT_RATE:
                            drifts.setdefault(f"drift_{place}", []).append(ours.drift)
    return _result(rates, list(chains), {name: Sample(tuple(of), "ms") for name, of in figures.items()},
                   {name: Sample(tuple(of)) for name, of in drifts.items()})


def _result(
    rates: Sequence[int], contracts: Sequence[int], figures: Mapping[str, Sample], drifts: Mapping[str, Sample]
) -> Result:
    ratios: dict[str, Sample] = {}
    pairs: dict[str, tuple[str, str]] = {}
    for size in contracts:
        suffix = "" if size == contracts[0] else f"_{size}contracts"
        for q in (50, 99):
            for rate in rates:
                ours, bare = f"p{q}_ms_{rate}_{size}", f"bare_p{q}_ms_{rate}_{size}"
                ratios[f"p{q}_{rate}{suffix}"] = ratio(figures[ours], figures[bare])
                pairs[f"p{q}_{rate}{suffix}"] = ours, bare
        if drift := drifts.get(f"drift_{DRIFT_RATE}_{size}"):
            ratios[f"drift_{DRIFT_RATE}{suffix}"] = drift
        gex, bare = f"gex_p50_ms_{DEFERRED_RATE}_{size}", f"bare_p50_ms_{DEFERRED_RATE}_{size}"
        if gex in figures:
            ratios[f"gex_p50_{DEFERRED_RATE}{suffix}"] = ratio(figures[gex], figures[bare])
            pairs[f"gex_p50_{DEFERRED_RATE}{suffix}"] = gex, bare
    return Result("tick", figures, ratios, pairs, (
        f"a frame every {1000 // FRAMES_PER_S} ms; latency of the oldest event behind a diff, of spot's moves as well; "
        f"GEX waits for {Settings.model_fields['greeks_interval_s'].default} s by design; "
        f"4 stream hops on the way: ws, dirty, diff, model",
    ))


BENCHMARK = Benchmark(
    "tick",
    "latency from the receipt of a quote to its diff on the model stream; figures by events/s and contracts",
    "bare XADD, XREADGROUP and XACK over as many streams (4), the same frames at the same rate",
    {
        "p50_5000": Goal(at_most=4.0), "p99_5000": Goal(at_most=8.0), "p99_20000": Goal(at_most=12.0),
        "drift_50000": Goal(at_most=1.5),
    },
    partial(measured, rates=RATES, chains=CHAINS),
)
