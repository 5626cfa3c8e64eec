"""metrics: what being measured costs: the same work with the metrics of every worker on, and with none.

`hydrate` is the heaviest stage, `engine` the lightest: one small script call a batch, so that what the engine counts
weighs most. While metrics are on they are also scraped, every five seconds and at least once a piece. Pieces take turns
as A B B A, so that a machine that grows slower or faster favours neither. `_cpu` is the CPU of the process, and their
ratio is turned round: where the machine is busy with others it says more than the wall.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_client import generate_latest

from pipeline import metrics
from pipeline.bench import hops
from pipeline.bench.benchmark import Bench, Benchmark
from pipeline.bench.hydrate import PER_FRAME, drain, fill, forget_what_was_applied
from pipeline.bench.load import quote_frames, wide_chain
from pipeline.bench.market import Chain, open_market
from pipeline.bench.measure import Goal, Result, Sample, ratio
from pipeline.bench.models import SPOT_USD

CONTRACTS = 2_000
_FRAMES_A_SECOND, _ENTRIES_A_SECOND = 3_000, 25_000  # about as many as are done
_SCRAPE_EVERY_S = 5.0  # as deploy/prometheus has it; a shorter piece is scraped once
_COUNTED = (
    "ENTRIES", "COMMITTED", "GONE", "RECLAIMED", "RETRIES", "ERRORS", "BATCH_SECONDS", "BATCH_ENTRIES", "EVENTS",
    "SCRIPT_CALLS", "SCRIPT_SECONDS", "SCRIPT_REFUSALS",
)


class _Nothing:
    """In the place of every metric."""

    def labels(self, *_: str) -> "_Nothing":
        return self

    def inc(self, _: float = 1) -> None:
        pass

    def observe(self, _: float) -> None:
        pass


@contextmanager
def unmeasured() -> Iterator[None]:
    """While this lasts nothing is counted."""
    held: dict[str, Any] = {name: getattr(metrics, name) for name in (*_COUNTED, "observe_way")}
    for name in _COUNTED:
        setattr(metrics, name, _Nothing())
    metrics.observe_way = lambda *_: 0.0
    try:
        yield
    finally:
        for name, of in held.items():
            setattr(metrics, name, of)


@contextmanager
def scraped() -> Iterator[None]:
    """While this lasts somebody reads /metrics again and again."""
    stop = threading.Event()

    def scrape() -> None:
        while True:
            generate_latest()
            if stop.wait(_SCRAPE_EVERY_S):
                return

    thread = threading.Thread(target=scrape, name="scrape", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class Work:
    """``prepare`` lays it ready; ``do`` does ``units`` of it and answers the seconds it took."""

    units: int
    prepare: Callable[[], None]
    do: Callable[[], float]


def run(bench: Bench) -> Result:
    values: dict[str, list[float]] = {}
    _take_turns(bench, "engine", _engine(bench), values)
    _take_turns(bench, "hydrate", _hydrate(bench), values)
    figures = {name: Sample(tuple(of), "CPU µs" if "cpu" in name else "/s") for name, of in values.items()}
    pairs = {name: (name, f"{name}_unmeasured") for name in ("engine", "hydrate")}
    ratios = {key: ratio(figures[a], figures[b]) for key, (a, b) in pairs.items()}
    for name in ("engine_cpu", "hydrate_cpu"):  # less of it is more throughput
        pairs[name] = f"{name}_unmeasured", name
        ratios[name] = ratio(figures[f"{name}_unmeasured"], figures[name])
    return Result("metrics", figures, ratios, pairs)


def _engine(bench: Bench) -> Work:
    database, entries = bench.database(), max(1000, int(bench.seconds * _ENTRIES_A_SECOND))

    def prepare() -> None:
        bench.fresh()
        hops.fill(database, entries)

    return Work(entries, prepare, lambda: hops.engine_s(bench, database, entries))


def _hydrate(bench: Bench) -> Work:
    listed = wide_chain(CONTRACTS)
    frames = quote_frames(listed, max(100, int(bench.seconds * _FRAMES_A_SECOND)), PER_FRAME)
    market = open_market(bench, Chain(listed, SPOT_USD))

    def prepare() -> None:
        forget_what_was_applied(market.database, market.keys)
        fill(market.database, market.keys, frames)

    return Work(
        len(frames) * PER_FRAME, prepare, lambda: drain(market.database, market.settings, market.keys, len(frames))
    )


def _take_turns(bench: Bench, name: str, work: Work, values: dict[str, list[float]]) -> None:
    work.prepare()
    work.do()  # what is only done once is done here
    for repeat in range(bench.repeats):
        bench.say(f"metrics: {name}, round {repeat + 1} of {bench.repeats}")
        first, *between, last = (_piece(work, way) for way in (scraped, unmeasured, unmeasured, scraped))
        for suffix, pieces in (("", (first, last)), ("_unmeasured", between)):
            wall_s, cpu_s = (sum(of) for of in zip(*pieces, strict=True))
            values.setdefault(f"{name}{suffix}", []).append(2 * work.units / wall_s)
            values.setdefault(f"{name}_cpu{suffix}", []).append(cpu_s / (2 * work.units) * 1e6)


def _piece(work: Work, way: Callable[[], AbstractContextManager[None]]) -> tuple[float, float]:
    """Wall and CPU seconds; the CPU is this process's, and does not ask what else the machine does."""
    work.prepare()
    with way():
        began_s = time.process_time()
        wall_s = work.do()
        return wall_s, time.process_time() - began_s


BENCHMARK = Benchmark(
    "metrics", "throughput of hydrate, and of the engine alone, measured and scraped", "the same, not measured at all",
    {name: Goal(at_least=0.97) for name in ("engine", "engine_cpu", "hydrate", "hydrate_cpu")}, run,
)
