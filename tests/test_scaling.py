"""From one consumer of each stage to four and back to one, while entries come: nothing is lost and nothing done twice.

The end is held against a plain fold of what the streams hold, which knows nothing of consumers.
"""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from typing import Any

import orjson
import pytest
from pydantic import SecretStr
from walrus import Database

from consumers import calculate, chain, hydrate, models, normalize, vexy, vigil
from pipeline import vexy as facts
from pipeline import vigil as events
from pipeline.database import connect
from pipeline.entry import Entry
from pipeline.epochs import Epochs
from pipeline.folding import read_publication
from pipeline.models.documents import apply_diff
from pipeline.publication import MODELS, VIEWS
from pipeline.settings import Settings
from pipeline.simulator import Simulator, SimulatorSettings
from pipeline.status import STAGE_STREAMS, read_status
from tests.properties import reference
from tests.running import Run, Running
from tests.saying import KEY
from tests.waiting import wait_until
from tests.world import T0, World, quote, row, tickers

RUNS: dict[str, Run] = {
    "normalize": normalize.run, "hydrate": hydrate.run, "calculate": calculate.run, "models": models.run,
    "vigil": vigil.run, "vexy": vexy.run,
}
LISTED = [
    *tickers("SPXW", [date(2026, 8, 21), date(2026, 8, 24), date(2026, 9, 18)], range(7500, 7605, 20)),
    *tickers("SPX", [date(2026, 9, 18)], range(7500, 7605, 20)),
]
BEHIND_MAX = 200  # frames waiting for hydrate, above which the load holds back: the load must last, not pile up


class Crew:
    """The consumers of some stages, each as its own process would run it, on connections of its own."""

    def __init__(self, settings: Settings, database: Database, runs: dict[str, Run], symbol: str = "SPX") -> None:
        self.at_work: dict[str, list[Running]] = {stage: [] for stage in runs}
        self._settings = settings
        self._database = database
        self._runs = runs
        self._symbol = symbol
        self._status = World(database, settings)

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        for crew in self.at_work.values():
            for one in crew:
                one.life.stop.set()
        for crew in self.at_work.values():
            for one in crew:
                one.stop()

    def hire(self, stage: str, many: int = 1) -> None:
        url = self._settings.redis_url.get_secret_value()
        for _ in range(many):
            self.at_work[stage].append(Running(stage, self._runs[stage], self._settings, connect(url)))

    def grow(self, stage: str, to: int) -> None:
        """Until so many read its streams."""
        self.hire(stage, to - len(self.at_work[stage]))
        names = {one.life.consumer for one in self.at_work[stage]}
        wait_until(lambda: self.consumers(stage) == names, f"{to} consumers of {stage}", 30)

    def shrink(self, stage: str, to: int) -> None:
        """The longest at work leave first, so that who stays is one who came. Each must leave nothing behind."""
        while len(self.at_work[stage]) > to:
            leaving = self.at_work[stage].pop(0)
            leaving.stop()
            assert leaving.life.consumer not in self.consumers(stage), "a consumer that left is still in its group"

    def consumers(self, stage: str) -> set[str]:
        found: set[str] = set()
        for noun in STAGE_STREAMS[stage]:
            stream = self._status.keys.stream(noun, self._symbol)
            if self._database.exists(stream):
                groups = {group["name"].decode() for group in self._database.xinfo_groups(stream)}
                rows = self._database.xinfo_consumers(stream, stage) if stage in groups else []
                found |= {consumer["name"].decode() for consumer in rows}
        return found

    def rests(self) -> bool:
        stages = read_status(self._database, self._status.keys, (self._symbol,)).stages
        return not any(stages[stage].lag or stages[stage].pending for stage in self.at_work)


