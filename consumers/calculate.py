"""calculate: reads massive:dirty:stream, makes tiles, greeks and GEX of panes.

``claim_pane.lua`` gives a pane's lease and the values that changed since this process last had it (a process that never
had it, or not lately, reads it first); the models compute; ``commit_pane.lua`` stores what differs, marks the pane for
publication and lets the lease go. What a process remembers of a pane saves work and decides nothing: every claim says
whether it is still true.

Tiles come first. A tick moves a few tiles, which cost little; forward, smile, greeks and GEX couple all contracts of a
pane and cost ten times as much. So a tick's entry computes the tiles alone and leaves the rest owed, to an entry of the
same stream whose reason is ``greeks``; that one waits until more ticks have come, and computes everything.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from walrus import Database

from pipeline.claim import pane_values, read_pane, take_values
from pipeline.entry import Entry, FieldError, due_in_s, since_ms
from pipeline.epochs import Epoch, Epochs
from pipeline.errors import Poison
from pipeline.geometry import Pane
from pipeline.keys import Keys
from pipeline.life import Life, run_stage
from pipeline.models.pane import PaneModel
from pipeline.scripts import Call, Scripts
from pipeline.settings import Settings
from pipeline.tiles import compute, grid_patches, pack_grids, pack_tiles, retile

GREEKS = b"greeks"
"""The reason of an entry that computes everything of a pane."""
_KEPT_PANES = 512


@dataclass(slots=True)
class Held:
    """What this process knows of a pane since its claim number ``claim``: values [6, 2, S], and what it stored of them:
    the model, the tiles and the fields."""

    claim: int
    values: NDArray[np.float64]
    model: PaneModel | None = None
    grids: bytes = b""
    fields: dict[str, bytes] = field(default_factory=dict)


class Claim(NamedTuple):
    """What claim_pane.lua answers."""

    token: bytes
    number: int
    seq: bytes
    spot: bytes
    packed: bytes
    queued: bytes

    @property
    def first_mark(self) -> tuple[bytes, bytes] | None:
        """Time and entry of the oldest event that marked the pane; None where nothing has since the last claim."""
        if not self.queued:
            return None
        _, ts, origin, _ = self.queued.split(b"|")
        return ts, origin


@dataclass(slots=True)
class _Job:
    """One pane of a batch."""

    entry: Entry
    symbol: str
    epoch_id: str
    pane_name: str
    epoch: Epoch | None
    pane: Pane | None
    held: Held | None
    claim: Claim | None = None

    @property
    def purpose(self) -> str:
        """What of the pane is to be computed; see claim_pane.lua."""
        if self.entry.fields.get(b"reason") == GREEKS:
            return "greeks"
        return "all" if self.held is None or self.held.model is None else "tiles"


class CalculateStage:
    name = "calculate"
    reclaim_idle_ms = 1000

    def __init__(self, settings: Settings, database: Database) -> None:
        self.keys = Keys(settings.layout, settings.namespace)
        self.scripts = Scripts(database)
        self._settings = settings
        self._epochs = Epochs(database, self.keys)
        self._held: OrderedDict[tuple[str, str], Held] = OrderedDict()

    def streams(self) -> list[str]:
        return self.keys.streams("dirty", self._settings.symbols)

    def wait_s(self, entry: Entry) -> float:
        interval_s = self._settings.greeks_interval_s
        return due_in_s(entry, interval_s) if entry.fields.get(b"reason") == GREEKS else 0.0

    def commit(self, entries: Sequence[Entry], consumer: str) -> None:
        """All panes of a batch in one conversation: while the server claims one, another is computed."""
        waiting = [self._job(entry) for entry in entries]
        while waiting:
            for job in waiting:
                if job.held is None and job.pane is not None:
                    reading = read_pane(self.scripts, self.keys, job.epoch_id, job.pane)
                    job.held = Held(reading.claims, reading.values)
            with self.scripts.conversation() as server:
                for job in waiting:
                    server.send(self._claim(job, consumer))
                claimed: list[tuple[_Job, Call]] = []
                unknown: list[_Job] = []
                for job in waiting:
                    reply = server.reply()
                    if reply[0] == b"claimed":
                        job.claim = Claim(*reply[1:])
                        claimed.append((job, self._computed(job)))
                    elif reply[0] == b"unknown":  # somebody else has claimed it since
                        if job.pane is None:
                            raise RuntimeError(f"the geometry of {job.epoch_id} is gone while it is active")
                        job.held = None
                        unknown.append(job)
                    elif job.held is not None and job.held.model is not None:
                        # Nothing came of it: what was known is true.
                        self._keep((job.epoch_id, job.pane_name), job.held)
                for _, commit in claimed:  # at once: what is committed together is published together
                    server.send(commit)
                for job, _ in claimed:
                    if server.reply() >= 0 and job.held is not None:
                        self._keep((job.epoch_id, job.pane_name), job.held)
            waiting = unknown

    def _job(self, entry: Entry) -> "_Job":
        try:
            symbol, epoch_id, pane = entry.text("symbol"), entry.text("epoch"), entry.text("pane")
            entry.integer("ts")
        except FieldError as error:
            raise Poison({entry.id: str(error)}) from error
        epoch = self._epochs.get(epoch_id)  # None: let go long ago, as the claim will say
        # What is half done when a step fails is not remembered.
        held = self._held.pop((epoch_id, pane), None)
        return _Job(entry, symbol, epoch_id, pane, epoch, epoch.panes[pane] if epoch else None, held)

    def _claim(self, job: "_Job", consumer: str) -> Call:
        keys, epoch, pane = self.keys, job.epoch_id, job.pane_name
        return Call(
            "claim_pane",
            {
                "stream": job.entry.stream, "lease": keys.lease(epoch, pane), "dirty": keys.dirty(epoch, pane),
                "tiles": keys.tiles(epoch, pane), "queued": keys.queued(epoch),
                "dirty_panes": keys.dirty_panes(epoch), "active": keys.epoch_active(job.symbol),
                "sequence": keys.sequence(job.symbol), "spot": keys.spot(job.symbol), "owed": keys.owed(epoch),
            },
            {
                "group": self.name, "consumer": consumer, "entry": job.entry.id, "symbol": job.symbol, "epoch": epoch,
                "pane": pane, "registers": keys.registers(epoch),
                "cached": "" if job.held is None else job.held.claim, "purpose": job.purpose,
                "since": since_ms(job.entry),
            },
        )

    def _computed(self, job: "_Job") -> Call:
        """Compute a claimed pane; the call that commits it."""
        keys, claim, held, epoch, pane = self.keys, job.claim, job.held, job.epoch, job.pane
        if claim is None or held is None or epoch is None or pane is None:
            raise RuntimeError(f"{job.pane_name} of {job.epoch_id} is computed without having been claimed")
        entry, tiles_alone = job.entry, job.purpose == "tiles"
        held.claim = claim.number
        dirty = take_values(pane, claim.packed, held.values)
        values = pane_values(held.values, claim.spot, epoch.snapshot_ts, epoch.rate)
        changed: list[str | bytes] = []
        if tiles_alone and held.model is not None:
            held.model = retile(pane.geometry, values, held.model, dirty)
        else:
            tiles = compute(pane.geometry, values, held.model, dirty if held.model is not None else None)
            fields = pack_tiles(tiles)
            changed = [part for name, value in fields.items() if held.fields.get(name) != value
                       for part in (name, value)]
            held.model, held.fields = tiles.model, fields
        ts, origin = entry.text("ts").encode(), entry.fields.get(b"origin", b"")
        tiles_ts, tiles_origin = (claim.first_mark or (ts, b"")) if job.purpose == "greeks" else (ts, origin)
        grids = pack_grids(held.model)
        whole, patches = (b"", grid_patches(held.grids, grids)) if held.grids else (grids, [])
        held.grids = grids
        return Call(
            "commit_pane",
            {"stream": entry.stream, "tiles": keys.tiles(epoch.id, job.pane_name),
             "grids": keys.grids(epoch.id, job.pane_name)},
            {
                "group": self.name, "entry": entry.id, "symbol": job.symbol, "epoch": epoch.id, "pane": job.pane_name,
                "token": claim.token, "seq": claim.seq, "ts": tiles_ts, "origin": tiles_origin, "greeks_ts": ts,
                "fields": changed, "whole": whole, "patches": patches, "owing": int(tiles_alone),
                "names": {**keys.names(job.symbol, epoch.id), "analytics": keys.analytics(self.name, job.symbol)},
            },
        )

    def _keep(self, place: tuple[str, str], held: Held) -> None:
        self._held[place] = held
        self._held.move_to_end(place)
        if len(self._held) > _KEPT_PANES:
            self._held.popitem(last=False)


def run(settings: Settings, database: Database, life: Life) -> None:
    run_stage(CalculateStage(settings, database), database, settings, life)
