"""OpenTelemetry spans along the way of a tick, for a part of the ticks. Off by default, and free then.

What travels with the entries is the id of the input entry behind them (``origin``): the trace's id follows from it, and
so does whether the tick is traced, so that every stage of every process decides alike and nothing more is written. The
span of the stage that took the input (hydrate, or normalize for a chain) is the root; the others hang from it. Spans go
where ``OTEL_EXPORTER_OTLP_ENDPOINT`` says, as OpenTelemetry's own variables have it.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.entry import Entry
from pipeline.settings import Settings, SettingsError

Trace = Callable[[Sequence[Entry]], None]
_ROOTS = ("hydrate", "normalize")
_TOLD = ("symbol", "epoch", "pane", "model", "version", "reason")


def trace_of(settings: Settings, stage: str, exporter: Any = None) -> Trace | None:
    """What a stage calls with the entries of each batch it has committed; None where nothing is traced.

    ``exporter`` is for tests. Raises SettingsError where the `otel` extra is wanted and missing.
    """
    if not settings.trace:
        return None
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise SettingsError("MASSIVE_TRACE: needs OpenTelemetry: pip install 'marketswarm[otel]'") from None
    ids = _Ids()
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: "marketswarm", "marketswarm.stage": stage}), id_generator=ids
    )
    provider.add_span_processor(
        SimpleSpanProcessor(exporter) if exporter else BatchSpanProcessor(OTLPSpanExporter())
    )
    return _Tracing(settings, stage, provider.get_tracer("marketswarm"), ids)


class _Ids:
    """OpenTelemetry's generator of ids, which a root is told beforehand."""

    def __init__(self) -> None:
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        self.next: tuple[int, int] | None = None
        self._random = RandomIdGenerator()

    def generate_trace_id(self) -> int:
        return self.next[0] if self.next else int(self._random.generate_trace_id())

    def generate_span_id(self) -> int:
        return self.next[1] if self.next else int(self._random.generate_span_id())

    def is_trace_id_random(self) -> bool:
        return False


class _Tracing:
    def __init__(self, settings: Settings, stage: str, tracer: Any, ids: _Ids) -> None:
        self._below = int(settings.trace * 2**64)
        self._salt = settings.namespace.encode()
        self._stage = stage
        self._tracer = tracer
        self._ids = ids

    def __call__(self, entries: Sequence[Entry]) -> None:
        root = self._stage in _ROOTS
        for entry in entries:
            origin = entry.id.encode() if root else entry.fields.get(b"origin", b"")
            if not origin:
                continue
            digest = hashlib.blake2b(origin, digest_size=24, salt=self._salt[:16]).digest()
            if int.from_bytes(digest[8:16]) < self._below:
                trace, span = int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:]) or 1
                self._span(entry, root, trace, span, len(entries))

    def _span(self, entry: Entry, root: bool, trace: int, span: int, batch: int) -> None:
        from opentelemetry import context
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

        attributes: dict[str, str | int] = {"stream": entry.stream, "entry": entry.id, "batch": batch}
        for name in _TOLD:
            if value := entry.fields.get(name.encode()):
                attributes[name] = value.decode(errors="replace")
        above = context.Context()  # of its own, whatever else this thread may be traced by
        if root:
            self._ids.next = trace, span
        else:
            flags = TraceFlags(TraceFlags.SAMPLED)
            above = set_span_in_context(NonRecordingSpan(SpanContext(trace, span, True, flags)), above)
        try:
            made = self._tracer.start_span(
                self._stage, above, attributes=attributes, start_time=int(entry.id.partition("-")[0]) * 1_000_000
            )
        finally:
            self._ids.next = None
        made.end(time.time_ns())
