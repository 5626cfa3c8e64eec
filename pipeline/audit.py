"""The keeper's look at the whole: a base frame of the hydrated state, and proof that incremental equals full (G6)."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgpack
from walrus import Database

from pipeline.claim import pane_values, read_pane
from pipeline.epochs import Epoch
from pipeline.errors import NotYet
from pipeline.keys import Keys
from pipeline.scripts import Scripts
from pipeline.tiles import compute, pack_grids, pack_tiles

SNAPSHOT_TTL_S = 86_400
_CHUNK = 100
"""Whole contracts read in one call: about a millisecond of the server's time."""


@dataclass(frozen=True, slots=True)
class Audit:
    """``checked`` panes were quiet and computed anew; ``drifted`` names those whose stored tiles are other bytes."""

    checked: int
    drifted: tuple[str, ...]


def audit_epoch(scripts: Scripts, keys: Keys, epoch: Epoch) -> Audit:
    """Compute every quiet pane from its contracts and compare with what the stages have stored, byte for byte."""
    checked, drifted = 0, []
    for name, pane in epoch.panes.items():
        before = _stored(scripts, keys, epoch, name)
        if not before.quiet:
            continue
        try:
            reading = read_pane(scripts, keys, epoch.id, pane)
        except NotYet:
            continue
        after = _stored(scripts, keys, epoch, name)
        if not after.quiet or not before.claims == reading.claims == after.claims:
            continue
        values = pane_values(reading.values, after.spot, epoch.snapshot_ts, epoch.rate)
        tiles = compute(pane.geometry, values)
        checked += 1
        if pack_grids(tiles.model) != after.grids or any(
            after.tiles.get(field.encode()) != value for field, value in pack_tiles(tiles).items()
        ):
            drifted.append(name)
    return Audit(checked, tuple(drifted))


@dataclass(frozen=True, slots=True)
class _Stored:
    """What was computed of a pane; nothing is marked or being computed while it is ``quiet``."""

    quiet: bool
    claims: int
    spot: bytes
    grids: bytes
    tiles: dict[bytes, bytes]


def _stored(scripts: Scripts, keys: Keys, epoch: Epoch, pane: str) -> _Stored:
    quiet, claims, spot, grids, flat = scripts.run(
        "audit_pane",
        {
            "lease": keys.lease(epoch.id, pane), "dirty": keys.dirty(epoch.id, pane),
            "tiles": keys.tiles(epoch.id, pane), "grids": keys.grids(epoch.id, pane),
            "spot": keys.spot(epoch.symbol),
        },
        {},
    )
    return _Stored(bool(quiet), claims, spot, grids, dict(zip(flat[::2], flat[1::2], strict=True)))


def store_snapshot(database: Database, scripts: Scripts, keys: Keys, epoch: Epoch, now_ms: int) -> int:
    """Store the base frame of an epoch; how many contracts it has. Each part names the commit it was read at."""
    parts, contracts = [], 0
    for tickers in _chunks(epoch):
        seq, packed = scripts.run(
            "read_contracts", {"sequence": keys.sequence(epoch.symbol)},
            {"contract": keys.contract(epoch.id, ""), "tickers": tickers},
        )
        parts.append([int(seq), packed])
        contracts += len(tickers)
    spot = database.get(keys.spot(epoch.symbol))
    frame = msgpack.packb({"epoch": epoch.id, "ts": now_ms, "spot": spot, "parts": parts})
    database.set(keys.snapshot(epoch.symbol), zlib.compress(frame, 1), ex=SNAPSHOT_TTL_S)
    return contracts


def read_snapshot(database: Database, keys: Keys, symbol: str) -> dict[str, Any] | None:
    """The last base frame: epoch, ts, spot (bytes or None), contracts {ticker: {field: value}} and seqs by ticker."""
    stored = database.get(keys.snapshot(symbol))
    if stored is None:
        return None
    frame: dict[str, Any] = msgpack.unpackb(zlib.decompress(stored))
    contracts: dict[str, dict[str, str]] = {}
    seqs: dict[str, int] = {}
    for seq, packed in frame.pop("parts"):
        flat = msgpack.unpackb(packed)
        for ticker, fields in zip(flat[::2], flat[1::2], strict=True):
            contracts[ticker] = dict(zip(fields[::2], fields[1::2], strict=True))
            seqs[ticker] = seq
    return {**frame, "contracts": contracts, "seqs": seqs}


def _chunks(epoch: Epoch) -> Iterator[list[str]]:
    tickers = [ticker for pane in epoch.panes.values() for ticker in pane.places]
    for first in range(0, len(tickers), _CHUNK):
        yield tickers[first : first + _CHUNK]
