"""chain against the simulated provider: a whole chain or none, and every job ends finished."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from pydantic import SecretStr
from walrus import Database

import consumers.chain as chain_module
from consumers.chain import ChainStage, Job
from pipeline.database import connect
from pipeline.entry import Entry
from pipeline.errors import Gone
from pipeline.keys import Keys
from pipeline.provider import rest as rest_module
from pipeline.provider.rest import Rest
from pipeline.settings import Settings
from pipeline.simulator import Simulator, SimulatorSettings
from pipeline.stage import Engine
from tests.link import link_to
from tests.provider.conftest import MORNING
from tests.provider.recorded import Answer, answering
from tests.running import everything, running
from tests.saying import KEY, Said, listening
from tests.waiting import wait_until

CHAIN_PATH = "/v3/snapshot/options/{underlying}"
MORNING_MS = int(MORNING.timestamp() * 1000)


@pytest.fixture(scope="module")
def shared_sim() -> Iterator[Simulator]:
    with Simulator(SimulatorSettings(rate=0, clock=MORNING, clock_speed=0, keys=frozenset({KEY}))) as sim:
        yield sim


@pytest.fixture
def sim(shared_sim: Simulator) -> Iterator[Simulator]:
    """SPX and NDX, still, at 10:00 New York on 2026-09-09."""
    shared_sim.clear()
    yield shared_sim
    shared_sim.clear()


@dataclass
class Desk:
    """A chain stage with its engine, turned by hand, and what it left behind."""

    database: Database
    settings: Settings
    said: Said
    keys: Keys = field(default_factory=Keys)

    def __post_init__(self) -> None:
        self.keys = Keys(self.settings.layout, self.settings.namespace)
        self.stop = threading.Event()
        self.rest = Rest(
            self.settings.rest_url, self.settings.api_key, timeout_s=self.settings.rest_timeout_s,
            requests_per_s=1000, stop=self.stop,
        )
        self.stage = ChainStage(self.settings, self.database, self.keys, self.rest, self.stop)
        self.engine = Engine(self.stage, self.database, self.settings, "chain-1", self.stop)

    def close(self) -> None:
        self.stop.set()
        self.stage.close()
        self.rest.close()

    def ask(self, symbol: str = "SPX", force: int = 0) -> None:
        """One job, done."""
        self.job(symbol=symbol, reason="manual", force=force, ts=1)
        self.engine.step()

    def job(self, **fields: Any) -> None:
        self.database.xadd(self.keys.stream("chain_jobs", str(fields.get("symbol", "SPX"))), fields)

    def chains(self, symbol: str = "SPX") -> list[dict[str, str]]:
        rows = self.database.xrange(self.keys.stream("chain", symbol))
        return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in rows]

    def rows(self, symbol: str, ts: str, expiration: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = orjson.loads(self.database.get(self.keys.chain_snapshot(symbol, expiration, ts)))
        return rows

    def counted(self, name: str, symbol: str = "SPX") -> int:
        return int(self.database.hget(self.keys.analytics("chain", symbol), name) or 0)

    def due_in_s(self, symbol: str = "SPX") -> float:
        return float(self.database.zscore(self.keys.chain_schedule(symbol), symbol)) / 1000 - time.time()

    def pending(self, symbol: str = "SPX") -> int:
        return int(self.database.xpending(self.keys.stream("chain_jobs", symbol), "chain")["pending"])

    def dead(self) -> int:
        return int(self.database.xlen(self.keys.dead()))


@pytest.fixture
def make_desk(
    database: Database, make_settings: Callable[..., Settings], sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Desk]]:
    monkeypatch.setattr(rest_module, "BACKOFF_S", (0.01, 0.05))
    desks: list[Desk] = []
    with listening() as said:

        def make(**overrides: Any) -> Desk:
            settings = {"rest_url": sim.url, "api_key": SecretStr(KEY), "scope_days": 3, "rest_timeout_s": 3.0}
            desks.append(Desk(database, make_settings(**(settings | overrides)), said))
            return desks[-1]

        yield make
        for desk in desks:
            desk.close()
    assert KEY not in said.text
    assert KEY not in everything(database)


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    return make_desk()


MakeDesk = Callable[..., Desk]


def test_a_job_becomes_a_whole_chain(desk: Desk) -> None:
    desk.ask()
    (chain,) = desk.chains()
    assert chain["ts"] == str(MORNING_MS)  # the market's time, not ours
    assert orjson.loads(chain["expirations"]) == ["2026-09-09", "2026-09-10", "2026-09-11"]
    rows = [row for day in orjson.loads(chain["expirations"]) for row in desk.rows("SPX", chain["ts"], day)]
    assert len(rows) == int(chain["contracts"]) == desk.counted("rows")
    assert {row["details"]["expiration_date"] for row in rows} == set(orjson.loads(chain["expirations"]))
    spot = float(chain["spot"])
    assert 6000 < spot < 8000
    assert int(chain["spot_ts"]) == rows[0]["underlying_asset"]["last_updated"] // 1_000_000
    strikes = [row["details"]["strike_price"] for row in rows]
    assert spot * 0.82 <= min(strikes) < spot * 0.88
    assert spot * 1.12 < max(strikes) <= spot * 1.18
    assert (chain["symbol"], chain["force"], chain["reason"]) == ("SPX", "0", "manual")
    assert int(chain["latency_ms"]) == desk.counted("last_latency_ms")
    assert 0 < desk.database.ttl(desk.keys.chain_snapshot("SPX", "2026-09-09", chain["ts"])) <= 360
    assert desk.due_in_s() == pytest.approx(30, abs=2)
    assert desk.pending() == 0
    assert desk.database.hget(desk.keys.analytics("chain"), "market") == b"open"


def test_jobs_of_several_symbols_are_fetched_together(desk: Desk) -> None:
    for symbol in ("SPX", "NDX"):
        desk.job(symbol=symbol, reason="startup", force=0, ts=1)
    assert desk.engine.step() == 2
    assert {chain["symbol"] for chain in desk.chains()} == {"SPX", "NDX"}


def test_several_jobs_of_a_symbol_are_one_fetch(desk: Desk) -> None:
    for force in (0, 1, 0):
        desk.job(symbol="SPX", reason=f"force {force}", force=force, ts=1)
    assert desk.engine.step() == 3
    (chain,) = desk.chains()
    assert (chain["force"], chain["reason"]) == ("1", "force 1")
    assert desk.pending() == 0
    assert desk.database.hget(desk.keys.chain_job("SPX"), "force") is None


@pytest.mark.parametrize(
    "fault", ["429:0.05x1", "429-barex2", "429-emptyx1", "500x2", "502x1", "503-emptyx1", "half-pagex1",
              "malformed-pagex1", "nan-pagex1", "oversized-page:20x1"],
)
def test_what_passes_costs_two_lines_and_no_chain(desk: Desk, sim: Simulator, fault: str) -> None:
    sim.inject(fault)
    desk.ask()
    assert len(desk.chains()) == 1
    assert desk.said.of("chain SPX") == ["broke", "healed"]
    assert len(desk.said.lines) == 2


@pytest.mark.parametrize(
    ("fault", "kind", "waits"),
    [
        ("401", "refused", True), ("403", "refused", True), ("404", "refused", True), ("404-route", "refused", True),
        ("429-bare", "busy", False), ("500", "faulty", False), ("503-empty", "faulty", False),
        ("half-page", "faulty", False), ("malformed-page", "faulty", False), ("cursor-loop", "astray", False),
        ("foreign-next", "astray", False), ("empty-chain", "faulty", False),
    ],
)
def test_what_does_not_pass_finishes_the_job_and_waits(
    desk: Desk, sim: Simulator, fault: str, kind: str, waits: bool
) -> None:
    sim.inject(fault)
    waited = []
    for _ in range(2):
        desk.ask()
        waited.append(desk.due_in_s())
    assert desk.chains() == []
    assert desk.pending() == 0
    assert desk.dead() == 0
    assert desk.counted("failures") == desk.counted(f"failures:{kind}") == 2
    assert waited == [pytest.approx(wait_s, abs=2 if waits else 1) for wait_s in ((60, 60) if waits else (1.75, 3.5))]
    sim.clear()
    desk.ask()
    assert len(desk.chains()) == 1
    assert desk.said.of("chain SPX") == ["broke", "healed"]
    assert desk.counted("failed_in_a_row:SPX") == 0


def test_a_long_retry_after_is_kept_to_by_the_schedule(desk: Desk, sim: Simulator) -> None:
    sim.inject("429:3600")
    desk.ask()
    assert desk.pending() == 0
    assert desk.due_in_s() == pytest.approx(60, abs=2)


@pytest.mark.parametrize(
    "fault", ["null-rows:0.3", "bad-rows:0.3", "adjusted:0.3", "no-greeks", "delayed", "vanish:0.3", "oi-flip"]
)
def test_rows_are_passed_on_as_received_whatever_they_hold(desk: Desk, sim: Simulator, fault: str) -> None:
    sim.inject(fault)
    desk.ask()
    (chain,) = desk.chains()
    dropped = sum(
        int(count) for name, count in desk.database.hgetall(desk.keys.analytics("chain")).items()
        if name.startswith(b"bad:")
    )
    assert dropped == desk.counted("bad_rows")
    # only rows that belong under no date are dropped
    assert bool(dropped) == (fault in ("null-rows:0.3", "bad-rows:0.3")) or dropped == 0
    assert int(chain["contracts"]) > 100
    assert desk.said.lines == []


def test_without_any_spot_the_chain_comes_without_it(desk: Desk, sim: Simulator) -> None:
    sim.inject("no-underlying")
    desk.ask()
    (chain,) = desk.chains()
    assert "spot" not in chain
    assert "spot_ts" not in chain
    assert int(chain["contracts"]) > 500  # no window of strikes, as there is nothing to centre it on


@pytest.mark.parametrize("held", [b'{"symbol":"SPX","price":100.0,"ts":1}', b'{"symbol":"SPX","price":6000,"ts":1}',
                                  b"{", b"[]", b'{"price":"NaN"}'])
def test_a_held_spot_of_another_time_does_not_narrow_the_chain(desk: Desk, held: bytes) -> None:
    desk.ask()
    desk.database.set(desk.keys.spot("SPX"), held)
    desk.ask()
    first, second = desk.chains()
    assert second["contracts"] == first["contracts"]


def test_the_held_spot_saves_a_request(desk: Desk, sim: Simulator) -> None:
    desk.ask()
    (chain,) = desk.chains()
    desk.database.set(desk.keys.spot("SPX"), orjson.dumps({"symbol": "SPX", "price": float(chain["spot"]), "ts": 1}))
    before = sim.requests["/v3/snapshot/indices"]
    desk.ask()
    assert sim.requests["/v3/snapshot/indices"] == before


def test_the_full_scope_is_everything(make_desk: MakeDesk, sim: Simulator) -> None:
    desk = make_desk(scope="full")
    desk.ask()
    (chain,) = desk.chains()
    assert int(chain["contracts"]) == sum(ticker.startswith("O:SPX") for ticker in sim.market.row_of)


def test_a_provider_that_does_not_tell_its_time(make_desk: MakeDesk) -> None:
    row = {"details": {"ticker": "O:SPXW260909C06800000", "expiration_date": "2026-09-09", "strike_price": 6800},
           "underlying_asset": {"value": 6800.5, "last_updated": MORNING_MS * 1_000_000}}
    page = Answer(orjson.dumps({"results": [row]}))
    with answering({"/v3/snapshot/options/I:SPX": page}) as url:
        desk = make_desk(rest_url=url)
        desk.ask()
        desk.ask()
        chain = desk.chains()[0]
    assert abs(int(chain["ts"]) / 1000 - time.time()) < 60
    assert chain["spot"] == "6800.5"
    assert len(desk.said.lines) == 1


@pytest.mark.parametrize("fields", [{"nothing": 1}, {"symbol": "S P"}, {"symbol": "SPX", "force": "yes"},
                                    {"symbol": b"\xff"}, {"symbol": "WAYTOOLONGNAME"}])
def test_what_is_no_job_is_buried_and_the_others_are_done(desk: Desk, fields: dict[str, Any]) -> None:
    desk.database.xadd(desk.keys.stream("chain_jobs", "SPX"), fields)
    desk.ask()
    assert desk.dead() == 1
    assert len(desk.chains()) == 1
    assert desk.pending() == 0


def test_a_forced_epoch_is_owed_when_its_fetch_fails(desk: Desk, sim: Simulator) -> None:
    sim.inject("500")
    desk.ask(force=1)
    assert desk.database.hgetall(desk.keys.chain_job("SPX")) == {b"force": b"1"}


def test_a_late_finish_leaves_the_next_job_under_way(desk: Desk) -> None:
    desk.database.hset(desk.keys.chain_job("SPX"), mapping={"id": "9-9", "deadline_ms": "9"})
    desk.ask()
    assert desk.database.hget(desk.keys.chain_job("SPX"), "id") == b"9-9"


def test_a_job_another_consumer_finished_is_gone(desk: Desk) -> None:
    stream = desk.keys.stream("chain_jobs", "SPX")
    desk.engine.step()
    desk.job(symbol="SPX", reason="manual", force=0, ts=1)
    (_, rows), = desk.database.xreadgroup("chain", "other", {stream: ">"})
    entry = Entry(stream, rows[0][0].decode(), rows[0][1])
    with pytest.raises(Gone) as gone:
        desk.stage.commit([entry], "chain-1")
    assert gone.value.left == frozenset()
    assert desk.pending() == 1  # it is the other's still
    desk.stage.commit([entry], "other")
    assert len(desk.chains()) == 1


def test_a_job_under_way_is_renewed(make_desk: MakeDesk, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each renewal sets its idle time back, so that no sweep takes a long fetch from its consumer."""
    monkeypatch.setattr(chain_module, "RENEW_S", 0.1)
    desk = make_desk()
    renewals: list[frozenset[str]] = []
    renew = desk.stage._renew

    def renewing(jobs: Sequence[Job], consumer: str) -> frozenset[str]:
        renewals.append(renew(jobs, consumer))
        return renewals[-1]

    monkeypatch.setattr(desk.stage, "_renew", renewing)
    sim.inject("slow-page:0.4x2")
    desk.ask()
    assert len(renewals) >= 3
    assert set(map(len, renewals)) == {1}
    assert len(desk.chains()) == 1


