"""Nothing is lost: clients that come and go, readers that are slow, servers and gateways that restart."""

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import orjson
import pytest
from walrus import Database

from pipeline import metrics
from pipeline.database import connect
from pipeline.gateway import hub
from pipeline.keys import Keys
from pipeline.server import EmbeddedServer
from pipeline.settings import Settings
from tests.folding import EPOCH, header
from tests.gateway.conftest import Served, free_port, serving
from tests.gateway.tab import Reading, Tab, tab
from tests.waiting import wait_until
from tests.world import T0, World


@contextmanager
def publishing(served: Served) -> Iterator[None]:
    """Ticks one after the other, in a thread."""
    ended, errors = threading.Event(), []

    def run() -> None:
        number = 0
        try:
            while not ended.is_set():
                number += 1
                served.tick(number)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(30)
    assert errors == []


def test_who_is_cut_off_a_hundred_times_sees_the_same_versions_as_who_never_was(served: Served) -> None:
    served.begin()
    chance = random.Random(7)
    with tab(served.url, "symbols=SPX") as steady, tab(served.url, "symbols=SPX") as cut:
        wait_until(lambda: served.shown_by(steady) and served.shown_by(cut), "the first documents")
        wait_until(lambda: cut.page.last_id, "the end of the snapshot")
        with publishing(served):
            for _ in range(100):
                connections = cut.connections
                if chance.random() < 0.5:
                    cut.cut()
                else:
                    cut.cut_after = chance.choice([0, 10, 60, 300, 2000])
                wait_until(lambda seen=connections: cut.connections > seen, "another connection", 30)  # type: ignore[misc]
        wait_until(lambda: served.shown_by(steady) and served.shown_by(cut), "the last version")
        assert [reset["reason"] for reset in cut.page.resets] == ["start"]
        assert cut.page.versions == steady.page.versions
        assert len(cut.page.versions["SPX", "heatmap"]) > 10
        spots = [[told["ts"] for name, told in one.page.others if name == "spot"] for one in (steady, cut)]
        assert spots[0] == spots[1]


def test_a_gateway_that_is_started_again_goes_on_where_the_last_one_ended(
    database: Database, make_settings: Callable[..., Settings], redis_url: str
) -> None:
    settings = make_settings(redis_url=redis_url, symbols=("SPX",), gateway_port=free_port())
    url = f"http://127.0.0.1:{settings.gateway_port}"
    with serving(settings, database) as first:
        served = Served(url, settings, World(database, settings), first)
        served.begin()
        with tab(url) as opened:
            wait_until(lambda: served.shown_by(opened) and opened.page.last_id, "the first documents")
            for number in range(3):
                served.tick(number)
            first.stop()
            for number in range(3, 6):
                served.tick(number)
            with serving(settings, database):
                for number in range(6, 9):
                    served.tick(number)
                wait_until(lambda: served.shown_by(opened), "the last version", 20)
                assert [reset["reason"] for reset in opened.page.resets] == ["start"]
                for versions in opened.page.versions.values():
                    assert versions == list(range(versions[0], versions[-1] + 1))


def test_a_server_that_restarts_gives_every_client_its_documents_anew(
    private_server: EmbeddedServer, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(redis_url=private_server.url, symbols=("SPX",), gateway_port=free_port())
    database = connect(private_server.url)
    with serving(settings, database) as made:
        served = Served(f"http://127.0.0.1:{settings.gateway_port}", settings, World(database, settings), made)
        served.begin()
        with tab(served.url) as opened:
            wait_until(lambda: served.shown_by(opened), "the first documents")
            private_server.stop()
            wait_until(lambda: not beats(opened)[-1]["redis"], "a heartbeat that says it", 20)
            private_server.start()
            wait_until(lambda: [reset["reason"] for reset in opened.page.resets] == ["start", "server"], "a reset", 20)
            for number in range(4):
                served.tick(number)
            wait_until(lambda: served.shown_by(opened), "the last version", 20)
            wait_until(lambda: beats(opened)[-1]["redis"], "a heartbeat that says it", 20)
            assert opened.connections == 1, "without another connection"
    database.connection_pool.disconnect()


def beats(opened: Tab) -> list[dict[str, Any]]:
    with opened.lock:
        return [told for name, told in opened.page.others if name == "heartbeat"]


class Press:
    """Publishes large documents by hand, whole each time."""

    def __init__(self, served: Served) -> None:
        self._database = served.world.database
        self._keys = Keys()
        self.version = 0

    def publish(self) -> None:
        self.version += 1
        document = orjson.dumps({
            "schema": "gex/1", **header(version=self.version, epoch=EPOCH), "padding": f"{self.version:07}" * 30_000,
        })
        self._database.set(self._keys.model("market_mode", "SPX"), document)
        self._database.xadd(self._keys.stream("model", "SPX"), {
            "symbol": "SPX", "model": "market_mode", "kind": "full", "epoch": EPOCH, "version": self.version,
            "base": self.version - 1, "seq": "{}", "ts": T0, "origin": "1-1", "payload": document,
        })


@contextmanager
def sleeper(url: str) -> Iterator[socket.socket]:
    """A client that has asked, and reads nothing by itself."""
    port = int(url.rpartition(":")[2])
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /sse?symbols=SPX HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield client


def value(metric: Any) -> float:
    return float(metric._value.get())


def test_a_client_that_reads_too_slowly_gets_one_fresh_snapshot_instead(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "QUEUE_BYTES", 1_000_000)
    press, key = Press(served), ("SPX", "market_mode")
    press.publish()
    with tab(served.url, "symbols=SPX") as other, sleeper(served.url) as slow:
        page = Reading(slow)
        while key not in page.documents:  # it has its place among those who listen, and reads no more for a while
            page.read_more()
        wait_until(lambda: key in other.page.documents, "the first document")
        before = value(metrics.GATEWAY_SNAPSHOTS.labels("slow"))
        for _ in range(30):  # one after the other: what comes at once is one piece, and is no queue
            press.publish()
            wait_until(lambda: other.page.documents[key]["version"] == press.version, "the version")
        assert other.page.versions[key] == list(range(1, press.version + 1)), "the others miss nothing"

        while page.documents.get(key, {}).get("version") != press.version:
            page.read_more()
        assert [reset["reason"] for reset in page.resets] == ["start", "slow"]
        assert len(page.versions[key]) < press.version
        assert value(metrics.GATEWAY_SNAPSHOTS.labels("slow")) == before + 1


def test_a_client_that_takes_nothing_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "STUCK_S", 0.5)
    monkeypatch.setattr(hub, "HEARTBEAT_S", 0.1)
    press, key = Press(served), ("SPX", "market_mode")
    before = value(metrics.GATEWAY_STUCK)
    with tab(served.url, "symbols=SPX") as other, sleeper(served.url) as slow:
        wait_until(lambda: other.page.last_id, "the first snapshot")
        wait_until(lambda: value(metrics.GATEWAY_CLIENTS) == 2, "both streams")
        for _ in range(30):
            press.publish()
        wait_until(lambda: value(metrics.GATEWAY_STUCK) == before + 1, "the cut")
        wait_until(lambda: value(metrics.GATEWAY_CLIENTS) == 1, "one stream")
        slow.settimeout(10)
        with suppress(ConnectionResetError):
            while slow.recv(65536):
                pass
        wait_until(lambda: other.page.documents.get(key, {}).get("version") == press.version, "the last version")
