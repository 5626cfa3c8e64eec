"""What the stages do just now: two readings of the workers' metrics and of Redis, and what lies between them.

Workers are found in ``massive:workers``; each is asked at its own ``/metrics``. How many processes a stage needs
follows from the entries that come, the time each takes and what waits.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import ResponseError
from walrus import Database

from pipeline.keys import Keys
from pipeline.status import LIVE_MS, STAGE_STREAMS, Status, live_workers, main_thread_s, read_status

BUSY = 0.7
"""A process that is busy for a greater part of its time lets entries wait whenever they come unevenly."""
FULL = 0.9
"""Of Redis's one thread: beyond it more consumers only wait for each other."""
_PATIENCE_S = 2.0
_ASKED = tuple(
    f"marketswarm_{name}" for name in (
        "entries_committed_total", "batch_seconds_sum", "latency_seconds_bucket", "tick_seconds_bucket",
        "errors_total", "events_total",
    )
)
Series = Mapping[tuple[str, str], float]
"""By metric and by its one label besides the stage: ``le`` of a bucket, ``outcome``, ``reason``, or ''."""


@dataclass(frozen=True, slots=True)
class Reading:
    """``workers``: what each says, by stage and consumer; None of one that did not answer. ``arrived``: entries ever
    added to a stage's streams. ``busy_s``: CPU of Redis's main thread."""

    at: float
    status: Status
    workers: Mapping[tuple[str, str], Series | None]
    arrived: Mapping[str, int]
    busy_s: float


TURN_TAKERS = frozenset({"models"})


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage did between two readings. ``service_s``: busy time an entry; ``busy``: part of its processes' time.

    A value is None where nothing was done, or nobody answered, that would say it.
    """

    stage: str
    processes: int
    arrived_per_s: float | None
    done_per_s: float
    lag: int
    oldest_ms: int | None
    errors_per_s: float
    service_s: float | None = None
    busy: float | None = None
    latency_p50_s: float | None = None
    latency_p99_s: float | None = None
    tick_p50_s: float | None = None
    tick_p99_s: float | None = None

    def needed(self, within_s: float) -> int | None:
        """Processes that keep up with what comes and do what waits ``within_s`` besides; None where it is not known.

        One of TURN_TAKERS: two take turns at an underlying and read back what the other published, which takes longer.
        """
        if self.service_s is None or self.arrived_per_s is None:
            return None
        if self.stage in TURN_TAKERS:
            return 1
        load = (self.arrived_per_s + self.lag / within_s) * self.service_s
        return max(1, math.ceil(round(load / BUSY, 9)))


@dataclass(frozen=True, slots=True)
class Works:
    """``redis_busy``: the part of the time in which Redis's one thread worked."""

    stages: Mapping[str, Work]
    events_per_s: Mapping[str, float]
    redis_busy: float
    silent: tuple[str, ...] = field(default=())
    """Workers that did not answer."""


def read(database: Database, keys: Keys, symbols: Iterable[str]) -> Reading:
    """Ask Redis, and every live worker. Raises RedisError."""
    named = tuple(symbols)
    busy_s = main_thread_s(database.info("cpu"))
    status = read_status(database, keys, named)
    arrived = {
        stage: sum(_added(database, key) for noun in nouns for key in keys.streams(noun, named))
        for stage, nouns in STAGE_STREAMS.items()
    }
    live = {
        (record["stage"], consumer): record["metrics"]
        for consumer, record in live_workers(database, keys, LIVE_MS).items() if record["metrics"]
    }
    with httpx.Client(timeout=_PATIENCE_S, trust_env=False) as client, ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda address: _scrape(client, address), live.values())
        workers = dict(zip(live, answers, strict=True))
    return Reading(time.monotonic(), status, workers, arrived, busy_s)


def _added(database: Database, stream: str) -> int:
    try:
        return int(database.xinfo_stream(stream)["entries-added"])
    except ResponseError:
        return 0  # no such stream yet


def _scrape(client: httpx.Client, address: str) -> Series | None:
    try:
        answer = client.get(f"{address}/metrics")
        answer.raise_for_status()
    except httpx.HTTPError:
        return None
    text = "\n".join(line for line in answer.text.splitlines() if line.startswith(_ASKED))
    return {
        (sample.name.removeprefix("marketswarm_"), next(
            (sample.labels[label] for label in ("le", "outcome", "reason") if label in sample.labels), ""
        )): sample.value
        for family in text_string_to_metric_families(text + "\n") for sample in family.samples
    }


def between(before: Reading, after: Reading) -> Works:
    """What was done from the one to the other."""
    took_s = max(1e-3, after.at - before.at)
    grown: dict[str, Counter[tuple[str, str]]] = {}
    processes: Counter[str] = Counter()
    silent = []
    for (stage, consumer), series in after.workers.items():
        processes[stage] += 1
        if series is None:
            silent.append(consumer)
            continue
        was = before.workers.get((stage, consumer)) or {}
        of = grown.setdefault(stage, Counter())
        for name, value in series.items():
            of[name] += value - was.get(name, 0.0)  # type: ignore[assignment]
    works = {}
    for stage in dict.fromkeys([*STAGE_STREAMS, *processes]):
        status = after.status.stages.get(stage)
        arrived = after.arrived[stage] - before.arrived.get(stage, 0) if stage in after.arrived else None
        works[stage] = _work(
            stage, processes[stage], grown.get(stage, Counter()), took_s,
            None if arrived is None else max(0, arrived) / took_s,
            status.lag if status else 0, status.oldest_ms if status else None,
        )
    events = grown.get("hydrate", Counter())
    return Works(
        works, {label: count / took_s for (name, label), count in events.items() if name == "events_total"},
        min(1.0, max(0.0, after.busy_s - before.busy_s) / took_s), tuple(silent),
    )


def _work(
    stage: str, processes: int, grown: Mapping[tuple[str, str], float], took_s: float, arrived_per_s: float | None,
    lag: int, oldest_ms: int | None,
) -> Work:
    done, spent_s = grown.get(("entries_committed_total", ""), 0.0), grown.get(("batch_seconds_sum", ""), 0.0)
    errors = sum(count for (name, _), count in grown.items() if name == "errors_total")
    return Work(
        stage, processes, arrived_per_s, done / took_s, lag, oldest_ms, errors / took_s,
        service_s=spent_s / done if done else None,
        busy=min(1.0, spent_s / took_s / processes) if processes and grown else None,
        latency_p50_s=quantile(grown, "latency_seconds_bucket", 0.5),
        latency_p99_s=quantile(grown, "latency_seconds_bucket", 0.99),
        tick_p50_s=quantile(grown, "tick_seconds_bucket", 0.5),
        tick_p99_s=quantile(grown, "tick_seconds_bucket", 0.99),
    )


def quantile(series: Mapping[tuple[str, str], float], name: str, part: float) -> float | None:
    """Of a histogram's buckets, by straight lines within them, as Prometheus does; None of an empty one."""
    buckets = sorted((float(le), count) for (of, le), count in series.items() if of == name)
    if not buckets or buckets[-1][1] <= 0:
        return None
    wanted, low, below = part * buckets[-1][1], 0.0, 0.0
    for high, count in buckets:
        if count >= wanted:
            if math.isinf(high):
                return low  # longer than the greatest bound: that much is known
            return low + (high - low) * (wanted - below) / (count - below) if count > below else high
        low, below = high, count
    return low
