"""How the pipeline fares, read from Redis alone: how far each stage is behind, which epochs live, what is published."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from redis.exceptions import ResponseError
from walrus import Database

from pipeline.keys import Keys

STAGE_STREAMS = {
    "chain": ("chain_jobs",),
    "normalize": ("chain",),
    "hydrate": ("ws", "spot"),
    "calculate": ("dirty",),
    "models": ("diff",),
    "vigil": ("model", "epoch"),
    "vexy": ("model",),
}
"""The streams each stage reads; its consumer group has its name."""

MODELS = ("heatmap", "gex", "gex_calls", "gex_puts", "market_mode", "liquidity_intent", "dealer_gravity")
LIVE_MS = 10_000
"""A process that has not registered for so long is not counted as working."""
_COUNT_MAX = 1000  # entries counted one by one where the server has lost count after a trim: "at least so many"


@dataclass(frozen=True, slots=True)
class StageStatus:
    """``lag`` entries nobody has read, ``pending`` read and not done, the age of the oldest of both and of either, live
    consumers."""

    lag: int
    pending: int
    oldest_ms: int | None
    consumers: int
    undelivered_ms: int | None
    pending_ms: int | None


@dataclass(frozen=True, slots=True)
class EpochStatus:
    epoch: str
    state: str
    age_ms: int
    contracts: int
    panes: int
    dirty: int
    dormant: int
    forced: int
    ws_updates: int


@dataclass(frozen=True, slots=True)
class ModelStatus:
    version: int
    age_ms: int


@dataclass(frozen=True, slots=True)
class Status:
    stages: dict[str, StageStatus]
    epochs: dict[str, EpochStatus]
    """The active epoch of each symbol; one that is only staging where none is active."""
    models: dict[str, dict[str, ModelStatus]]
    dead: int
    drift: int

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


def read_status(database: Database, keys: Keys, symbols: Iterable[str]) -> Status:
    """Read everything. Ages are by the server's clock, which also made the ids of the entries."""
    seconds, micros = database.time()
    now_ms = seconds * 1000 + micros // 1000
    named = tuple(symbols)
    known = tuple(dict.fromkeys([*named, *_active_symbols(database, keys, named)]))
    epochs = {symbol: epoch for symbol in known if (epoch := _epoch(database, keys, symbol, now_ms))}
    return Status(
        stages={
            stage: _stage(database, stage, [key for noun in nouns for key in keys.streams(noun, known)], now_ms)
            for stage, nouns in STAGE_STREAMS.items()
        },
        epochs=epochs,
        models={symbol: _models(database, keys, symbol, now_ms) for symbol in known},
        dead=sum(database.xlen(key) for key in dead_streams(keys, known)),
        drift=sum(
            int(database.hget(key, "drift") or 0)
            for key in dict.fromkeys([keys.analytics("keeper"), *(keys.analytics("keeper", s) for s in known)])
        ),
    )


def dead_streams(keys: Keys, symbols: Iterable[str]) -> list[str]:
    """Every stream of dead letters: one, or in the tagged layout one an underlying."""
    return list(dict.fromkeys([keys.dead(), *(keys.dead_of(keys.stream("ws", symbol)) for symbol in symbols)]))


def live_workers(database: Database, keys: Keys, within_ms: int) -> dict[str, dict[str, Any]]:
    """What processes say of themselves, by consumer, of those that have said so within so long."""
    seconds, micros = database.time()
    now_ms = int(seconds * 1000 + micros // 1000)
    records = {name.decode(): orjson.loads(record) for name, record in database.hgetall(keys.workers()).items()}
    return {name: record for name, record in records.items() if now_ms - record["heartbeat"] <= within_ms}


def main_thread_s(cpu: Mapping[str, Any]) -> float:
    """CPU of Redis's main thread, which runs every script, from INFO; of all of it on a server that does not say."""
    return sum(float(cpu.get(f"used_cpu_{kind}_main_thread", cpu[f"used_cpu_{kind}"])) for kind in ("sys", "user"))


def _active_symbols(database: Database, keys: Keys, symbols: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for key in dict.fromkeys(keys.epoch_active(symbol) for symbol in symbols):
        found += sorted(name.decode() for name in database.hkeys(key))
    return found


def _stage(database: Database, stage: str, streams: list[str], now_ms: int) -> StageStatus:
    lag = pending = 0
    consumers: set[bytes] = set()
    undelivered: list[int] = []
    waiting: list[int] = []
    for stream in streams:
        try:
            group = next(group for group in database.xinfo_groups(stream) if group["name"] == stage.encode())
        except StopIteration:  # the stage was never started: all of it is still to be read
            group = {"pending": 0, "last-delivered-id": b"0-0", "lag": database.xlen(stream)}
        except ResponseError:  # no such stream yet
            continue
        else:
            consumers |= {row["name"] for row in database.xinfo_consumers(stream, stage)}
        after = b"(" + group["last-delivered-id"]
        unread = group.get("lag")
        lag += unread if unread is not None else len(database.xrange(stream, after, count=_COUNT_MAX))
        first = database.xrange(stream, after, count=1)
        undelivered += [_ms(first[0][0])] if first else []
        if group["pending"]:
            pending += group["pending"]
            summary = database.xpending(stream, stage)
            waiting += [_ms(summary["min"])] if summary["min"] else []

    def age(of: list[int]) -> int | None:
        return max(0, now_ms - min(of)) if of else None

    return StageStatus(lag, pending, age(undelivered + waiting), len(consumers), age(undelivered), age(waiting))


def _ms(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])


def _epoch(database: Database, keys: Keys, symbol: str, now_ms: int) -> EpochStatus | None:
    raw = database.hget(keys.epoch_active(symbol), symbol) or database.hget(keys.epoch_staging(symbol), symbol)
    if raw is None:
        return None
    epoch = raw.decode()
    meta = {name.decode(): value.decode() for name, value in database.hgetall(keys.epoch_meta(epoch)).items()}

    def number(*names: str) -> int:
        return int(float(next((meta[name] for name in names if name in meta), 0)))

    return EpochStatus(
        epoch, meta.get("state", "unknown"), max(0, now_ms - number("created_ts")),
        contracts=number("contracts"), panes=number("panes"), dirty=database.scard(keys.dirty_panes(epoch)),
        dormant=number("dormant_count"), forced=number("forced", "forced_dirty"), ws_updates=number("ws_updates"),
    )


def _models(database: Database, keys: Keys, symbol: str, now_ms: int) -> dict[str, ModelStatus]:
    fields = database.hgetall(keys.models_state(symbol))
    found = {}
    for model in MODELS:
        version, ts = fields.get(f"{model}:version".encode()), fields.get(f"{model}:ts".encode())
        if version is not None:
            found[model] = ModelStatus(int(version), max(0, now_ms - int(ts or 0)))
    return found