class Load(threading.Thread):
    """Frames of quotes, trades and volumes, spots and chains, until ``end``."""

    def __init__(self, world: World) -> None:
        super().__init__(name="load", daemon=True)
        self.events: list[dict[str, Any]] = []
        self.spots: list[tuple[int, float]] = []
        self.chains = 1
        self._world = world
        self._drawn = random.Random(6)
        self._ended = threading.Event()

    def await_more(self) -> None:
        """Until it has gone on for a while."""
        before = len(self.events)
        wait_until(lambda: len(self.events) > before + 400, "the load", 30)

    def end(self) -> None:
        """Stop, after one more chain, which is of another epoch and newer than all."""
        self._ended.set()
        self.join(30)
        assert not self.is_alive()
        self.chain(force=True)

    def chain(self, force: bool) -> None:
        self.chains += 1
        self._world.chain(self.rows(), ts=self.chain_ts, force=force, spot_ts=T0)

    @property
    def chain_ts(self) -> int:
        return T0 + 1000 * self.chains

    def rows(self) -> list[dict[str, Any]]:
        return [
            row(ticker, bid=10 + number / 4, ask=11 + number / 4, oi=100 + number + self.chains, ts=self.chain_ts)
            for number, ticker in enumerate(LISTED)
        ]

    def run(self) -> None:
        database, stream = self._world.database, self._world.keys.stream("ws", "SPX")
        for number in range(1, 1_000_000):
            if self._ended.wait(0.002):
                return
            group = next(group for group in database.xinfo_groups(stream) if group["name"] == b"hydrate")
            if (group["lag"] or 0) > BEHIND_MAX:
                continue
            for burst in range(8):
                self._world.frame([self._event((number * 8 + burst) * 10 + one) for one in range(10)])
            if number % 5 == 0:
                self.spots.append((T0 + self._drawn.randrange(60_000) * 3 + number % 3, 7500.0 + number % 100))
                self._world.spot(self.spots[-1][1], self.spots[-1][0])
            if number % 10 == 0:
                self.chain(force=number % 20 == 0)

    def _event(self, number: int) -> dict[str, Any]:
        """The provider numbers what it sends: no two share time and number. Many come later than newer ones."""
        drawn = self._drawn
        ticker, ts = drawn.choice(LISTED), T0 + drawn.randrange(1000, 180_000)
        bid = drawn.randrange(1, 400) / 20
        match drawn.randrange(10):
            case 0:
                event = {"ev": "A", "sym": ticker, "av": number, "e": T0 + number}
            case 1 | 2:
                event = {"ev": "T", "sym": ticker, "p": bid, "s": drawn.randrange(1, 50), "t": ts, "q": number}
            case _:
                event = quote(ticker, bid, bid + drawn.randrange(1, 40) / 20, ts, number)
        self.events.append(event)
        return event


@pytest.fixture
def world(database: Database, make_settings: Callable[..., Settings], redis_url: str) -> World:
    return World(database, make_settings(redis_url=redis_url, symbols=("SPX",), block_ms=50, batch_max=4))


@pytest.mark.timeout(240)
def test_one_to_four_to_one_of_each_stage_under_load_ends_as_a_plain_fold(world: World) -> None:
    load = Load(world)
    with Crew(world.settings, world.database, RUNS) as crew:
        for stage in RUNS:
            crew.hire(stage)
        world.chain(load.rows(), ts=load.chain_ts, spot_ts=T0)
        wait_until(world.epoch, "the first epoch", 30)
        wait_until(lambda: world.database.exists(world.keys.stream("ws", "SPX")), "hydrate's group", 30)
        load.start()
        for stage in RUNS:
            crew.grow(stage, 4)
            load.await_more()
        for stage in RUNS:
            crew.shrink(stage, 1)
            load.await_more()
        load.end()
        wait_until(crew.rests, "the end of all work", 90)
        for stage, at_work in crew.at_work.items():
            assert crew.consumers(stage) == {one.life.consumer for one in at_work}, f"{stage} has one consumer again"
    for stage in RUNS:
        assert crew.consumers(stage) == set(), f"{stage} left nobody behind"
    assert world.database.xlen(world.keys.dead()) == 0
    assert_folded(world, load)
    assert_each_version_once(world)
    assert_each_publication_folded_once(world)


def assert_folded(world: World, load: Load) -> None:
    """Contracts and documents are what the entries say; each event and commit counts once."""
    contracts = reference.fold(load.rows(), load.chain_ts, load.events)
    documents = reference.documents(
        "SPX", contracts, load.chain_ts, [(T0, 7550.0), *load.spots], world.settings.widths_of("SPX"),
        world.settings.rate,
    )
    assert world.final() == {"contracts": contracts, "documents": documents}
    frames = world.database.xrange(world.keys.stream("ws", "SPX"))
    held = [event for _, fields in frames for event in orjson.loads(fields[b"payload"])]
    assert held == load.events
    assert int(world.database.hget(world.keys.analytics("hydrate", "SPX"), "events")) == len(load.events)
    notes = [fields for _, fields in world.database.xrange(world.keys.stream("commit", "SPX"))]
    assert [int(note[b"seq"]) for note in notes] == list(range(1, len(notes) + 1))
    epochs = promoted(world)
    assert len(epochs) == len(set(epochs)) > 2, "the first, the last and some under load"


