"""exporter: what Redis alone knows of the pipeline, as Prometheus metrics, and the list of what Prometheus scrapes.

Everything is read when it is asked for: at /metrics the levels and counters below, at /discovery the live processes of
``massive:workers`` as an HTTP service-discovery document, so that scaling a stage changes no configuration. One
exporter a Redis is enough; several agree.
"""

import time
from collections.abc import Iterator, Mapping, Sequence

import orjson
from honcho.environ import parse_procfile
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError
from walrus import Database

from pipeline.keys import STREAM_NOUNS, Keys
from pipeline.life import Life
from pipeline.logs import get_log
from pipeline.settings import Settings
from pipeline.shipped import shipped
from pipeline.status import LIVE_MS, Status, live_workers, main_thread_s, read_status

DISCOVERY = "/discovery"
LISTED_MS = 30_000
"""It is scraped for longer, so that it is seen to be down before it is gone."""
_TURN_S = 0.5
SOURCES = ("chain", "ws", "spot", "hydrate", "calculate", "models", "vigil", "vexy", "keeper")
_LEVELS = frozenset({"queue_peak", "queue_bytes", "unread_frames", "subscribed", "failed_in_a_row"})
"""Numbers of the analytics that count nothing, beside the moments and the newest of something (``last_...``)."""


