"""Prometheus metrics of a worker. Counters count, gauges say a level, and no label grows without bound."""

from prometheus_client import Counter, Histogram

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
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
    "marketswarm_latency_seconds", "Wall time from the receipt of an entry to its commit", ["stage"], buckets=_SECONDS
)
