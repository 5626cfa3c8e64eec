"""/metrics, /healthz and /readyz, asked as a scraper would."""

import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client import Counter

from pipeline.health import HealthServer

FAULT = [""]


@pytest.fixture
def health() -> Iterator[HealthServer]:
    FAULT[0] = ""
    server = HealthServer("127.0.0.1", 0, lambda: FAULT[0])
    server.start()
    yield server
    server.close()


def test_any_free_port_is_taken_and_told(health: HealthServer) -> None:
    assert health.address.startswith("http://127.0.0.1:")
    assert httpx.get(f"{health.address}/healthz").text == "alive\n"


def test_ready_is_200_and_a_fault_is_503_in_its_own_words(health: HealthServer) -> None:
    assert httpx.get(f"{health.address}/readyz").status_code == 200
    FAULT[0] = "no progress"
    answer = httpx.get(f"{health.address}/readyz")
    assert (answer.status_code, answer.text) == (503, "no progress\n")
    assert httpx.get(f"{health.address}/healthz").status_code == 200, "a process with a fault is alive"


def test_metrics_are_prometheus_text(health: HealthServer) -> None:
    Counter("health_test", "A counter of this test").inc(3)
    answer = httpx.get(f"{health.address}/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "health_test_total 3.0" in answer.text


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("POST", "/metrics", 405)])
def test_nothing_else_is_answered(health: HealthServer, method: str, path: str, status: int) -> None:
    assert httpx.request(method, f"{health.address}{path}").status_code == status


def test_a_request_leaves_no_line(health: HealthServer, capfd: pytest.CaptureFixture[str]) -> None:
    httpx.get(f"{health.address}/healthz")
    assert capfd.readouterr() == ("", "")


def test_a_client_that_says_nothing_holds_nobody_up(health: HealthServer) -> None:
    port = int(health.address.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)):
        assert httpx.get(f"{health.address}/healthz", timeout=2).status_code == 200
        began = time.monotonic()
        health.close()
        assert time.monotonic() - began < 1.0


def test_closing_frees_the_port_and_again_does_nothing(health: HealthServer) -> None:
    port = int(health.address.rsplit(":", 1)[1])
    health.close()
    health.close()
    assert health.address == ""
    again = HealthServer("127.0.0.1", port, lambda: "")
    again.start()
    again.close()


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            HealthServer("127.0.0.1", port, lambda: "").start()
