"""Health means progress: who cannot do its work says so within ten seconds, who does not get on ends, and a provider
that is away is neither's fault."""

import os
import signal
import socket as sockets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from walrus import Database

from consumers import chain, hydrate, socket
from pipeline import life
from pipeline.database import answers, connect
from pipeline.life import Life, _notify
from pipeline.server import EmbeddedServer
from pipeline.settings import Settings
from pipeline.stage import Engine
from tests.cli.run import ROOT, environment
from tests.running import Running, running
from tests.waiting import wait_until
from tests.world import T0, World, quote, tickers

RED_WITHIN_S = 20.0  # promised are ten on a machine of one's own
Make = Callable[..., Settings]


class Doorman:
    """A server, and a user of it whose permissions the test takes and gives: what scripts and reads meet is real."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.admin = connect(server.url)
        self.admin.execute_command("ACL", "SETUSER", "worker", "on", ">word", "~*", "&*", "+@all")
        self.url = server.url.replace("redis://", "redis://worker:word@")

    def rule(self, *rules: str) -> None:
        self.admin.execute_command("ACL", "SETUSER", "worker", *rules)


@pytest.fixture
def doorman(private_server: EmbeddedServer) -> Iterator[Doorman]:
    made = Doorman(private_server)
    yield made
    made.admin.connection_pool.disconnect()


@pytest.fixture
def hydrating(doorman: Doorman, make_settings: Make) -> Iterator[Running]:
    settings = make_settings(redis_url=doorman.url, symbols=("SPX",))
    with running("hydrate", hydrate.run, settings, connect(doorman.url)) as made:
        wait_until(lambda: made.life.fault() == "", "hydrate to be ready")
        yield made


def feed(doorman: Doorman, settings: Settings) -> None:
    World(doorman.admin, settings).frame([quote(tickers()[0], 10.0, 10.1, int(time.time() * 1000), 1)])


@pytest.mark.parametrize("taken", ["evalsha", "xreadgroup"])
def test_a_worker_whose_scripts_fail_or_that_cannot_read_turns_red_and_green_again(
    taken: str, hydrating: Running, doorman: Doorman, make_settings: Make, monkeypatch: pytest.MonkeyPatch,
) -> None:
    doorman.rule(f"-{taken}")
    feeding = make_settings(redis_url=doorman.url, symbols=("SPX",))

    def red() -> str:
        feed(doorman, feeding)
        return hydrating.life.fault()

    assert "NoPermission" in wait_until(red, f"red without {taken}", RED_WITHIN_S, every=0.1)
    address = hydrating.life._health.address
    assert httpx.get(f"{address}/readyz").status_code == 503
    wait_until(lambda: httpx.get(f"{address}/healthz").status_code == 503, "stuck: the server answers", RED_WITHIN_S)
    doorman.rule(f"+{taken}")
    wait_until(lambda: not (hydrating.life.fault() or hydrating.life.stuck()), "green again", RED_WITHIN_S)
    assert httpx.get(f"{address}/healthz").status_code == 200


def test_a_worker_that_does_not_get_on_ends_itself(doorman: Doorman, make_settings: Make) -> None:
    """In a process of its own, with less patience: whoever manages processes sees it end and starts it again."""
    impatient = "from pipeline import life, cli; life.STUCK_S = 0.5; cli.main(['worker', 'hydrate'])"
    worker = subprocess.Popen(
        [sys.executable, "-c", impatient], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env=environment(REDIS_URL=doorman.url, MASSIVE_SYMBOLS="SPX", MASSIVE_LOG="json"),
    )
    try:
        wait_until(lambda: doorman.admin.hlen("massive:workers"), "the worker to register", 60)
        doorman.rule("-xreadgroup")
        _, said = worker.communicate(timeout=60)
    finally:
        worker.kill()
    assert worker.returncode == life.STUCK_STATUS
    assert '"event": "ends, to be started again"' in said


def test_a_server_that_is_away_turns_it_red_and_is_not_its_fault(
    hydrating: Running, private_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    private_server.stop()
    wait_until(hydrating.life.fault, "red without a server", RED_WITHIN_S)
    time.sleep(2.5)  # the watch has looked twice
    assert hydrating.life.stuck() == ""
    private_server.start()


def test_a_provider_that_is_dead_turns_nobody_red(database: Database, make_settings: Make, redis_url: str) -> None:
    settings = make_settings(
        redis_url=redis_url, symbols=("SPX",), rest_url="http://127.0.0.1:1", ws_url="ws://127.0.0.1:1", api_key="k",
    )
    with (
        running("chain", chain.run, settings, connect(redis_url)) as fetching,
        running("socket", socket.run, settings, connect(redis_url)) as listening,
    ):
        keys = fetching.life.keys
        database.xadd(keys.stream("chain_jobs", "SPX"), {"symbol": "SPX", "reason": "manual", "force": 0, "ts": 1})
        wait_until(lambda: database.hget(keys.analytics("chain"), "failures"), "a fetch that failed", 60)
        assert (fetching.life.fault(), fetching.life.stuck()) == ("", "")
        assert (listening.life.fault(), listening.life.stuck()) == ("", "")


def test_lag_above_its_limit_turns_it_red(database: Database, make_settings: Make, redis_url: str) -> None:
    settings = make_settings(redis_url=redis_url, symbols=("SPX",), lag_limit=2)
    world, one = World(database, settings), Life("hydrate", settings, database)
    engine = Engine(hydrate.HydrateStage(settings, database), database, settings, one.consumer)
    engine.step()
    one.work(engine)
    for _ in range(3):
        world.frame([quote(tickers()[0], 10.0, 10.1, T0, 1)])
    one.progress()
    assert one.fault() == "3 entries behind"


def test_the_latencies_of_a_source_are_kept(hydrating: Running, doorman: Doorman, make_settings: Make) -> None:
    feed(doorman, make_settings(redis_url=doorman.url, symbols=("SPX",)))
    window = hydrating.life.keys.latency("hydrate")
    ((member, at),) = wait_until(lambda: doorman.admin.zrange(window, 0, -1, withscores=True), "a latency")
    ms, consumer, latency_ms = member.decode().split(":")
    assert (float(ms), consumer) == (at, hydrating.life.consumer)
    assert 0 <= int(latency_ms) < 60_000


def test_whether_a_server_answers(private_server: EmbeddedServer) -> None:
    database = connect(private_server.url)
    assert answers(database)
    private_server.stop()
    assert not answers(database)


def test_systemd_is_told(tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_DGRAM) as listening:
        listening.bind(f"{tmp_path}/notify")
        monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
        _notify("READY=1")
        assert listening.recv(100) == b"READY=1"


def test_a_worker_pats_the_watchdog_only_while_it_gets_on(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest's own stay
    monkeypatch.setattr(life, "_notify", said.append)
    monkeypatch.setattr(life, "_LOOK_S", 0.02)
    monkeypatch.setattr(life, "HEARTBEAT_S", 0.0)
    with Life("keeper", settings, database) as one:
        one.progress()
        wait_until(lambda: "WATCHDOG=1" in said, "a pat")
        monkeypatch.setattr(life, "STALE_AFTER_S", -1.0)
        wait_until(one.stuck, "a loop that stands")
        told = len(said)
        time.sleep(0.2)
        assert said[told:] == []
    assert said[0] == "READY=1"
