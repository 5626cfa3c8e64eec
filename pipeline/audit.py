"""The keeper's look at the whole: proof that incremental equals full (G6)."""

from dataclasses import dataclass

from pipeline.claim import pane_values, read_pane
from pipeline.epochs import Epoch
from pipeline.errors import NotYet
from pipeline.keys import Keys
from pipeline.scripts import Scripts
from pipeline.tiles import Claimed, compute, pack_grids, pack_tiles


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
        tiles = compute([Claimed(pane.geometry, values)])[0]
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
            "spot": keys.spot(epoch.symbol), "owed": keys.owed(epoch.id),
        },
        {"pane": pane},
    )
    return _Stored(bool(quiet), claims, spot, grids, dict(zip(flat[::2], flat[1::2], strict=True)))