class RedisCollector(Collector):
    """Reads at every scrape. Where the server does not answer, ``marketswarm_redis_up`` is all there is to say."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._keys = Keys(settings.layout, settings.namespace)
        self._stages = list(parse_procfile(shipped("Procfile").read_text()).processes)

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering reads nothing."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        try:
            began = time.perf_counter()
            self._database.ping()
            ping_s = time.perf_counter() - began
            found = [*self._server(ping_s), *self._pipeline()]
        except (RedisError, OSError):
            yield _gauge("redis_up", "Whether Redis answers the exporter", 0)
            return
        yield _gauge("redis_up", "Whether Redis answers the exporter", 1)
        yield from found

    def _server(self, ping_s: float) -> Iterator[Metric]:
        info = self._database.info()
        yield _gauge("redis_ping_seconds", "How long a PING of the exporter took", ping_s)
        yield _gauge("redis_uptime_seconds", "Since the server started", info["uptime_in_seconds"])
        yield _gauge("redis_memory_bytes", "Memory that the server uses", info["used_memory"])
        yield _gauge("redis_memory_max_bytes", "Its maxmemory; 0: no limit", info.get("maxmemory", 0))
        yield _gauge("redis_memory_peak_bytes", "The most it ever used", info["used_memory_peak"])
        yield _gauge("redis_fragmentation", "Resident memory over used memory", info["mem_fragmentation_ratio"])
        yield _gauge("redis_keys", "Keys of the database", self._database.dbsize())
        yield _gauge("redis_clients", "Connections", info["connected_clients"])
        yield _gauge("redis_replicas", "Replicas that are connected", info.get("connected_slaves", 0))
        yield _gauge("redis_aof_enabled", "Whether the append-only file is on", info["aof_enabled"])
        healthy = info.get("aof_last_write_status", "ok") == info.get("aof_last_bgrewrite_status", "ok") == "ok"
        yield _gauge("redis_aof_ok", "Whether its last write and rewrite succeeded", healthy)
        yield _gauge("redis_aof_rewriting", "Whether it is being rewritten", info["aof_rewrite_in_progress"])
        yield _gauge("redis_aof_bytes", "Its size", info.get("aof_current_size", 0))
        yield _counter("redis_aof_delayed_fsyncs", "Writes that waited for the disk", info.get("aof_delayed_fsync", 0))
        yield _counter("redis_commands", "Commands", info["total_commands_processed"])
        yield _counter("redis_received_bytes", "Bytes it was sent", info["total_net_input_bytes"])
        yield _counter("redis_sent_bytes", "Bytes it sent", info["total_net_output_bytes"])
        yield _counter("redis_evicted_keys", "Keys it gave up for memory (must never happen)", info["evicted_keys"])
        yield _counter("redis_cpu_seconds", "CPU of its main thread, which runs every script", main_thread_s(info))

    def _pipeline(self) -> Iterator[Metric]:
        status = read_status(self._database, self._keys, self._settings.symbols)
        now_ms = _server_ms(self._database)
        yield from _stages(status)
        live = [record["stage"] for record in live_workers(self._database, self._keys, LIVE_MS).values()]
        yield _gauges("workers", "Processes that have registered lately", ["stage"],
                      {(stage,): live.count(stage) for stage in dict.fromkeys([*self._stages, *live])})
        yield from self._streams(list(status.models), now_ms)
        yield from _epochs(status)
        yield from self._dirty(status, now_ms)
        yield from _models(status)
        yield from self._analytics(list(status.models), now_ms)
        yield _gauge("dead_letters", "Entries that could not be done and wait for somebody", status.dead)

    def _streams(self, symbols: Sequence[str], now_ms: int) -> Iterator[Metric]:
        entries: dict[tuple[str, ...], float] = {}
        kept: dict[tuple[str, ...], float] = {}
        for noun in STREAM_NOUNS:
            streams = self._keys.streams(noun, tuple(symbols))
            entries[noun,] = sum(self._database.xlen(stream) for stream in streams)
            oldest = [row[0][0] for stream in streams if (row := self._database.xrange(stream, count=1))]
            kept[noun,] = max((now_ms - int(entry.partition(b"-")[0]) for entry in oldest), default=0) / 1000
        yield _gauges("stream_entries", "Entries a stream holds", ["stream"], entries)
        yield _gauges("stream_kept_seconds", "Age of the oldest entry it holds", ["stream"], kept)

    def _dirty(self, status: Status, now_ms: int) -> Iterator[Metric]:
        since: dict[tuple[str, ...], float] = {}
        for symbol, epoch in status.epochs.items():
            queued = self._database.hvals(self._keys.queued(epoch.epoch))
            ids = [ms for value in queued if (ms := value.partition(b"-")[0]).isdigit()]
            since[symbol,] = max((now_ms - int(ms) for ms in ids), default=0) / 1000
        yield _gauges("dirty_seconds", "How long its longest waiting pane has been queued", ["symbol"], since)

    def _analytics(self, symbols: Sequence[str], now_ms: int) -> Iterator[Metric]:
        counted: dict[tuple[str, str], int] = {}
        fields: dict[str, dict[str, str]] = {}
        for source in SOURCES:
            hashes = dict.fromkeys(self._keys.analytics(source, symbol) for symbol in ("", *symbols))
            found = fields.setdefault(source, {})
            for key in hashes:
                for name, value in self._database.hgetall(key).items():
                    field, text = name.decode(), value.decode(errors="replace")
                    head = field.partition(":")[0]
                    if text.lstrip("-").isdigit() and head not in _LEVELS and not head.startswith("last_"):
                        counted[source, field] = counted.get((source, field), 0) + int(text)
                    else:
                        found[field] = text
        analytics = CounterMetricFamily(
            "marketswarm_analytics", "What each source counts in Redis", labels=["source", "field"]
        )
        for labels, value in counted.items():
            analytics.add_metric(labels, value)
        yield analytics
        yield _counter("promotions", "Epochs promoted", counted.get(("chain", "promoted"), 0))
        yield _counter("refreshes", "Chains that refreshed their epoch", counted.get(("chain", "refreshed"), 0))
        yield _counter("drift_panes", "Audited panes that differed (must stay 0)", counted.get(("keeper", "drift"), 0))
        yield _counter("audited_panes", "Panes computed anew and compared", counted.get(("keeper", "audited"), 0))
        yield _counter("repairs", "What the keeper queued again (must stay 0)", counted.get(("keeper", "repairs"), 0))
        yield from _provider(fields, symbols, now_ms)


def _stages(status: Status) -> Iterator[Metric]:
    stages = status.stages.items()
    yield _gauges("stage_lag_entries", "Entries nobody has read", ["stage"], {(s,): of.lag for s, of in stages})
    yield _gauges("stage_pending_entries", "Entries read and not done", ["stage"],
                  {(s,): of.pending for s, of in stages})
    yield _gauges("stage_oldest_undelivered_seconds", "Age of the oldest entry nobody has read; 0: none", ["stage"],
                  {(s,): (of.undelivered_ms or 0) / 1000 for s, of in stages})
    yield _gauges("stage_oldest_pending_seconds", "Age of the oldest entry read and not done; 0: none", ["stage"],
                  {(s,): (of.pending_ms or 0) / 1000 for s, of in stages})
    yield _gauges("stage_consumers", "Consumers of the group", ["stage"], {(s,): of.consumers for s, of in stages})


def _epochs(status: Status) -> Iterator[Metric]:
    epochs = status.epochs.items()
    yield _gauges("epoch_age_seconds", "Since the epoch was made", ["symbol"],
                  {(s,): of.age_ms / 1000 for s, of in epochs})
    yield _gauges("epoch_contracts", "Its contracts", ["symbol"], {(s,): of.contracts for s, of in epochs})
    yield _gauges("epoch_panes", "Its panes", ["symbol"], {(s,): of.panes for s, of in epochs})
    yield _gauges("epoch_dormant", "Whether its feed fell silent", ["symbol"],
                  {(s,): of.state == "dormant" for s, of in epochs})
    yield _gauges("dirty_panes", "Panes marked or being computed", ["symbol"], {(s,): of.dirty for s, of in epochs})


def _models(status: Status) -> Iterator[Metric]:
    models = {(symbol, name): of for symbol, found in status.models.items() for name, of in found.items()}
    yield _gauges("model_age_seconds", "Since a model was published", ["symbol", "model"],
                  {labels: of.age_ms / 1000 for labels, of in models.items()})
    versions = CounterMetricFamily("marketswarm_model_versions", "Its publications", labels=["symbol", "model"])
    for labels, of in models.items():
        versions.add_metric(labels, of.version)
    yield versions


def _provider(fields: Mapping[str, Mapping[str, str]], symbols: Sequence[str], now_ms: int) -> Iterator[Metric]:
    """Where a feed or a chain has said nothing yet there is no series: nothing is known of its age."""

    def by_symbol(source: str, field: str) -> dict[tuple[str, ...], int]:
        told = fields[source]
        return {(s,): int(told[name]) for s in symbols if (name := f"{field}:{s}") in told}

    def age_s(source: str, field: str) -> dict[tuple[str, ...], float]:
        return {labels: max(0, now_ms - at) / 1000 for labels, at in by_symbol(source, field).items()}

    yield _gauges("feed_live", "Whether the source's connection is live", ["source"],
                  {(source,): fields[source].get("state") == "live" for source in ("ws", "spot")})
    yield _gauges("feed_silence_seconds", "Since the newest option frame", ["symbol"], age_s("ws", "last_frame_ms"))
    yield _gauges("feed_topics", "Topics subscribed", ["symbol"], by_symbol("ws", "subscribed"))
    yield _gauges("chain_age_seconds", "Since a whole chain was fetched", ["symbol"], age_s("chain", "last_ok_ms"))
    yield _gauges("chain_seconds", "How long its fetch took", ["symbol"],
                  {labels: ms / 1000 for labels, ms in by_symbol("chain", "last_latency_ms").items()})
    yield _gauges("chain_failed_in_a_row", "Fetches that failed since the last that did not", ["symbol"],
                  by_symbol("chain", "failed_in_a_row"))
    yield _gauge("market_open", "Whether the provider says that the market is open, or says nothing",
                 fields["chain"].get("market", "open") == "open")


def discovery(database: Database, keys: Keys) -> bytes:
    """The HTTP service-discovery document of Prometheus: one target a live process, ``role`` its stage."""
    found = sorted(
        (record["metrics"].partition("://")[2], record["stage"])
        for record in live_workers(database, keys, LISTED_MS).values() if record["metrics"]
    )
    return orjson.dumps([{"targets": [target], "labels": {"role": stage}} for target, stage in found])


def _server_ms(database: Database) -> int:
    seconds, micros = database.time()
    return int(seconds * 1000 + micros // 1000)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"marketswarm_{name}", what, value=float(value))


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(f"marketswarm_{name}", what, value=float(value))


def _gauges(
    name: str, what: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> Metric:
    family = GaugeMetricFamily(f"marketswarm_{name}", what, labels=labels)
    for of, value in values.items():
        family.add_metric(of, float(value))
    return family


def run(settings: Settings, database: Database, life: Life) -> None:
    collector = RedisCollector(settings, database)
    REGISTRY.register(collector)
    try:
        address = life.serve(DISCOVERY, lambda: discovery(database, life.keys))
        get_log(stage=life.stage).info("prometheus finds every worker here", discovery=address)
        life.unready("")
        while not life.stop.is_set():
            life.progress()
            life.stop.wait(_TURN_S)
    finally:
        REGISTRY.unregister(collector)
