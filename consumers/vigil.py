"""vigil: reads massive:model:stream and massive:epoch:stream, tells market events on vigil:events, each once.

Publications of an underlying are folded in the order of their stream (``pipeline.vigil``); ``vigil.lua`` stores the
state, the events and the acknowledgement in one call, and refuses what was folded from a state that is no longer true.
The two streams fold into two parts of the state, so that how they interleave changes nothing.
"""

from collections.abc import Sequence
from typing import Any

from walrus import Database

from pipeline import vigil
from pipeline.entry import Entry, FieldError
from pipeline.errors import Poison
from pipeline.folding import Folder, read_publication
from pipeline.keys import Keys
from pipeline.life import Life, run_stage
from pipeline.scripts import Scripts
from pipeline.settings import Settings

EVENTS_KEPT = 10_000


class VigilStage:
    name = "vigil"
    reclaim_idle_ms = 5000

    def __init__(self, settings: Settings, database: Database) -> None:
        self.keys = Keys(settings.layout, settings.namespace)
        self.scripts = Scripts(database)
        self._database = database
        self._symbols = settings.symbols
        self._models, self._epochs = Folder("model"), Folder("epoch")
        self._model_streams = set(self.keys.streams("model", settings.symbols))

    def streams(self) -> list[str]:
        return self.keys.streams("model", self._symbols) + self.keys.streams("epoch", self._symbols)

    def commit(self, entries: Sequence[Entry], consumer: str) -> None:
        stream = entries[0].stream
        of_models = stream in self._model_streams
        noun = "model" if of_models else "epoch"
        symbols = {
            symbol: self.keys.vigil_state(symbol)
            for symbol in self._symbols if self.keys.stream(noun, symbol) == stream
        }
        some = next(iter(symbols))  # where underlyings share a stream they share the keys below too

        def run(ids: list[str], sections: list[dict[str, Any]]) -> list[Any]:
            reply: list[Any] = self.scripts.run(
                "vigil",
                {"stream": stream, "events": self.keys.vigil_events(some),
                 "analytics": self.keys.analytics(self.name, some)},
                {"group": self.name, "consumer": consumer, "entries": ids, "sections": sections, "kept": EVENTS_KEPT},
            )
            return reply

        if of_models:
            self._models.commit(entries, symbols, self._fold_models, run)
        else:
            self._epochs.commit(entries, symbols, _fold_epochs, run)

    def _fold_models(self, symbol: str, stored: bytes, entries: Sequence[Entry]) -> tuple[bytes, dict[str, Any]]:
        state, events = vigil.State.read(stored), []
        for entry in entries:
            try:
                seen = read_publication(self._database, entry, vigil.MODELS.__contains__)
            except FieldError as error:
                raise Poison({entry.id: str(error)}) from error
            if seen is not None:
                state, made = vigil.step(state, seen)
                events += [event.fields() for event in made]
        return state.stored(), {"events": events}


def _fold_epochs(symbol: str, stored: bytes, entries: Sequence[Entry]) -> tuple[bytes, dict[str, Any]]:
    state, events = vigil.State.read(stored), []
    for entry in entries:
        try:
            facts = [entry.text(name) for name in ("event", "symbol", "epoch", "previous", "reason")]
            ts = entry.integer("ts")
        except FieldError as error:
            raise Poison({entry.id: str(error)}) from error
        event, _, epoch, previous, reason = facts
        state, made = vigil.step_epoch(state, event, symbol, epoch, previous, reason, ts)
        events += [event.fields() for event in made]
    return state.stored(), {"events": events}


def run(settings: Settings, database: Database, life: Life) -> None:
    run_stage(VigilStage(settings, database), database, settings, life)