def promoted(world: World) -> list[bytes]:
    """Epochs in the order of their promotion."""
    entries = world.database.xrange(world.keys.stream("epoch", "SPX"))
    return [fields[b"epoch"] for _, fields in entries if fields[b"event"] == b"promoted"]


def assert_each_version_once(world: World, symbol: str = "SPX") -> None:
    """Every version follows the one before it, and all diffs in order lead to the stored document."""
    for name in (name for name in MODELS if name not in VIEWS):
        document: dict[str, Any] = {}
        versions = []
        for kind, payload in world.publications(name, symbol):
            document = payload if kind == "full" else apply_diff(document, payload)
            versions.append(document["version"])
        assert versions == list(range(1, len(versions) + 1)), name
        assert versions, name
        assert document == world.model(name, symbol)


def assert_each_publication_folded_once(world: World) -> None:
    """vigil's events and vexy's documents are those of one reader of the model stream, in its order."""
    state, told = events.State(), []
    known, made = facts.State(), []
    geometries: dict[str, facts.Geometry] = {}
    epochs = Epochs(world.database, world.keys)
    stream = world.keys.stream("model", "SPX")
    for entry_id, fields in world.database.xrange(stream):
        entry = Entry(stream, entry_id.decode(), fields, "")
        seen = read_publication(world.database, entry, events.MODELS.__contains__)
        if seen is not None:
            state, news = events.step(state, seen)
            told += [event.type for event in news]
        seen = read_publication(world.database, entry, facts.MODELS.__contains__)
        if seen is not None:
            if seen.epoch not in geometries:
                epoch = epochs.get(seen.epoch)
                assert epoch is not None
                geometries[seen.epoch] = {
                    name: (tuple(pane.geometry.strikes.tolist()), tuple(pane.geometry.widths.tolist()))
                    for name, pane in epoch.panes.items()
                }
            known, document = facts.step(known, seen, geometries[seen.epoch] if seen.model == "heatmap" else None)
            made += [] if document is None else [document]
    history = [
        orjson.loads(fields[b"payload"]) for _, fields in world.database.xrange(world.keys.vexy_history("SPX"))
    ]
    assert history == made[-len(history):]
    assert history
    kinds = [fields[b"type"].decode() for _, fields in world.database.xrange(world.keys.vigil_events("SPX"))]
    assert [kind for kind in kinds if not kind.startswith("epoch_")] == told
    assert told
    assert kinds.count("epoch_promoted") == len(promoted(world))


@pytest.fixture
def provider() -> Iterator[Simulator]:
    with Simulator(SimulatorSettings(rate=0.0, clock_speed=0.0, keys=frozenset({KEY}), symbols=("SPX",))) as simulator:
        yield simulator


def test_one_to_four_to_one_chain_fetchers_do_each_job_once(
    database: Database, make_settings: Callable[..., Settings], redis_url: str, provider: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chain.ChainStage, "reclaim_idle_ms", 1000)
    monkeypatch.setattr(chain, "RENEW_S", 0.2)
    settings = make_settings(
        redis_url=redis_url, symbols=("SPX",), rest_url=provider.url, api_key=SecretStr(KEY), scope_days=1, block_ms=50,
        batch_max=1,
    )
    world = World(database, settings)
    jobs = [f"job-{number}" for number in range(10)]
    with ExitStack() as stack:
        crew = stack.enter_context(Crew(settings, database, {"chain": chain.run}))
        crew.hire("chain")
        stream = world.keys.stream("chain_jobs", "SPX")
        for reason in jobs:
            database.xadd(stream, {"symbol": "SPX", "reason": reason, "force": 0, "ts": 1})
        crew.grow("chain", 4)
        crew.shrink("chain", 1)
        wait_until(crew.rests, "the last fetch", 60)
    told = [fields for _, fields in database.xrange(world.keys.stream("chain", "SPX"))]
    assert sorted(fields[b"reason"].decode() for fields in told) == sorted(jobs), "every job is one chain"
    assert len({fields[b"contracts"] for fields in told}) == 1, "every chain is whole"
    assert database.xlen(world.keys.dead()) == 0
