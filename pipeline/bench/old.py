"""old: CPU and bytes of a tick, ours beside a design that recomputes everything and rewrites everything.

Both hold the same chain and take the same ticks (a frame of a few quotes, each of which moves a price). The old leaves
every tile and GEX current with each; ours every tile with each, and GEX as often as it does wherever ticks come fast
(``greeks_interval_s``), all of it counted. CPU is that of this process and of the server together; bytes are what the
server was sent. Ours is measured with every tick alone, and with a few of them waiting, as they do wherever ticks come
faster than turns: the stages then do once what several ticks ask for.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from walrus import Database

from consumers.calculate import CalculateStage
from consumers.hydrate import HydrateStage
from consumers.models import ModelsStage
from consumers.normalize import NormalizeStage
from pipeline.bench.benchmark import Bench, Benchmark
from pipeline.bench.measure import BenchError, Goal, Result, Sample, ratio
from pipeline.bench.near_chain import (
    AS_OF_MS,
    SCOPE_DAYS,
    SYMBOL,
    WIDTHS,
    Quote,
    announce,
    frame,
    near_chain,
    near_ticks,
)
from pipeline.bench.recompute import Recompute
from pipeline.keys import Keys
from pipeline.settings import Settings
from pipeline.stage import Engine

QUOTES_A_TICK = 5
BURST = 20
"""Ticks that wait for one turn of the stages in the `_burst` figures: at real rates ticks come faster than turns."""
_UNITS = {"cpu": "CPU ms a tick", "bytes": "bytes a tick"}
_ROUNDS = 1000


class Ours:
    """The stages that a tick goes through, turned by hand in one process."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._keys = Keys(settings.layout, settings.namespace)
        made: list[Any] = [stage(settings, database)
                           for stage in (NormalizeStage, HydrateStage, CalculateStage, ModelsStage)]
        self._engines = [Engine(stage, database, settings, f"{stage.name}-1") for stage in made]
        self._of_a_tick = self._engines[1:]
        self._deferred_s = 2.0 * settings.greeks_interval_s
        self.turns = self._number = 0

    def take(self, ticks: Sequence[list[Quote]]) -> None:
        """One turn of each stage: what these ticks change is computed, and published."""
        for quotes in ticks:
            self._number += 1
            payload = frame(quotes, self._number)
            self._database.xadd(self._keys.stream("ws", SYMBOL), {"ts": AS_OF_MS, "payload": payload})
        self.turns += 1
        for engine in self._of_a_tick:
            engine.step()

    def settle(self) -> None:
        """Until no stage has anything left to do. Raises BenchError where that does not come about."""
        for _ in range(_ROUNDS):
            if not sum(engine.step() for engine in self._engines):
                time.sleep(self._deferred_s)
                if not sum(engine.step() for engine in self._engines):
                    return
        raise BenchError("the stages do not come to rest")

    def version(self) -> int:
        """How often the heatmap was published."""
        return int(self._database.hget(self._keys.models_state(SYMBOL), "heatmap:version") or 0)


def run(bench: Bench) -> Result:
    bench.fresh()
    settings = bench.settings(symbols=(SYMBOL,), scope="full", widths={SYMBOL: WIDTHS})
    database = bench.database()
    listed, spot = near_chain()
    ours = Ours(database, settings)
    announce(database, settings, listed, spot)
    ours.settle()
    old = Recompute.of(database, listed, spot, WIDTHS)
    before, tiles = ours.version(), old.tick([])
    bench.say(f"old: {len(listed)} contracts, {tiles} tiles")
    fed = near_ticks(listed, QUOTES_A_TICK)
    ways: dict[str, Callable[[], int]] = {
        "": lambda: _take(ours, fed, 1), "_burst": lambda: _take(ours, fed, BURST),
        "_old": lambda: 1 if old.tick(next(fed)) else 0,
    }
    values: dict[str, list[float]] = {f"{of}{way}": [] for of in _UNITS for way in ways}
    for _ in range(bench.repeats):
        for way, turn in ways.items():
            for of, cost in zip(_UNITS, _cost(database, turn, bench.seconds), strict=True):
                values[f"{of}{way}"].append(cost)
    if ours.version() - before < ours.turns:
        raise BenchError("not every turn was published")
    figures = {name: Sample(tuple(of), _UNITS[name.partition("_")[0]]) for name, of in values.items()}
    keys = [f"{of}{way}" for way in ("", "_burst") for of in _UNITS]
    yardstick = {key: f"{key.partition('_')[0]}_old" for key in keys}
    return Result(
        "old",
        {**figures, "contracts": Sample((float(len(listed)),)), "tiles": Sample((float(tiles),))},
        {key: ratio(figures[yardstick[key]], figures[key]) for key in keys},
        pairs={key: (key, yardstick[key]) for key in keys},
    )


def _take(ours: Ours, fed: Iterator[list[Quote]], ticks: int) -> int:
    ours.take([next(fed) for _ in range(ticks)])
    return ticks


def _cost(database: Database, turn: Callable[[], int], seconds: float) -> tuple[float, float]:
    """CPU ms and bytes sent a tick, over as many turns as fit into ``seconds``, at least one."""
    server_s, sent, own_s, began, done = *_server(database), time.process_time(), time.perf_counter(), 0
    while not done or time.perf_counter() - began < seconds:
        done += turn()
    own_s = time.process_time() - own_s
    server_after_s, sent_after = _server(database)
    return (own_s + server_after_s - server_s) / done * 1000.0, (sent_after - sent) / done


def _server(database: Database) -> tuple[float, int]:
    """Seconds of CPU the server has used, and bytes it was sent."""
    cpu, stats = database.info("cpu"), database.info("stats")
    return cpu["used_cpu_user"] + cpu["used_cpu_sys"], int(stats["total_net_input_bytes"])


BENCHMARK = Benchmark(
    "old",
    f"CPU and bytes of a tick ({QUOTES_A_TICK} quotes that move prices) through the stages, SPX to {SCOPE_DAYS} days",
    "a design that recomputes every tile in plain Python and stores the whole model as JSON on each tick",
    {"cpu": Goal(at_least=100.0), "bytes": Goal(at_least=100.0)},
    run,
)
