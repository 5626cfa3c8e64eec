"""dirty: time and bytes of a recompute with 0.1 %, 1 % and 10 % of the contracts dirty, beside one of all.

30,000 contracts in sixty panes. Between two recomputes contracts move by a tick each: those that are quoted most, which
are near the money and in the front expirations; ``1pct_scattered`` draws as many by how often they are quoted instead,
so that nearly every pane has a few. Then `calculate` and `models` do all there is, in this process, and the values they
write are counted in bytes. What comes before them (hydration) is not in it: `hydrate` measures that.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from walrus import Database

from consumers.calculate import CalculateStage
from consumers.hydrate import HydrateStage
from consumers.models import ModelsStage
from pipeline.bench.benchmark import Bench, Benchmark
from pipeline.bench.load import frame
from pipeline.bench.market import Market, large, open_market
from pipeline.bench.measure import BenchError, Goal, Result, Sample, ratio
from pipeline.bench.near_chain import SYMBOL, Listed
from pipeline.scripts import Argument, Call, Conversation, Scripts
from pipeline.stage import Engine

PARTS = {"0": 0.0, "0.1pct": 0.001, "1pct": 0.01, "1pct_scattered": 0.01, "10pct": 0.1, "all": 1.0}


class CountingScripts(Scripts):
    """The real scripts; ``bytes`` is what was sent to those that write."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.bytes = 0

    def run(self, name: str, keys: Mapping[str, str], arguments: Mapping[str, Argument]) -> Any:
        self.count(name, arguments)
        return super().run(name, keys, arguments)

    @contextmanager
    def conversation(self) -> Iterator[Conversation]:
        with super().conversation() as server:
            yield _Counted(self, server)

    def count(self, name: str, arguments: Mapping[str, Argument]) -> None:
        if name == "commit_panes":
            panes: Any = arguments["jobs"]
            for pane in panes:
                self.bytes += sum(map(len, pane["fields"])) + sum(map(len, pane["patches"][1::2])) + len(pane["whole"])
        elif name == "publish":
            documents: Any = arguments["documents"]
            for document in documents:
                self.bytes += len(document["payload"]) + sum(map(len, document["patches"][1::2]))
                self.bytes += sum(len(documents[0]["patches"][place - 1]) for place in document["taken"][1::2])


class _Counted(Conversation):
    """A conversation whose calls are counted."""

    def __init__(self, scripts: CountingScripts, server: Conversation) -> None:
        self._counting, self._server = scripts, server

    def send(self, call: Call) -> None:
        self._counting.count(call.script, call.arguments)
        self._server.send(call)

    def flush(self) -> None:
        self._server.flush()

    def reply(self) -> Any:
        return self._server.reply()


def run(bench: Bench) -> Result:
    chain = large()
    market = open_market(bench, chain)
    settings, database = market.settings, market.database
    calculate, models = CalculateStage(settings, database), ModelsStage(settings, database)
    calculate.scripts = models.scripts = scripts = CountingScripts(database)
    hydrate = Engine(HydrateStage(settings, database), database, settings, "bench-hydrate")
    others = [Engine(calculate, database, settings, "bench-calculate"),
              Engine(models, database, settings, "bench-models")]
    _work(others)  # the first version of the epoch
    rng = np.random.default_rng(6)
    times: dict[str, list[float]] = {part: [] for part in PARTS}
    sizes: dict[str, list[float]] = {part: [] for part in PARTS}
    away = np.zeros(len(chain.listed), dtype=np.int64)
    number = 0
    for repeat in range(bench.repeats):
        bench.say(f"dirty: round {repeat + 1} of {bench.repeats}")
        for part, share in PARTS.items():
            number += 1
            chosen = _chosen(rng, chain.listed, share, part.endswith("scattered"))
            _move(market, hydrate, chain.listed, chosen, away, number, rng)
            before, started = scripts.bytes, time.perf_counter()
            _work(others)
            times[part].append(time.perf_counter() - started)
            sizes[part].append(float(scripts.bytes - before))
    figures = {f"time_{part}": Sample(tuple(values), "s") for part, values in times.items()}
    figures |= {f"bytes_{part}": Sample(tuple(values), "B") for part, values in sizes.items()}
    pairs = {f"{kind}_{part}": (f"{kind}_{part}", f"{kind}_all") for part in PARTS for kind in ("time", "bytes")
             if part != "all"}
    return Result(
        "dirty", figures, {key: ratio(figures[a], figures[b]) for key, (a, b) in pairs.items()}, pairs
    )


def _chosen(rng: np.random.Generator, listed: Sequence[Listed], share: float, scattered: bool) -> list[int]:
    count = round(len(listed) * share)
    weight = np.array([one.weight for one in listed])
    if scattered:
        drawn: list[int] = rng.choice(len(listed), count, replace=False, p=weight / weight.sum()).tolist()
        return drawn
    most: list[int] = np.argsort(-weight, kind="stable")[:count].tolist()
    return most


def _move(
    market: Market, hydrate: Engine, listed: Sequence[Listed], places: Sequence[int], away: NDArray[np.int64],
    number: int, rng: np.random.Generator,
) -> None:
    """Each of these contracts by some ticks (``away`` from where it was listed), applied to the epoch."""
    away[places] = (away[places] + rng.integers(1, 20, len(places))) % 20
    for first in range(0, len(places), 500):
        quotes = []
        for at in places[first : first + 500]:
            by = 0.05 * int(away[at])
            quotes.append((listed[at].ticker, round(listed[at].bid + by, 2), round(listed[at].ask + by, 2)))
        market.database.xadd(market.stream("ws"), {"ts": 1, "payload": frame(quotes, number)})
    while hydrate.step():
        pass
    counted = market.database.hget(market.keys.analytics("hydrate", SYMBOL), "geometry_miss")
    if counted:
        raise BenchError(f"{int(counted)} quotes found no contract")


def _work(engines: Sequence[Engine]) -> None:
    while sum(engine.step() for engine in engines):
        pass


BENCHMARK = Benchmark(
    "dirty", "time and bytes of a recompute with 0.1 %, 1 %, 10 % of 30,000 contracts dirty", "all of them dirty",
    {"time_1pct": Goal(at_most=0.03), "bytes_1pct": Goal(at_most=0.05), "bytes_0": Goal(at_most=0.0)}, run,
)
