"""Spans along the way of a tick: one trace from hydrate to models, the same in every process, and nothing when off."""

import importlib.util
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from walrus import Database

from pipeline import stage
from pipeline.entry import Entry
from pipeline.settings import Settings, SettingsError
from pipeline.tracing import trace_of
from tests.world import STAGES, T0, World, quote, row, tickers

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry.sdk") is None, reason="the otel extra is not installed"
)
Make = Callable[..., Settings]


def entries(number: int) -> list[Entry]:
    return [Entry("massive:ws:stream", f"{T0 + at}-0", {}) for at in range(number)]


def test_a_tick_is_one_trace_from_hydrate_to_models(
    database: Database, make_settings: Make, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    monkeypatch.setattr(stage, "trace_of", lambda settings, name: trace_of(settings, name, exporter))
    world = World(database, make_settings(redis_url=redis_url, symbols=("SPX",), trace=1.0))
    engines = [world.engine(name) for name in STAGES]
    world.chain([row(ticker) for ticker in tickers()])
    world.settle(engines)
    exporter.clear()
    origin = world.frame([quote(tickers()[0], 10.5, 11.9, T0 + 1000, 1)])
    world.settle(engines)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert list(spans) == ["hydrate", "calculate", "models"]
    root = spans["hydrate"]
    assert root.parent is None
    assert root.attributes is not None
    assert root.attributes["entry"] == origin
    for name in ("calculate", "models"):
        span = spans[name]
        assert span.context.trace_id == root.context.trace_id
        assert span.parent is not None
        assert span.parent.span_id == root.context.span_id
        assert span.attributes is not None
        assert span.attributes["symbol"] == "SPX"
        assert span.end_time >= span.start_time


def test_every_process_traces_the_same_part(make_settings: Make) -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    seen = []
    for batches in ([entries(1000)], [entries(1000)[:300], entries(1000)[300:]]):
        exporter = InMemorySpanExporter()
        trace = trace_of(make_settings(trace=0.1), "hydrate", exporter)
        assert trace is not None
        for batch in batches:
            trace(batch)
        seen.append({span.context.trace_id for span in exporter.get_finished_spans()})
    assert seen[0] == seen[1]
    assert 50 < len(seen[0]) < 200


def test_spans_arrive_where_opentelemetry_is_told(make_settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    arrived: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.handle_request)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        trace = trace_of(make_settings(trace=1.0), "hydrate")
        assert trace is not None
        trace(entries(3))
        thread.join(20)
    request = ExportTraceServiceRequest.FromString(arrived[0])
    spans = [span for of in request.resource_spans for scope in of.scope_spans for span in scope.spans]
    assert [span.name for span in spans] == ["hydrate"] * len(spans) != []


def test_off_is_nothing_at_all(make_settings: Make) -> None:
    assert trace_of(make_settings(), "hydrate") is None


def test_without_the_extra_it_is_refused_in_one_line(make_settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"MASSIVE_TRACE: needs OpenTelemetry: pip install 'marketswarm\[otel\]'"):
        trace_of(make_settings(trace=0.5), "hydrate")
