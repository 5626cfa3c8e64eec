"""calculate: reads massive:dirty:stream, makes tiles, greeks and GEX of panes.

``claim_panes.lua`` gives leases and the values that changed since this process last had a pane (one that it never had,
or not lately, it reads first); the models compute; ``commit_panes.lua`` stores what differs, marks the panes for
publication and lets the leases go. What a process remembers of a pane saves work and decides nothing: every claim says
whether it is still true.

Tiles come first. A tick moves a few tiles, which cost little; forward, smile, greeks and GEX couple all contracts of a
pane and cost ten times as much. So a tick's entry computes the tiles alone and leaves the rest owed, to an entry of the
same stream whose reason is ``greeks``; that one waits until more ticks have come, and computes everything.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from walrus import Database

from pipeline.claim import CHUNK, pane_values, read_pane, take_values
from pipeline.entry import Entry, FieldError, due_in_s, since_ms
from pipeline.epochs import Epoch, Epochs
from pipeline.errors import Poison
from pipeline.geometry import Pane
from pipeline.keys import Keys
from pipeline.life import Life, run_stage
from pipeline.models.pane import PaneModel
from pipeline.scripts import Call, Scripts
from pipeline.settings import Settings
from pipeline.tiles import Claimed, compute, grid_patches, pack_grids, pack_tiles, retile

GREEKS = b"greeks"
"""The reason of an entry that computes everything of a pane."""
CLAIMED_AT_ONCE = 32
"""Panes of one call, where they have few values."""
CALL_BYTES = 256 * 1024
"""Committed in one call: about a millisecond of the server's time."""
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
    """What claim_panes.lua answers of a pane that is the caller's."""

    token: bytes
    number: int
    packed: bytes
    queued: bytes
    behind: int
    """1 where others have computed the pane since this process did: what it knows to be stored may not be."""

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
    held: Held | None = None

    @property
    def place(self) -> tuple[str, str]:
        return self.epoch_id, self.pane_name

    @property
    def purpose(self) -> str:
        """What of the pane is to be computed; see claim_panes.lua."""
        if self.entry.fields.get(b"reason") == GREEKS:
            return "greeks"
        return "all" if self.held is None or self.held.model is None else "tiles"

    @property
    def known(self) -> Held:
        """``held``, where the pane has been read."""
        if self.held is None:
            raise RuntimeError(f"{self.pane_name} of {self.epoch_id} is computed without having been read")
        return self.held


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
        """The panes of an epoch together: claimed in one call, computed, and committed in as few as short calls allow.
        So what is computed together is published together."""
        waiting = [self._job(entry) for entry in entries]
        while waiting:
            self._look_up(waiting)
            of_epoch: dict[tuple[str, str], list[_Job]] = {}
            for job in waiting:
                of_epoch.setdefault((job.symbol, job.epoch_id), []).append(job)
            waiting = [again for jobs in of_epoch.values() for again in self._turn(jobs, consumer)]

    def _look_up(self, jobs: Sequence["_Job"]) -> None:
        """Take what is known of panes from what is kept (what is half done when a step fails is not), and read the
        others. A second job of a pane goes without: it will find the pane held by the first, which takes its marks."""
        seen: set[tuple[str, str]] = set()
        for job in jobs:
            if job.held is None and job.pane is not None and job.place not in seen:
                job.held = self._held.pop(job.place, None)
                if job.held is None:
                    reading = read_pane(self.scripts, self.keys, job.epoch_id, job.pane)
                    job.held = Held(reading.claims, reading.values)
            seen.add(job.place)

    def _turn(self, jobs: Sequence["_Job"], consumer: str) -> list["_Job"]:
        """Claim, compute and commit panes of one epoch; those that must be claimed again."""
        seq, spot, *answers = self._claim(jobs[:CLAIMED_AT_ONCE], consumer)
        again = list(jobs[len(answers) :])
        claims: list[tuple[_Job, Claim]] = []
        for job, (word, *claim) in zip(jobs, answers, strict=False):
            if word == b"claimed":
                claims.append((job, Claim(*claim)))
            elif word == b"unknown":  # somebody else has claimed it since
                if job.pane is None:
                    raise RuntimeError(f"the geometry of {job.epoch_id} is gone while it is active")
                job.held = None
                again.append(job)
            elif job.held is not None and job.held.model is not None:
                # Nothing came of it: what was known is true.
                self._keep(job.place, job.held)
        calls = list(_short_calls(self._compute(claims, spot)))
        stored = self.scripts.run_all([self._commit_call(jobs[0], seq, part) for part in calls])
        for part, counts in zip(calls, stored, strict=True):
            for (job, _), changed in zip(part, counts, strict=True):
                if changed >= 0 and job.held is not None:
                    self._keep(job.place, job.held)
        return again

    def _job(self, entry: Entry) -> "_Job":
        try:
            symbol, epoch_id, pane = entry.text("symbol"), entry.text("epoch"), entry.text("pane")
            entry.integer("ts")
        except FieldError as error:
            raise Poison({entry.id: str(error)}) from error
        epoch = self._epochs.get(epoch_id)  # None: let go long ago, as the claim will say
        return _Job(entry, symbol, epoch_id, pane, epoch, epoch.panes[pane] if epoch else None)

    def _claim(self, jobs: Sequence["_Job"], consumer: str) -> list[Any]:
        keys, symbol, epoch = self.keys, jobs[0].symbol, jobs[0].epoch_id
        answer: list[Any] = self.scripts.run(
            "claim_panes",
            {
                "stream": jobs[0].entry.stream, "queued": keys.queued(epoch), "owed": keys.owed(epoch),
                "dirty_panes": keys.dirty_panes(epoch), "active": keys.epoch_active(symbol),
                "sequence": keys.sequence(symbol), "spot": keys.spot(symbol),
            },
            {
                "group": self.name, "consumer": consumer, "symbol": symbol, "epoch": epoch,
                "names": {**keys.registers(epoch), "lease": keys.lease(epoch, ""), "dirty": keys.dirty(epoch, ""),
                          "tiles": keys.tiles(epoch, "")},
                "jobs": [
                    {"entry": job.entry.id, "pane": job.pane_name, "purpose": job.purpose,
                     "cached": "" if job.held is None else str(job.held.claim), "since": str(since_ms(job.entry))}
                    for job in jobs
                ],
                "most": CHUNK,
            },
        )
        return answer

    def _compute(self, claims: Sequence[tuple["_Job", Claim]], spot: bytes) -> list[tuple["_Job", dict[str, Any]]]:
        """Compute claimed panes, all at once; what commit_panes.lua is told of each."""
        taken = [(job, claim, job.purpose == "tiles", self._take(job, claim, spot)) for job, claim in claims]
        retiled = iter(retile([pane for _, _, tiles_alone, pane in taken if tiles_alone]))
        computed = iter(compute([pane for _, _, tiles_alone, pane in taken if not tiles_alone]))
        told: list[tuple[_Job, dict[str, Any]]] = []
        for job, claim, tiles_alone, pane in taken:
            if tiles_alone:
                told.append((job, _told(job, claim, pane, next(retiled), None)))
            else:
                tiles = next(computed)
                told.append((job, _told(job, claim, pane, tiles.model, pack_tiles(tiles))))
        return told

    def _take(self, job: "_Job", claim: Claim, spot: bytes) -> Claimed:
        """Take the values of a claim."""
        held, epoch, pane = job.known, job.epoch, job.pane
        if epoch is None or pane is None:
            raise RuntimeError(f"the geometry of {job.epoch_id} is gone while {job.pane_name} is computed")
        held.claim = claim.number
        dirty = take_values(pane, claim.packed, held.values)
        values = pane_values(held.values, spot, epoch.snapshot_ts, epoch.rate)
        return Claimed(pane.geometry, values, held.model, None if held.model is None else dirty)

    def _commit_call(self, of: "_Job", seq: bytes, part: Sequence[tuple["_Job", dict[str, Any]]]) -> Call:
        """For panes of the epoch that ``of`` is of."""
        keys, symbol, epoch = self.keys, of.symbol, of.epoch_id
        return Call(
            "commit_panes",
            {"stream": of.entry.stream},
            {
                "group": self.name, "symbol": symbol, "epoch": epoch, "seq": seq,
                "names": {**keys.names(symbol, epoch), "analytics": keys.analytics(self.name, symbol)},
                "jobs": [told for _, told in part],
            },
        )

    def _keep(self, place: tuple[str, str], held: Held) -> None:
        self._held[place] = held
        self._held.move_to_end(place)
        if len(self._held) > _KEPT_PANES:
            self._held.popitem(last=False)


