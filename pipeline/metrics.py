"""Prometheus metrics of a worker. Counters count, gauges say a level, and no label grows without bound.

Everything is observed once a batch, never once an event: a tick passes the stages thousands of times a second.
"""

import time
from collections.abc import Iterable
from typing import Any, TypeVar

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for every counter, that nobody reads

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_WAY_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
_DELAY_SECONDS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30, 120, 600, 1200)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)

ENTRIES = Counter("marketswarm_entries_read", "Entries delivered to this consumer", ["stage"])
COMMITTED = Counter("marketswarm_entries_committed", "Entries whose effect and XACK were one call", ["stage"])
GONE = Counter("marketswarm_entries_gone", "Entries another consumer had committed meanwhile", ["stage"])
RECLAIMED = Counter("marketswarm_entries_reclaimed", "Entries taken over from consumers that died", ["stage"])
LOST = Counter("marketswarm_entries_lost", "Entries trimmed before they were done (should never happen)", ["stage"])
RETRIES = Counter("marketswarm_retries", "Entries put back for another attempt", ["stage"])
DEAD = Counter("marketswarm_entries_dead", "Entries moved to the dead letters", ["stage"])
ERRORS = Counter("marketswarm_errors", "Failures by reason", ["stage", "reason"])
BATCH_SECONDS = Histogram("marketswarm_batch_seconds", "Time to commit a batch", ["stage"], buckets=_SECONDS)
BATCH_ENTRIES = Histogram("marketswarm_batch_entries", "Entries in a batch", ["stage"], buckets=_SIZES)
EVENTS = Counter("marketswarm_events", "Provider events by what became of them", ["stage", "outcome"])
LATENCY = Histogram(
    "marketswarm_latency_seconds",
    "Wall time from the entry of the stage before (socket, spot: from the receipt) to its commit here; of each batch "
    "the oldest",
    ["stage"], buckets=_WAY_SECONDS,
)
TICK = Histogram(
    "marketswarm_tick_seconds",
    "Wall time from the input stream's entry of the oldest event behind a batch to its commit here: the sum of the way",
    ["stage"], buckets=_WAY_SECONDS,
)
PROVIDER_DELAY = Histogram(
    "marketswarm_provider_delay_seconds",
    "From the provider's time of an event to its receipt, once a frame; where its clock is another than ours, beyond "
    "the least delay seen",
    ["stage"], buckets=_DELAY_SECONDS,
)
SCRIPT_CALLS = Counter("marketswarm_script_calls", "Calls of a Lua script", ["script"])
SCRIPT_SECONDS = Counter(
    "marketswarm_script_seconds", "From a script's call to its reply; of calls sent together each its part", ["script"]
)
SCRIPT_REFUSALS = Counter(
    "marketswarm_script_refusals", "Calls of a script that changed nothing, by its reason", ["script", "reason"]
)
READY = Gauge("marketswarm_ready", "Whether /readyz is green")
GATEWAY_CLIENTS = Gauge("marketswarm_gateway_clients", "Open streams of events")
GATEWAY_SNAPSHOTS = Counter(
    "marketswarm_gateway_snapshots",
    "Clients that were sent every document whole: at their start, after too long a gap, because they read too slowly, "
    "or because another server answered", ["reason"],
)
GATEWAY_RESUMED = Counter("marketswarm_gateway_resumed", "Clients that went on where they had been cut off")
GATEWAY_STUCK = Counter("marketswarm_gateway_stuck", "Clients that were cut off because they took nothing")
GATEWAY_REFUSED = Counter("marketswarm_gateway_refused", "Requests refused", ["reason"])

_EXPECTED_ERRORS = ("connectionerror", "timeouterror", "nogroup")
_WITHOUT_ENTRIES = ("keeper", "exporter", "gateway")
_REFUSED = {"hydrate": ("hydrate", "gone"), "calculate": ("commit_panes", "stale"), "models": ("publish", "stale")}
_OUTCOMES = {
    "hydrate": ("events", "applied", "stale", "size_only", "geometry_miss", "conflated"),
    "socket": ("written",), "spot": ("written",), "chain": ("fetched", "failed"),
}


_Metric = TypeVar("_Metric", Counter, Histogram)
_CHILDREN: dict[tuple[Counter | Histogram, *tuple[str, ...]], Any] = {}


def of(metric: _Metric, *labels: str) -> _Metric:
    """A metric's child, kept. The client library takes 3 us to find one, and a tick counts some forty times."""
    child = _CHILDREN.get((metric, *labels))
    if child is None:
        child = _CHILDREN[metric, *labels] = metric.labels(*labels)
    found: _Metric = child
    return found


def begin(stage: str) -> None:
    """Let a stage's series exist from its first scrape: a rate needs the zero before the first count."""
    if stage == "gateway":
        GATEWAY_SNAPSHOTS.labels("start")
        GATEWAY_REFUSED.labels("token")
    if stage in _WITHOUT_ENTRIES:
        return
    for counter in (ENTRIES, COMMITTED, GONE, RECLAIMED, LOST, RETRIES, DEAD):
        counter.labels(stage)
    for histogram in (BATCH_SECONDS, BATCH_ENTRIES, LATENCY):
        histogram.labels(stage)
    for reason in _EXPECTED_ERRORS:
        ERRORS.labels(stage, reason)
    for outcome in _OUTCOMES.get(stage, ()):
        EVENTS.labels(stage, outcome)
    if stage in _REFUSED:
        SCRIPT_REFUSALS.labels(*_REFUSED[stage])


def observe_way(stage: str, oldest: str, origins: Iterable[bytes] = ()) -> float:
    """How far a batch has come: ``oldest`` is its first entry's id, ``origins`` name the input entries behind it.

    Answers the seconds since its oldest entry was appended. Ids are the server's time, so clocks must agree.
    """
    now_ms = time.time() * 1000
    latency_s = max(0.0, now_ms - int(oldest.partition("-")[0])) / 1000
    of(LATENCY, stage).observe(latency_s)
    began = [int(ms) for ms in (origin.partition(b"-")[0] for origin in origins) if ms.isdigit() and int(ms)]
    if began:
        of(TICK, stage).observe(max(0.0, now_ms - min(began)) / 1000)
    return latency_s


class ProviderDelay:
    """What an event took from the provider to us. Its clock and ours may differ, as a simulated session's always does:
    a least delay that cannot be one (below zero, or longer than a delayed plan's) is taken for the clocks' difference.
    """

    _PLAUSIBLE_MS = (-1_000, 20 * 60_000)

    def __init__(self, stage: str) -> None:
        self._histogram = PROVIDER_DELAY.labels(stage)
        self._least_ms: float | None = None

    def observe(self, received_ms: int, event_ms: int) -> None:
        delay_ms = received_ms - event_ms
        if self._least_ms is None or delay_ms < self._least_ms:
            self._least_ms = delay_ms
        low, high = self._PLAUSIBLE_MS
        apart_ms = 0 if low <= self._least_ms <= high else self._least_ms
        self._histogram.observe(max(0.0, delay_ms - apart_ms) / 1000)
