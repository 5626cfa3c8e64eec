"""socket against the simulated provider: what arrived is in the stream, and the subscriptions follow the geometry."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import orjson
import pytest
from pydantic import SecretStr
from walrus import Database

import consumers.socket as socket_module
from consumers.socket import Socket
from pipeline.contract import parse_ticker
from pipeline.database import connect
from pipeline.geometry import pack_panes
from pipeline.keys import Keys
from pipeline.life import Life
from pipeline.provider.conversation import Pace
from pipeline.server import EmbeddedServer
from pipeline.settings import Settings
from pipeline.simulator import Simulator, SimulatorSettings
from pipeline.subscriptions import topics_of
from tests.link import link_to
from tests.provider.conftest import MORNING
from tests.running import Running, everything, hurry, running
from tests.saying import KEY, Said, listening, logged
from tests.waiting import wait_until

MORNING_MS = int(MORNING.timestamp() * 1000)
QUICK = Pace(
    silent_after=30, healthy_after=0.3, answer=2, acks=0.5, ping=0.5, backoff=0.05, backoff_most=0.2, crowded=0.1,
    crowded_most=0.3, refused=0.3,
)
LIMIT = 120


@pytest.fixture(scope="module")
def shared_sim() -> Iterator[Simulator]:
    with Simulator(
        SimulatorSettings(rate=3_000, clock=MORNING, clock_speed=0, keys=frozenset({KEY}), auth_timeout_s=60)
    ) as sim:
        yield sim


@pytest.fixture
def sim(shared_sim: Simulator) -> Iterator[Simulator]:
    """SPX and NDX; time goes, and frames come, only by ``advance``."""
    shared_sim.clear()
    yield shared_sim
    shared_sim.clear()


class Desk:
    """Everything around a running socket stage."""

    def __init__(self, database: Database, settings: Settings, sim: Simulator, said: Said) -> None:
        self.database, self.settings, self.sim, self.said = database, settings, sim, said
        self.keys = Keys(settings.layout, settings.namespace)
        self._frames_before, self._accepted_before = sim.frames_sent, sim.accepted

    @property
    def sent(self) -> int:
        """Frames the provider has sent since the test began."""
        return self.sim.frames_sent - self._frames_before

    @property
    def accepted(self) -> int:
        """Connections it has accepted since."""
        return self.sim.accepted - self._accepted_before

    def promote(self, symbol: str, root: str = "", number: int = 1) -> str:
        """Make an epoch of everything the simulator lists of a symbol (or of one root) active."""
        tickers = [parse_ticker(ticker) for ticker in self.sim.market.row_of]
        listed = [t for t in tickers if t.underlying == symbol and t.root in (root or t.root)]
        epoch = f"{symbol}:{MORNING_MS + number}:abcdef"
        self.database.hset(self.keys.geometry(epoch), mapping=pack_panes(listed))
        self.database.hset(self.keys.epoch_active(symbol), symbol, epoch)
        self.database.xadd(
            self.keys.stream("epoch", symbol),
            {"event": "promoted", "symbol": symbol, "epoch": epoch, "previous": "", "reason": "chain", "ts": 1},
        )
        return epoch

    def place(self, symbol: str, price: float) -> None:
        spot = {"symbol": symbol, "price": price, "ts": MORNING_MS}
        self.database.set(self.keys.spot(symbol), orjson.dumps(spot))

    @contextmanager
    def stage(self, database: Database | None = None, **more: Any) -> Iterator[Running]:
        def run(settings: Settings, database: Database, life: Life) -> None:
            Socket(settings, database, life, pace=QUICK, **more).run()

        with running("socket", run, self.settings, database or self.database) as made:
            yield made

    def held(self, connections: int = 1) -> frozenset[str]:
        """The topics of the one connection, once it holds what is wanted."""

        def settled() -> frozenset[str] | None:
            wanted = frozenset().union(*(self.wanted(symbol) for symbol in self.settings.symbols))
            held = self.sim.subscriptions("options")
            return wanted if wanted and held == [wanted] * connections else None

        topics = wait_until(settled, "the subscriptions")
        assert topics
        return topics

    def wanted(self, symbol: str) -> frozenset[str]:
        return frozenset(topic.decode() for topic in self.database.smembers(self.keys.subscriptions(symbol)))

    def entries(self, symbol: str = "SPX") -> list[dict[bytes, bytes]]:
        return [fields for _, fields in self.database.xrange(self.keys.stream("ws", symbol))]

    def events(self, symbol: str = "SPX") -> list[Any]:
        return [event for entry in self.entries(symbol) for event in orjson.loads(entry[b"payload"])]

    def all_sent(self) -> None:
        """Every frame that the provider sent is in the stream."""
        sent = self.sent
        assert sent
        wait_until(lambda: len(self.entries()) >= sent, f"{sent} frames")
        assert len(self.entries()) == sent

    def counted(self, name: str, symbol: str = "") -> int:
        return int(self.database.hget(self.keys.analytics("ws", symbol), name) or 0)


MakeDesk = Callable[..., AbstractContextManager[Desk]]


@pytest.fixture
def make_desk(
    make_settings: Callable[..., Settings], sim: Simulator, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> MakeDesk:
    hurry(monkeypatch)
    monkeypatch.setattr(socket_module, "LOOK_S", 0.2)

    @contextmanager
    def make(database: Database, **overrides: Any) -> Iterator[Desk]:
        caplog.set_level(logging.DEBUG)
        options = {"ws_url": sim.socket_url, "api_key": SecretStr(KEY), "quote_limit": LIMIT} | overrides
        with listening() as said:
            desk = Desk(database, make_settings(**options), sim, said)
            for symbol, price in (("SPX", 6800.0), ("NDX", 25_000.0)):
                desk.promote(symbol)
                desk.place(symbol, price)
            yield desk
        assert KEY not in said.text + logged(caplog) + everything(database)

    return make


def test_frames_are_written_as_they_came(database: Database, make_desk: MakeDesk, sim: Simulator) -> None:
    with make_desk(database) as desk, desk.stage() as stage:
        topics = sorted(desk.held())
        spx = next(topic[2:] for topic in topics if topic.startswith("Q.O:SPXW"))
        ndx = next(topic[2:] for topic in topics if topic.startswith("Q.O:NDX"))
        one, both = [{"ev": "Q", "sym": spx, "bp": 1.5, "t": 5}], [{"ev": "Q", "sym": spx}, {"ev": "T", "sym": ndx}]
        sim.push("options", one)
        sim.push("options", both)
        wait_until(lambda: len(desk.entries()) == 2, "both frames")
        assert [orjson.loads(entry[b"payload"]) for entry in desk.entries()] == [one, both]
        assert [entry.get(b"symbol") for entry in desk.entries()] == [b"SPX", None]
        wait_until(lambda: desk.counted("events") == 3, "the counts")
        assert desk.counted("frames") == 2
        assert desk.counted("last_frame_ms") == desk.counted("last_frame_ms:NDX") == int(desk.entries()[1][b"ts"])
        assert stage.life.fault() == ""
        assert desk.said.of("holds the connection") == [""]


def test_every_frame_that_arrives_is_written(database: Database, make_desk: MakeDesk, sim: Simulator) -> None:
    with make_desk(database) as desk, desk.stage():
        desk.held()
        for fault in ("repeat:0.3", "malformed:0.5", "bad-events:0.3", "crossed:0.3", "unknown-ticker:0.3",
                      "oversized:1.1x2", "late:0.2", "lag:0.2"):  # fmt: skip
            sim.inject(fault)
            sim.advance(1)
            sim.clear()
            desk.all_sent()
        assert [line["event"] for line in desk.said.lines] == ["started", "holds the connection"]


def test_nothing_that_arrived_is_lost_while_redis_is_away(
    database: Database, redis_url: str, make_desk: MakeDesk, sim: Simulator
) -> None:
    with link_to(redis_url) as link, make_desk(database) as desk, desk.stage(connect(link.url)):
        desk.held()
        sim.advance(1)
        desk.all_sent()
        link.cut()
        before = desk.sent
        sim.advance(2)
        wait_until(lambda: desk.said.of("redis") == ["broke"], "the line")
        sim.advance(2)
        assert desk.sent > before
        assert desk.sim.connections == 1
        link.mend()
        desk.all_sent()
        wait_until(lambda: desk.said.of("redis") == ["broke", "healed"], "the other line")
        times = [int(entry[b"ts"]) for entry in desk.entries()]
        assert times == sorted(times)
        assert desk.counted("dropped_frames") == 0


def test_when_redis_is_away_too_long_the_oldest_frames_go_and_are_counted(
    database: Database, redis_url: str, make_desk: MakeDesk, sim: Simulator
) -> None:
    with (
        link_to(redis_url) as link, make_desk(database) as desk,
        desk.stage(connect(link.url), backlog_bytes=60_000),
    ):
        topic = sorted(desk.held())[0][2:]
        link.cut()
        wait_until(lambda: desk.said.of("redis") == ["broke"], "the line")
        for number in range(100):
            sim.push("options", [{"ev": "Q", "sym": topic, "q": number, "pad": "x" * 1000}])
        link.mend()
        wait_until(lambda: desk.counted("dropped_frames") > 0, "the count")
        wait_until(lambda: any(event["q"] == 99 for event in desk.events()), "the newest")
        numbers = [event["q"] for event in desk.events()]
        assert 30 < len(numbers) == 100 - desk.counted("dropped_frames") < 100
        assert numbers[-40:] == list(range(60, 100))


def test_a_server_whose_memory_is_full_gets_the_frames_later(
    private_server: EmbeddedServer, make_desk: MakeDesk, sim: Simulator
) -> None:
    database = connect(private_server.url)
    with make_desk(database) as desk, desk.stage():
        desk.held()
        database.config_set("maxmemory", "1mb")
        sim.advance(1)
        wait_until(lambda: desk.said.of("redis") == ["broke"], "the line")
        assert "OOM" in desk.said.why("redis") or "used memory" in desk.said.why("redis")
        database.config_set("maxmemory", "0")
        desk.all_sent()
        wait_until(lambda: desk.said.of("redis") == ["broke", "healed"], "the other line")
    database.connection_pool.disconnect()


def test_what_is_subscribed_follows_the_geometry_and_the_spot(
    database: Database, make_desk: MakeDesk, sim: Simulator
) -> None:
    with make_desk(database) as desk, desk.stage():
        first = desk.held()
        assert len(first) == 3 * LIMIT
        assert len(desk.wanted("SPX")) == len(desk.wanted("NDX")) == 3 * LIMIT / 2
        desk.place("SPX", 6800.0 * 1.004)  # too little to subscribe anew
        desk.promote("NDX", "NDX", 2)
        wait_until(lambda: {parse_ticker(t[2:]).root for t in desk.wanted("NDX")} == {"NDX"}, "the new geometry")
        second = desk.held()
        assert second != first
        desk.place("SPX", 6800.0 * 1.03)
        wait_until(lambda: desk.held() != second, "the new centre")
        strikes = sorted(parse_ticker(topic[2:]).strike for topic in desk.wanted("SPX"))
        assert strikes[len(strikes) // 2] == pytest.approx(6800.0 * 1.03, rel=0.005)
        database.hdel(desk.keys.epoch_active("SPX"), "SPX")
        wait_until(lambda: not desk.wanted("SPX"), "nothing wanted of SPX")
        assert len(desk.held()) == 3 * LIMIT  # NDX has all of the limit now
        assert desk.counted("reconnects") == 0


def test_after_a_reconnect_everything_is_subscribed_again(
    database: Database, make_desk: MakeDesk, sim: Simulator
) -> None:
    with make_desk(database) as desk, desk.stage():
        topics = desk.held()
        sim.drop_connections()
        wait_until(lambda: desk.counted("reconnects") == 1, "a reconnect")
        assert desk.held() == topics
        wait_until(lambda: desk.said.of("options socket") == ["broke", "healed"], "two lines")
        before = len(desk.entries())
        sim.advance(1)
        wait_until(lambda: len(desk.entries()) > before, "frames")


def test_only_one_of_four_connects_and_as_each_leaves_another_takes_over(
    database: Database, make_desk: MakeDesk, sim: Simulator
) -> None:
    with make_desk(database) as desk, ExitStack() as stack:
        crew = [stack.enter_context(desk.stage()) for _ in range(4)]
        topics = desk.held()
        for accepted in range(1, 5):
            wait_until(lambda: desk.accepted == accepted and sim.connections == 1, "the one connection", 30)  # noqa: B023
            assert desk.held() == topics
            sim.advance(1)
            desk.all_sent()
            assert [one.life.fault() for one in crew] == [""] * len(crew)
            leader = [line["consumer"] for line in desk.said.lines if line["event"] == "holds the connection"][-1]
            next(one for one in crew if one.life.consumer == leader).stop()
            crew = [one for one in crew if one.life.consumer != leader]


def test_a_process_that_lost_the_lead_lets_the_connection_go(
    database: Database, make_desk: MakeDesk, sim: Simulator
) -> None:
    with make_desk(database) as desk, desk.stage():
        desk.held()
        key = next(key for key in database.keys("*") if key.endswith(b":options"))
        database.set(key, "another", px=1500)
        wait_until(lambda: sim.connections == 0, "the connection's end")
        desk.held()  # the other never came: it leads again
        assert len(desk.said.of("another process holds the connection now; this one stands by")) == 1


def test_a_frame_of_several_underlyings_is_split_where_keys_are_tagged(
    database: Database, make_desk: MakeDesk, sim: Simulator
) -> None:
    with make_desk(database, layout="tagged") as desk, desk.stage():
        topics = sorted(desk.held())
        spx = {"ev": "Q", "sym": next(topic[2:] for topic in topics if topic.startswith("Q.O:SPX"))}
        ndx = {"ev": "Q", "sym": next(topic[2:] for topic in topics if topic.startswith("Q.O:NDX"))}
        sim.push("options", orjson.dumps([spx, ndx, None, spx, {"sym": "O:ZZZW991217C00001000"}]))
        sim.push("options", b"not JSON")
        wait_until(lambda: len(desk.entries("SPX")) == 2 and desk.entries("NDX"), "both parts")
        assert orjson.loads(desk.entries("SPX")[0][b"payload"]) == [spx, spx, None, {"sym": "O:ZZZW991217C00001000"}]
        assert orjson.loads(desk.entries("NDX")[0][b"payload"]) == [ndx]
        assert desk.entries("SPX")[1][b"payload"] == b"not JSON"


def test_it_waits_for_the_first_geometry(database: Database, make_desk: MakeDesk, sim: Simulator) -> None:
    with make_desk(database, symbols=("SPX",)) as desk:
        database.flushdb()
        with desk.stage():
            wait_until(lambda: sim.connections == 1, "the connection")
            assert sim.subscriptions("options") == [frozenset()]
            desk.promote("SPX")
            assert desk.held()


def test_the_stage_runs_as_its_process_runs_it(
    database: Database, make_desk: MakeDesk, sim: Simulator, shared_data: Any
) -> None:
    """The frames that were recorded of the real provider pass through it as they are."""
    path = shared_data / "data" / "provider" / "ws_frames.jsonl"
    if not path.is_file():
        pytest.skip("no recorded frames beside this checkout")
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    frames = [line["frame"] for line in lines if line["dir"] == "s2c"]
    events = [frame for frame in frames if any(event["ev"] != "status" for event in frame)]
    harmless = [frame for frame in frames if frame[0].get("status") in ("connected", "success", "error")]
    with make_desk(database) as desk, running("socket", socket_module.run, desk.settings, database) as stage:
        desk.held()
        for frame in harmless + events:
            sim.push("options", orjson.dumps(frame))
        wait_until(lambda: len(desk.entries()) == len(events), "every event frame and no status")
        assert [orjson.loads(entry[b"payload"]) for entry in desk.entries()] == events
        assert stage.stop() < 3


def test_topics_of_the_stage_are_what_is_chosen(database: Database, make_desk: MakeDesk) -> None:
    with make_desk(database) as desk, desk.stage():
        tickers = {topic[2:] for topic in desk.held()}
        assert len(tickers) == LIMIT
        assert topics_of(sorted(tickers)) == desk.held()


def test_a_refused_key_is_seen_by_those_who_watch(database: Database, make_desk: MakeDesk, sim: Simulator) -> None:
    with make_desk(database, api_key=SecretStr("another")) as desk, desk.stage() as stage:
        wait_until(lambda: stage.life.fault() == "provider refuses the key", "a red light")
        wait_until(lambda: desk.counted("refusals") >= 2, "another attempt")
        assert desk.said.of("options key") == ["broke"]
