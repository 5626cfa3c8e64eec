"""A base frame: the hydrated state of an underlying at a commit, kept now and then, so that a replay begins anywhere.

What it holds of each contract is at one commit, but not at the same for all: contracts are read in bounded calls while
ticks go on. Commits from the oldest of them on, applied again, lead to the state of the newest: newest wins.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgpack
from walrus import Database

from pipeline import registers
from pipeline.epochs import Epoch
from pipeline.keys import Keys
from pipeline.scripts import Scripts
from pipeline.settings import Settings

RECORDED_SETTINGS = ("scope", "scope_days", "scope_strikes", "rate")
"""Settings that decide what a chain becomes; ``widths`` of the symbol is kept with them."""
_CHUNK = 500
"""Whole contracts read in one call: about a millisecond of the server's time."""
_SPARE_S = 60


@dataclass(frozen=True, slots=True)
class BaseFrame:
    """``registers`` by pane, kind and ticker. ``seqs`` names the commit each contract was read at, ``seq`` that of
    everything else; ``ts`` is wall time, ms."""

    epoch: str
    ts: int
    seq: int
    spot: bytes | None
    trail: list[bytes]
    clock: dict[bytes, bytes]
    meta: dict[bytes, bytes]
    geometry: dict[bytes, bytes]
    registers: dict[str, dict[str, dict[str, str]]]
    seqs: dict[str, int]
    settings: dict[str, Any]

    @property
    def oldest_seq(self) -> int:
        """Every commit up to this one is in the frame."""
        return min([self.seq, *self.seqs.values()])

    @property
    def newest_seq(self) -> int:
        """From this commit on the state is exactly what it was."""
        return max([self.seq, *self.seqs.values()])


def recorded_settings(settings: Settings, symbol: str) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in RECORDED_SETTINGS} | {"widths": list(settings.widths_of(symbol))}


def store_frame(
    database: Database, scripts: Scripts, keys: Keys, epoch: Epoch, settings: Settings, now_ms: int
) -> int:
    """Store a base frame of the active epoch; how many contracts it has. 0: another epoch is on its way, and a frame of
    the two would be of neither."""
    symbol = epoch.symbol
    with database.pipeline(transaction=True) as pipeline:
        pipeline.get(keys.sequence(symbol))
        pipeline.get(keys.spot(symbol))
        pipeline.zrange(keys.spot_trail(symbol), 0, -1)
        pipeline.hgetall(keys.clock(symbol))
        pipeline.hgetall(keys.epoch_meta(epoch.id))
        pipeline.hgetall(keys.geometry(epoch.id))
        _ask_epochs(pipeline, keys, symbol)
        seq, spot, trail, clock, meta, geometry, *epochs = pipeline.execute()
    parts, contracts = [], 0
    for pane, tickers in _chunks(epoch):
        at, packed = scripts.run(
            "read_contracts", {"sequence": keys.sequence(symbol)},
            {"registers": keys.registers(epoch.id), "pane": pane, "tickers": tickers},
        )
        parts.append([int(at), pane, tickers, packed])
        contracts += len(tickers)
    with database.pipeline(transaction=True) as pipeline:
        _ask_epochs(pipeline, keys, symbol)
        epochs += pipeline.execute()
    if epochs != [epoch.id.encode(), None] * 2:
        return 0
    frame = msgpack.packb({
        "epoch": epoch.id, "ts": now_ms, "seq": int(seq or 0), "spot": spot, "trail": trail, "clock": clock,
        "meta": meta, "geometry": geometry, "parts": parts, "settings": recorded_settings(settings, symbol),
    })
    kept_s = int(settings.retention_s + 2 * settings.snapshot_interval_s) + _SPARE_S
    with database.pipeline(transaction=True) as pipeline:
        pipeline.set(keys.snapshot(symbol, now_ms), zlib.compress(frame, 1), ex=kept_s)
        pipeline.zadd(keys.snapshots(symbol), {str(now_ms): now_ms})
        pipeline.zremrangebyscore(keys.snapshots(symbol), "-inf", now_ms - kept_s * 1000)
        pipeline.expire(keys.snapshots(symbol), kept_s)
        pipeline.execute()
    return contracts


def _ask_epochs(pipeline: Any, keys: Keys, symbol: str) -> None:
    pipeline.hget(keys.epoch_active(symbol), symbol)
    pipeline.hget(keys.epoch_staging(symbol), symbol)


def frame_times(database: Database, keys: Keys, symbol: str) -> list[int]:
    """When base frames were taken, ms, ascending."""
    return [int(member) for member in database.zrange(keys.snapshots(symbol), 0, -1)]


def stored_frame(database: Database, keys: Keys, symbol: str, at_ms: int) -> bytes | None:
    """The newest base frame taken up to ``at_ms``, as it is stored."""
    for taken in reversed([taken for taken in frame_times(database, keys, symbol) if taken <= at_ms]):
        stored: bytes | None = database.get(keys.snapshot(symbol, taken))
        if stored is not None:
            return stored
    return None


def unpack_frame(stored: bytes) -> BaseFrame:
    """Raises ValueError (or zlib.error) for what is no base frame."""
    frame: dict[str, Any] = msgpack.unpackb(zlib.decompress(stored), strict_map_key=False)
    worth: dict[str, dict[str, dict[str, str]]] = {}
    seqs: dict[str, int] = {}
    for seq, pane, tickers, packed in frame.pop("parts"):
        seqs |= dict.fromkeys(tickers, seq)
        for kind, held in msgpack.unpackb(packed).items():
            of_kind = worth.setdefault(pane, {}).setdefault(kind, {})
            of_kind.update((ticker, text) for ticker, text in zip(tickers, held, strict=True) if text is not False)
    return BaseFrame(**frame, registers=worth, seqs=seqs)


def load_frame(database: Database, keys: Keys, symbol: str, frame: BaseFrame) -> None:
    """Write a base frame as the state of an empty namespace."""
    epoch = frame.epoch
    pipeline = database.pipeline(transaction=False)
    pipeline.hset(keys.epoch_active(symbol), symbol, epoch)
    # Every pane is computed anew, and counted when it is.
    pipeline.hset(keys.epoch_meta(epoch), mapping={**frame.meta, b"computed": b"0"})
    pipeline.hset(keys.geometry(epoch), mapping=frame.geometry)
    pipeline.set(keys.sequence(symbol), frame.oldest_seq)
    if frame.spot is not None:
        pipeline.set(keys.spot(symbol), frame.spot)
    if frame.trail:
        pipeline.zadd(keys.spot_trail(symbol), {member: int(member.split(b":")[0]) for member in frame.trail})
    if frame.clock:
        pipeline.hset(keys.clock(symbol), mapping=frame.clock)
    for pane, kinds in frame.registers.items():
        for kind, held in kinds.items():
            legend = registers.legends()[kind]
            pipeline.hset(keys.registers(epoch, pane)[kind], mapping={registers.LEGEND: legend, **held})
    pipeline.execute()


def _chunks(epoch: Epoch) -> Iterator[tuple[str, list[str]]]:
    """Some tickers of a pane at a time."""
    for name, pane in epoch.panes.items():
        tickers = list(pane.places)
        for first in range(0, len(tickers), _CHUNK):
            yield name, tickers[first : first + _CHUNK]
