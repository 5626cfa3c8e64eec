"""calculate: reads massive:dirty:stream, makes tiles, greeks and GEX of panes.

``claim_pane.lua`` gives a pane's lease and the values that changed since this process last had it (all of them where it
had not); the models compute; ``commit_pane.lua`` stores what differs, marks the pane for publication and lets the lease
go. What a process remembers of a pane saves work and decides nothing: every claim says whether it is still true.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from walrus import Database

from pipeline.claim import blank_values, pane_values, take_values
from pipeline.entry import Entry, FieldError
from pipeline.epochs import Epochs
from pipeline.errors import Poison
from pipeline.keys import Keys
from pipeline.life import Life, run_stage
from pipeline.models.pane import PaneModel
from pipeline.scripts import Scripts
from pipeline.settings import Settings
from pipeline.tiles import compute, pack_tiles

_KEPT_PANES = 512


@dataclass(slots=True)
class Held:
    """What this process knows of a pane since its claim number ``claim``: values [6, 2, S], model, stored fields."""

    claim: int
    values: NDArray[np.float64]
    model: PaneModel | None = None
    stored: dict[str, bytes] | None = None


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
        held = self._held.get(place)
        reply = self.scripts.run(
            "claim_pane",
            {
                "stream": entry.stream, "lease": keys.lease(epoch_id, pane_name),
                "dirty": keys.dirty(epoch_id, pane_name), "tiles": keys.tiles(epoch_id, pane_name),
                "queued": keys.queued(epoch_id), "dirty_panes": keys.dirty_panes(epoch_id),
                "geometry": keys.geometry(epoch_id), "active": keys.epoch_active(symbol),
                "sequence": keys.sequence(symbol), "spot": keys.spot(symbol),
            },
            {
                "group": self.name, "consumer": consumer, "entry": entry.id, "symbol": symbol, "epoch": epoch_id,
                "pane": pane_name, "contract": keys.contract(epoch_id, ""), "cached": held.claim if held else "",
            },
        )
        if reply[0] != b"claimed":
            self._held.pop(place, None)
            return
        _, token, claim, seq, spot, whole, packed = reply
        epoch = self._epochs.get(epoch_id)
        if epoch is None:
            raise RuntimeError(f"the geometry of {epoch_id} is gone while it is active")
        pane = epoch.panes[pane_name]
        if whole or held is None:
            held = Held(claim, blank_values(pane))
        held.claim = claim
        dirty = take_values(pane, packed, held.values)
        self._keep(place, held)
        values = pane_values(held.values, spot, epoch.snapshot_ts, epoch.rate)
        tiles = compute(pane.geometry, values, held.model, dirty if held.model is not None else None)
        held.model, fields = tiles.model, pack_tiles(tiles)
        changed = fields if held.stored is None else {
            name: value for name, value in fields.items() if held.stored[name] != value
        }
        done = self.scripts.run(
            "commit_pane",
            {"stream": entry.stream, "tiles": keys.tiles(epoch_id, pane_name)},
            {
                "group": self.name, "entry": entry.id, "symbol": symbol, "epoch": epoch_id, "pane": pane_name,
                "token": token, "seq": seq, "ts": entry.text("ts"), "origin": entry.fields.get(b"origin", b""),
                "fields": [part for item in changed.items() for part in item],
                "names": {**keys.names(symbol, epoch_id), "analytics": keys.analytics(self.name, symbol)},
            },
        )
        if done >= 0:
            held.stored = fields
        else:
            self._held.pop(place, None)

    def _keep(self, place: tuple[str, str], held: Held) -> None:
        self._held[place] = held
        self._held.move_to_end(place)
        if len(self._held) > _KEPT_PANES:
            self._held.popitem(last=False)


def run(settings: Settings, database: Database, life: Life) -> None:
    run_stage(CalculateStage(settings, database), database, settings, life)
