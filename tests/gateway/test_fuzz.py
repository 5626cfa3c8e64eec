"""Whatever is asked: an answer, or a refusal in one line; never a failure of ours."""

import socket
from urllib.parse import quote

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.gateway.documents import READABLE
from tests.gateway.conftest import Served

NAMES = ["symbols", "models", "panes", "strategies", "last_event_id", "replay", "limit", "x"]
VALUES = st.one_of(
    st.sampled_from(["SPX", "NDX", "heatmap", "2026-08-21:SPXW", "butterfly", "0", "1787239200000-0", "1-2.3", "1_2"]),
    st.text(max_size=40),
)
PATHS = st.one_of(
    st.sampled_from(["/sse", "/api/symbols", "/api/epochs", "/api/status", "/api/vigil", "/api/replays", "/login"]),
    st.builds(lambda model, symbol: f"/api/models/{model}/{symbol}", st.one_of(st.sampled_from(READABLE), st.text()),
              st.one_of(st.just("SPX"), st.text())),
    st.text().map(lambda name: f"/api/history/{name}"),
    st.text().map(lambda name: f"/dashboard/{name}"),
    st.text().map(lambda name: f"/{name}"),
)
QUERIES = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=4)
HEADERS = st.dictionaries(
    st.sampled_from(["last-event-id", "if-none-match", "accept-encoding", "authorization", "cookie", "origin", "range",
                     "host", "content-length", "transfer-encoding"]),
    st.one_of(VALUES.map(lambda text: text.encode()), st.binary(max_size=40)), max_size=3,
)


def asked(port: int, text: bytes) -> tuple[int, bytes]:
    """Status and what is there of the answer's body; (0, b"") where the server hung up."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(text)
        answer = client.makefile("rb")
        status = answer.readline().split(b" ")
        if len(status) < 2:
            return 0, b""
        length = -1
        while line := answer.readline().strip():
            name, _, value = line.lower().partition(b":")
            length = int(value) if name == b"content-length" else length
        return int(status[1]), answer.read(length) if length > 0 else b""


def check(port: int, text: bytes) -> None:
    status, body = asked(port, text)
    assert status < 500 or (status == 503 and b"GET /readyz" in text), (text, body)
    if status >= 400 and body.startswith(b"{"):
        told = orjson.loads(body)
        assert set(told) == {"error"}
        assert told["error"]
        assert "\n" not in told["error"]


@pytest.mark.timeout(240)
def test_no_request_makes_it_fail(served: Served) -> None:
    served.begin()
    port = served.settings.gateway_port

    @settings(max_examples=150, suppress_health_check=list(HealthCheck), database=None)
    @given(path=PATHS, query=QUERIES, headers=HEADERS)
    def spelled(path: str, query: list[tuple[str, str]], headers: dict[str, bytes]) -> None:
        target = quote(path, safe="/:") + "?" + "&".join(f"{name}={quote(value)}" for name, value in query)
        lines = [f"GET {target} HTTP/1.1".encode(), b"connection: close"]
        lines += [b"host: localhost"] if "host" not in headers else []
        lines += [name.encode() + b": " + b"".join(value.splitlines()) for name, value in headers.items()]
        check(port, b"\r\n".join([*lines, b"", b""]))

    @settings(max_examples=50, suppress_health_check=list(HealthCheck), database=None)
    @given(start=st.sampled_from([b"GET /sse?", b"GET /api/models/heatmap/SPX?panes=", b"POST /api/replays ", b""]),
           rest=st.binary(max_size=80))
    def raw(start: bytes, rest: bytes) -> None:
        check(port, start + rest + b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")

    spelled()
    raw()
    assert asked(port, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")[0] == 200
