"""calculate: reads massive:dirty:stream, makes tiles, greeks and GEX of panes.

``claim_pane.lua`` gives a pane's lease and the values that changed since this process last had it (a process that never
had it, or not lately, reads it first); the models compute; ``commit_pane.lua`` stores what differs, marks the pane for
publication and lets the lease go. What a process remembers of a pane saves work and decides nothing: every claim says
whether it is still true.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from walrus import Database

from pipeline.claim import pane_values, read_pane, take_values
from pipeline.entry import Entry, FieldError
from pipeline.epochs import Epochs
from pipeline.errors import Poison
from pipeline.keys import Keys
from pipeline.life import Life, run_stage
from pipeline.models.pane import PaneModel
from pipeline.scripts import Scripts
from pipeline.settings import Settings
from pipeline.tiles import compute, grid_patches, pack_grids, pack_tiles

_KEPT_PANES = 512
_UNKNOWN = b"unknown"


@dataclass(slots=True)
class Held:
    """What this process knows of a pane since its claim number ``claim``: values [6, 2, S], and of what it stored the
    model, the tiles and the fields."""

    claim: int
    values: NDArray[np.float64]
    model: PaneModel | None = None
    grids: bytes = b""
    fields: dict[str, bytes] = field(default_factory=dict)


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

    def commit(self, entries: Sequence[Entry], consumer: str) -> None:
        for entry in entries:
            try:
                symbol, epoch, pane = entry.text("symbol"), entry.text("epoch"), entry.text("pane")
                entry.integer("ts")
            except FieldError as error:
                raise Poison({entry.id: str(error)}) from error
            self._compute(entry, consumer, symbol, epoch, pane)

    def _compute(self, entry: Entry, consumer: str, symbol: str, epoch_id: str, pane_name: str) -> None:
        keys, place = self.keys, (epoch_id, pane_name)
        epoch = self._epochs.get(epoch_id)
        if epoch is None:  # let go long ago: the claim says so, and acknowledges
            if self._claim(entry, consumer, symbol, epoch_id, pane_name, None)[0] == _UNKNOWN:
                raise RuntimeError(f"the geometry of {epoch_id} is gone while it is active")
            return
        pane = epoch.panes[pane_name]
        held = self._held.pop(place, None)  # what is half done when a step fails is not remembered
        reply: list[Any] = [_UNKNOWN]
        while reply[0] == _UNKNOWN:
            if held is None:
                reading = read_pane(self.scripts, keys, epoch_id, pane)
                held = Held(reading.claims, reading.values)
            reply = self._claim(entry, consumer, symbol, epoch_id, pane_name, held)
            if reply[0] == _UNKNOWN:
                held = None  # somebody else has claimed it since
        if reply[0] != b"claimed" or held is None:
            return
        _, token, held.claim, seq, spot, packed = reply
        dirty = take_values(pane, packed, held.values)
        values = pane_values(held.values, spot, epoch.snapshot_ts, epoch.rate)
        tiles = compute(pane.geometry, values, held.model, dirty if held.model is not None else None)
        held.model, grids, fields = tiles.model, pack_grids(tiles.model), pack_tiles(tiles)
        done = self.scripts.run(
            "commit_pane",
            {"stream": entry.stream, "tiles": keys.tiles(epoch_id, pane_name),
             "grids": keys.grids(epoch_id, pane_name)},
            {
                "group": self.name, "entry": entry.id, "symbol": symbol, "epoch": epoch_id, "pane": pane_name,
                "token": token, "seq": seq, "ts": entry.text("ts"), "origin": entry.fields.get(b"origin", b""),
                "fields": [
                    part for name, value in fields.items() if held.fields.get(name) != value for part in (name, value)
                ],
                "names": {**keys.names(symbol, epoch_id), "analytics": keys.analytics(self.name, symbol)},
                "whole": b"" if held.grids else grids,
                "patches": grid_patches(held.grids, grids) if held.grids else [],
            },
        )
        if done >= 0:
            held.grids, held.fields = grids, fields
            self._keep(place, held)

    def _claim(
        self, entry: Entry, consumer: str, symbol: str, epoch_id: str, pane: str, held: Held | None
    ) -> list[Any]:
        keys = self.keys
        reply: list[Any] = self.scripts.run(
            "claim_pane",
            {
                "stream": entry.stream, "lease": keys.lease(epoch_id, pane), "dirty": keys.dirty(epoch_id, pane),
                "tiles": keys.tiles(epoch_id, pane), "queued": keys.queued(epoch_id),
                "dirty_panes": keys.dirty_panes(epoch_id), "active": keys.epoch_active(symbol),
                "sequence": keys.sequence(symbol), "spot": keys.spot(symbol),
            },
            {
                "group": self.name, "consumer": consumer, "entry": entry.id, "symbol": symbol, "epoch": epoch_id,
                "pane": pane, "contract": keys.contract(epoch_id, ""), "cached": "" if held is None else held.claim,
            },
        )
        return reply

    def _keep(self, place: tuple[str, str], held: Held) -> None:
        self._held[place] = held
        self._held.move_to_end(place)
        if len(self._held) > _KEPT_PANES:
            self._held.popitem(last=False)


def run(settings: Settings, database: Database, life: Life) -> None:
    run_stage(CalculateStage(settings, database), database, settings, life)