def _told(
    job: _Job, claim: Claim, pane: Claimed, model: PaneModel, fields: dict[str, bytes] | None
) -> dict[str, Any]:
    """What commit_panes.lua is told of a computed pane; ``fields`` None where its tiles alone were."""
    held, entry = job.known, job.entry
    rewritten = None
    if claim.behind:  # a value that is again what it was here may be another in what is stored
        held.fields = {}
        if pane.dirty is not None:
            rewritten = pane.geometry.legs.cells_of(pane.dirty)
    changed: list[str | bytes] = []
    if fields is not None:
        changed = [part for name, value in fields.items() if held.fields.get(name) != value for part in (name, value)]
        held.fields = fields
    ts, origin = entry.text("ts").encode(), entry.fields.get(b"origin", b"")
    tiles_ts, tiles_origin = (claim.first_mark or (ts, b"")) if job.purpose == "greeks" else (ts, origin)
    grids = pack_grids(model)
    whole, patches = (b"", grid_patches(held.grids, grids, rewritten)) if held.grids else (grids, [])
    held.model, held.grids = model, grids
    return {
        "entry": entry.id, "pane": job.pane_name, "token": claim.token, "ts": tiles_ts, "origin": tiles_origin,
        "greeks_ts": ts, "fields": changed, "whole": whole, "patches": patches, "owing": fields is None,
    }


def _short_calls(
    computed: Sequence[tuple[_Job, dict[str, Any]]],
) -> Iterator[Sequence[tuple[_Job, dict[str, Any]]]]:
    """In parts of at most CALL_BYTES, or of one pane."""
    part: list[tuple[_Job, dict[str, Any]]] = []
    size = 0
    for job, told in computed:
        cost = len(told["whole"]) + sum(map(len, told["fields"])) + sum(map(len, told["patches"]))
        if part and size + cost > CALL_BYTES:
            yield part
            part, size = [], 0
        part.append((job, told))
        size += cost
    if part:
        yield part


def run(settings: Settings, database: Database, life: Life) -> None:
    run_stage(CalculateStage(settings, database), database, settings, life)
