"""vexy: reads massive:model:stream, keeps the facts a commentator needs in vexy:intel:{symbol}.

Publications of an underlying are folded in the order of their stream (``pipeline.vexy``); ``vexy.lua`` stores the
state, the documents and the acknowledgement in one call, and refuses what was folded from a state that is no longer
true.
"""

from collections.abc import Sequence
from typing import Any

import orjson
from walrus import Database

from pipeline import vexy
from pipeline.entry import Entry, FieldError
from pipeline.epochs import Epochs
from pipeline.errors import Poison
from pipeline.folding import Folder, read_publication
from pipeline.keys import Keys
from pipeline.life import Life, run_stage
from pipeline.scripts import Scripts
from pipeline.settings import Settings

HISTORY_KEPT = 1_000
INTEL_TTL_S = 72 * 3600
"""As long as the models themselves."""


class VexyStage:
    name = "vexy"
    reclaim_idle_ms = 5000

    def __init__(self, settings: Settings, database: Database) -> None:
        self.keys = Keys(settings.layout, settings.namespace)
        self.scripts = Scripts(database)
        self._database = database
        self._symbols = settings.symbols
        self._epochs = Epochs(database, self.keys)
        self._folder = Folder("model")
        self._geometries: dict[str, tuple[str, vexy.Geometry]] = {}

    def streams(self) -> list[str]:
        return self.keys.streams("model", self._symbols)

    def commit(self, entries: Sequence[Entry], consumer: str) -> None:
        stream = entries[0].stream
        symbols = {
            symbol: self.keys.vexy_state(symbol)
            for symbol in self._symbols if self.keys.stream("model", symbol) == stream
        }
        some = next(iter(symbols))  # where underlyings share a stream they share the keys below too

        def run(ids: list[str], sections: list[dict[str, Any]]) -> list[Any]:
            sections = [{**section, "document": self.keys.vexy_intel(section["symbol"])} for section in sections]
            reply: list[Any] = self.scripts.run(
                "vexy",
                {"stream": stream, "history": self.keys.vexy_history(some),
                 "analytics": self.keys.analytics(self.name, some)},
                {"group": self.name, "consumer": consumer, "entries": ids, "kept": HISTORY_KEPT, "ttl_s": INTEL_TTL_S,
                 "sections": sections},
            )
            return reply

        self._folder.commit(entries, symbols, self._fold, run)

    def _fold(self, symbol: str, stored: bytes, entries: Sequence[Entry]) -> tuple[bytes, dict[str, Any]]:
        state, made = vexy.State.read(stored), []
        for entry in entries:
            try:
                seen = read_publication(self._database, entry, vexy.MODELS.__contains__)
            except FieldError as error:
                raise Poison({entry.id: str(error)}) from error
            if seen is None:
                continue
            geometry = self._geometry(symbol, seen.epoch) if seen.model == "heatmap" else None
            state, document = vexy.step(state, seen, geometry)
            if document is not None:
                made.append([str(document["ts"]), orjson.dumps(document)])
        return state.stored(), {"made": made}

    def _geometry(self, symbol: str, epoch_id: str) -> vexy.Geometry | None:
        """Strikes and widths of an epoch, which never change; None when its keys are gone."""
        known = self._geometries.get(symbol)
        if known is not None and known[0] == epoch_id:
            return known[1]
        epoch = self._epochs.get(epoch_id)
        if epoch is None:
            return None
        geometry = {
            name: (tuple(pane.geometry.strikes.tolist()), tuple(pane.geometry.widths.tolist()))
            for name, pane in epoch.panes.items()
        }
        self._geometries[symbol] = epoch_id, geometry
        return geometry


def run(settings: Settings, database: Database, life: Life) -> None:
    run_stage(VexyStage(settings, database), database, settings, life)