def test_the_tagged_layout_keeps_each_underlying_in_its_slot(make_desk: MakeDesk) -> None:
    desk = make_desk(layout="tagged")
    for symbol in ("SPX", "NDX"):
        desk.job(symbol=symbol, reason="manual", force=0, ts=1)
    desk.engine.step()
    assert len(desk.chains("SPX")) == len(desk.chains("NDX")) == 1
    assert all(key.startswith((b"{SPX}:", b"{NDX}:")) for key in desk.database.keys("*"))


def test_redis_away_while_fetching(
    database: Database, make_settings: Callable[..., Settings], redis_url: str, sim: Simulator
) -> None:
    """What was fetched is announced when the server is back, and is not fetched again."""
    keys = Keys()
    with link_to(redis_url) as link, listening() as said:
        settings = make_settings(
            redis_url=link.url, rest_url=sim.url, api_key=SecretStr(KEY), scope_days=3, block_ms=50
        )
        with running("chain", chain_module.run, settings, connect(link.url)):
            struck, before = sim.faults.struck["slow-page"], sim.requests[CHAIN_PATH]
            sim.inject("slow-page:0.5x1")
            database.xadd(keys.stream("chain_jobs", "SPX"), {"symbol": "SPX", "reason": "manual", "force": 0, "ts": 1})
            wait_until(lambda: sim.faults.struck["slow-page"] > struck, "the fetch")
            link.cut()
            wait_until(lambda: said.of("redis") == ["broke"], "the line")
            wait_until(lambda: sim.requests[CHAIN_PATH] > before, "the pages")
            link.mend()
            wait_until(lambda: said.of("redis") == ["broke", "healed"], "the other line")
            wait_until(lambda: int(database.hget(keys.analytics("chain"), "pages") or 0) > 0, "the count")
        assert database.xlen(keys.stream("chain", "SPX")) == 1
        assert sim.requests[CHAIN_PATH] - before == int(database.hget(keys.analytics("chain"), "pages"))
    assert KEY not in said.text


def test_stopping_hands_an_unfinished_job_back(
    database: Database, make_settings: Callable[..., Settings], redis_url: str, sim: Simulator
) -> None:
    settings = make_settings(redis_url=redis_url, rest_url=sim.url, api_key=SecretStr(KEY), block_ms=50)
    stream = Keys().stream("chain_jobs", "SPX")
    struck = sim.faults.struck["slow-page"]
    sim.inject("slow-page:1.5x1")
    with running("chain", chain_module.run, settings, database) as stage:
        database.xadd(stream, {"symbol": "SPX", "reason": "manual", "force": 0, "ts": 1})
        wait_until(lambda: sim.faults.struck["slow-page"] > struck, "the fetch")
        assert stage.stop() < 3
    (row,) = database.xpending_range(stream, "chain", "-", "+", 10)
    assert row["time_since_delivered"] >= 3_000_000  # the next sweep takes it at once
    assert row["times_delivered"] == 0
