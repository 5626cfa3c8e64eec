"""spot against the simulated provider: values by socket, by REST while it is silent; none twice, none impossible."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import orjson
import pytest
from pydantic import SecretStr
from walrus import Database

import consumers.spot as spot_module
from consumers.spot import Spot
from pipeline.database import connect
from pipeline.keys import Keys
from pipeline.life import Life
from pipeline.provider import rest as rest_module
from pipeline.provider.conversation import Pace
from pipeline.provider.rest import Rest
from pipeline.settings import Settings
from pipeline.simulator import Simulator, SimulatorSettings
from tests.link import link_to
from tests.provider.conftest import MORNING
from tests.running import Running, everything, hurry, running
from tests.saying import KEY, Said, listening, logged
from tests.waiting import wait_until

MORNING_MS = int(MORNING.timestamp() * 1000)
INDICES = "/v3/snapshot/indices"
QUICK = Pace(
    silent_after=30, healthy_after=0.3, answer=2, acks=0.5, ping=0.5, backoff=0.05, backoff_most=0.2, crowded=0.1,
    crowded_most=0.3, refused=0.3,
)


@pytest.fixture(scope="module")
def shared_sim() -> Iterator[Simulator]:
    with Simulator(
        SimulatorSettings(symbols=("SPX", "NDX", "SPY"), rate=0, clock=MORNING, clock_speed=0, keys=frozenset({KEY}))
    ) as sim:
        yield sim


@pytest.fixture
def sim(shared_sim: Simulator) -> Iterator[Simulator]:
    """SPX, NDX and SPY; values move only by ``place_spot`` and ``advance``."""
    shared_sim.clear()
    yield shared_sim
    shared_sim.clear()


class Desk:
    """Everything around a running spot stage."""

    def __init__(self, database: Database, settings: Settings, sim: Simulator, said: Said) -> None:
        self.database, self.settings, self.sim, self.said = database, settings, sim, said
        self.keys = Keys(settings.layout, settings.namespace)

    @contextmanager
    def stage(self, database: Database | None = None) -> Iterator[Running]:
        def run(settings: Settings, database: Database, life: Life) -> None:
            with Rest(
                settings.rest_url, settings.api_key, timeout_s=2, requests_per_s=100, stop=life.stop
            ) as rest:
                Spot(settings, database, life, rest, pace=QUICK).run()

        with running("spot", run, self.settings, database or self.database) as made:
            yield made

    def subscribed(self) -> None:
        wait_until(lambda: self.sim.subscriptions("indices") == [{"V.I:SPX", "V.I:NDX"}], "the subscription")

    def values(self, symbol: str = "SPX") -> list[tuple[int, float]]:
        return [
            (int(fields[b"ts"]), float(fields[b"price"]))
            for _, fields in self.database.xrange(self.keys.stream("spot", symbol))
            if fields[b"symbol"] == symbol.encode()
        ]

    def has(self, price: float) -> bool:
        return self.values()[-1][1] == price

    def first(self) -> None:
        """The values that are asked for by REST before the socket has spoken."""
        wait_until(lambda: self.values("SPX") and self.values("NDX"), "the first values")

    def counted(self, name: str, symbol: str = "") -> int:
        return int(self.database.hget(self.keys.analytics("spot", symbol), name) or 0)

    def push(self, **event: Any) -> None:
        self.sim.push("indices", orjson.dumps([{"ev": "V", "T": "I:SPX", "val": 6801.25, "t": MORNING_MS + 1} | event]))


MakeDesk = Callable[..., AbstractContextManager[Desk]]


@pytest.fixture
def make_desk(
    make_settings: Callable[..., Settings], sim: Simulator, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> MakeDesk:
    monkeypatch.setattr(rest_module, "BACKOFF_S", (0.01, 0.05))
    hurry(monkeypatch)

    @contextmanager
    def make(database: Database, **overrides: Any) -> Iterator[Desk]:
        caplog.set_level(logging.DEBUG)
        options = {
            "ws_url": sim.socket_url, "rest_url": sim.url, "api_key": SecretStr(KEY), "spot_poll_s": 600,
            "symbols": ("SPX", "NDX", "SPY"),
        }
        with listening() as said:
            yield Desk(database, make_settings(**(options | overrides)), sim, said)
        assert KEY not in said.text + logged(caplog) + everything(database)

    return make


def test_each_value_is_an_entry(database: Database, make_desk: MakeDesk, sim: Simulator) -> None:
    with make_desk(database) as desk, desk.stage() as stage:
        desk.subscribed()
        desk.first()
        for value in (6801.25, 6802.5):
            sim.place_spot("SPX", value)
        sim.place_spot("NDX", 25_001.5)
        wait_until(lambda: len(desk.values("SPX")) == 3 and len(desk.values("NDX")) == 2, "the values")
        assert [price for _, price in desk.values("SPX")][1:] == [6801.25, 6802.5]
        assert desk.values("NDX")[-1][1] == 25_001.5
        assert desk.values("SPY") == []  # a stock's spot comes with its chain
        assert stage.life.fault() == ""
        wait_until(lambda: desk.counted("events") == 3, "the count")


def test_only_one_of_four_connects_and_as_each_leaves_another_takes_over(
    database: Database, make_desk: MakeDesk, sim: Simulator
) -> None:
    with make_desk(database) as desk, ExitStack() as stack:
        crew = [stack.enter_context(desk.stage()) for _ in range(4)]
        desk.first()
        known, placed = len(desk.values()), [6801.25, 6802.5, 6803.75, 6805.0]
        for number, value in enumerate(placed, 1):
            desk.subscribed()
            sim.place_spot("SPX", value)
            wait_until(lambda: desk.has(value), "the value")  # noqa: B023
            assert [price for _, price in desk.values()[known:]] == placed[:number], "each once"
            held = {"symbol": "SPX", "ts": desk.values()[-1][0], "price": value}
            database.set(desk.keys.spot("SPX"), orjson.dumps(held))  # as hydrate does: the next in line looks there
            leader = [line["consumer"] for line in desk.said.lines if line["event"] == "holds the connection"][-1]
            next(one for one in crew if one.life.consumer == leader).stop()
            crew = [one for one in crew if one.life.consumer != leader]


def test_no_value_is_written_twice(database: Database, make_desk: MakeDesk) -> None:
    with make_desk(database) as desk, desk.stage():
        desk.subscribed()
        desk.first()
        ((newest, _),) = desk.values()  # the tests before moved the market's time
        for later in (1, 1, 1, 2):
            desk.push(t=newest + later)
        wait_until(lambda: desk.counted("unchanged") == 2, "the count")
        assert desk.values()[1:] == [(newest + 1, 6801.25), (newest + 2, 6801.25)]


def test_what_cannot_be_a_value_is_counted(database: Database, make_desk: MakeDesk) -> None:
    bad: list[dict[str, Any]] = [
        {"val": "NaN"}, {"val": None}, {"val": -1}, {"val": 0}, {"val": 1e300}, {"t": None}, {"t": "yesterday"},
        {"T": 7}, {"val": True},
    ]
    with make_desk(database) as desk, desk.stage():
        desk.subscribed()
        desk.first()
        for event in bad:
            desk.push(**event)
        desk.push()
        wait_until(lambda: len(desk.values()) == 2, "the good value")
        wait_until(lambda: desk.counted("bad_values") == len(bad), "the count")


def test_frames_of_any_kind_do_no_harm(database: Database, make_desk: MakeDesk, sim: Simulator) -> None:
    with make_desk(database) as desk, desk.stage():
        desk.subscribed()
        desk.first()
        for frame in (b"", b"null", b"{", b"[null,7,[]]", b'[{"ev":"AM","sym":"I:SPX"}]', b'[{"ev":"V","T":"I:DJI"}]'):
            sim.push("indices", frame)
        desk.push(T="I:VIX")
        desk.push()
        wait_until(lambda: len(desk.values()) == 2, "the good value")
        wait_until(lambda: desk.counted("malformed_frames") == 3, "the count")
        assert desk.counted("other_events") == 2


def test_while_the_socket_is_silent_rest_is_asked(database: Database, make_desk: MakeDesk, sim: Simulator) -> None:
    with make_desk(database, spot_poll_s=0.5) as desk:
        sim.inject("silent")
        with desk.stage():
            desk.first()
            wait_until(lambda: desk.counted("rest_answers") >= 2, "another answer")
            assert len(desk.values()) == 1  # nothing has changed
            sim.advance(1)
            sim.place_spot("SPX", 6805.5)
            wait_until(lambda: desk.values()[-1][1] == 6805.5, "the new value")
            sim.clear()
            assert desk.counted("rest_failures") == 0


def test_while_the_socket_speaks_rest_is_left_alone(database: Database, make_desk: MakeDesk, sim: Simulator) -> None:
    with make_desk(database, spot_poll_s=1.0) as desk, desk.stage():
        desk.subscribed()
        desk.first()
        asked = sim.requests[INDICES]
        for number in range(40):
            sim.place_spot("NDX", 25_000.0 + number)
            sim.place_spot("SPX", 6800.0 + number)
            wait_until(partial(desk.has, 6800.0 + number), "the value")
        wait_until(lambda: desk.counted("events") == 80, "the count")
        assert sim.requests[INDICES] - asked <= 1


@pytest.mark.parametrize("fault", ["429-bare", "half-page"])
def test_rest_that_fails_is_two_lines(database: Database, make_desk: MakeDesk, sim: Simulator, fault: str) -> None:
    with make_desk(database, spot_poll_s=0.5) as desk:
        sim.inject(fault)
        with desk.stage():
            wait_until(lambda: desk.counted("rest_failures") >= 2, "failures")
            sim.clear()
            desk.first()
            wait_until(lambda: desk.said.of("spot by REST") == ["broke", "healed"], "two lines")
            desk.push()
            wait_until(lambda: len(desk.values()) == 2, "the socket's value")


def test_rest_that_refuses_is_not_asked_again_soon(database: Database, make_desk: MakeDesk, sim: Simulator) -> None:
    with make_desk(database, spot_poll_s=0.5) as desk:
        sim.inject("403")
        before = sim.requests[INDICES]
        with desk.stage():
            desk.subscribed()
            wait_until(lambda: desk.counted("rest_failures") == 1, "the refusal")
            desk.push()
            wait_until(lambda: desk.values(), "the socket's value")
            assert desk.said.of("spot by REST") == ["broke"]
            assert sim.requests[INDICES] - before == 1


def test_a_plan_without_indices_is_no_failure(database: Database, make_desk: MakeDesk, sim: Simulator) -> None:
    with make_desk(database, spot_poll_s=0.5) as desk:
        sim.inject("no-underlying")
        with desk.stage():
            wait_until(lambda: desk.counted("rest_answers") >= 2, "answers without values")
            assert desk.values() == []
            assert [line["event"] for line in desk.said.lines] == ["started", "holds the connection"]


def test_a_dropped_socket_is_opened_again(database: Database, make_desk: MakeDesk, sim: Simulator) -> None:
    with make_desk(database) as desk, desk.stage():
        desk.subscribed()
        sim.drop_connections()
        wait_until(lambda: desk.counted("reconnects") == 1, "a reconnect")
        desk.subscribed()
        wait_until(lambda: desk.said.of("indices socket") == ["broke", "healed"], "two lines")
        desk.push()
        wait_until(lambda: desk.values()[-1:] == [(MORNING_MS + 1, 6801.25)], "the value")


def test_nothing_that_arrived_is_lost_while_redis_is_away(
    database: Database, redis_url: str, make_desk: MakeDesk, sim: Simulator
) -> None:
    with link_to(redis_url) as link, make_desk(database) as desk, desk.stage(connect(link.url)):
        desk.subscribed()
        desk.first()
        link.cut()
        wait_until(lambda: desk.said.of("redis") == ["broke"], "the line")
        for number in range(50):
            sim.place_spot("SPX", 6800.0 + number / 4)
        link.mend()
        wait_until(lambda: len(desk.values()) >= 50, "the values")
        prices = [price for _, price in desk.values()][-49:]
        assert prices == [6800.0 + number / 4 for number in range(1, 50)]
        wait_until(lambda: desk.said.of("redis") == ["broke", "healed"], "the other line")


def test_what_was_known_before_is_not_written_again(database: Database, make_desk: MakeDesk) -> None:
    with make_desk(database, spot_poll_s=0.5) as desk:
        known = {"symbol": "SPX", "price": 6800.0, "ts": MORNING_MS + 36_000_000}
        database.set(desk.keys.spot("SPX"), orjson.dumps(known))
        with desk.stage():
            wait_until(lambda: desk.values("NDX") and desk.counted("rest_answers") >= 2, "answers")
            assert desk.values("SPX") == []


def test_without_indices_it_only_lives(database: Database, make_desk: MakeDesk, sim: Simulator) -> None:
    with make_desk(database, symbols=("SPY",)) as desk:
        with running("spot", spot_module.run, desk.settings, database) as stage:
            wait_until(lambda: desk.counted("connections") == 1, "the connection")
            assert stage.stop() < 3
        assert desk.database.exists(desk.keys.stream("spot", "SPY")) == 0


def test_the_tagged_layout_has_a_stream_an_underlying(database: Database, make_desk: MakeDesk) -> None:
    with make_desk(database, layout="tagged") as desk, desk.stage():
        desk.first()
        assert database.exists("{SPX}:massive:spot:stream") == 1
