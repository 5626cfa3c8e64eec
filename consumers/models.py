"""models: reads massive:diff:stream, publishes documents and their diffs.

``claim_symbol.lua`` gives an underlying's lease and the panes that changed; their tiles are compared with what was
last published; ``publish.lua`` stores every document's next version and announces it, in one call. A stored document
is patched in place, so that a publication costs what changed. JSON is made here and nowhere earlier.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
from walrus import Database

from pipeline.entry import Entry, FieldError
from pipeline.epochs import Epochs
from pipeline.errors import Poison
from pipeline.keys import Keys
from pipeline.life import Life, run_stage
from pipeline.models.documents import HEADER_BYTES
from pipeline.models.exposure import PaneExposure
from pipeline.models.pane import PaneModel
from pipeline.publication import (
    FACTS,
    HEATMAP,
    MODELS,
    VIEWS,
    Edition,
    Facts,
    Layouts,
    Publication,
    next_editions,
)
from pipeline.scripts import Scripts
from pipeline.settings import Settings
from pipeline.tiles import EXPOSURE_FIELDS, unpack_exposure, unpack_tiles

DOCUMENT_TTL_S = 72 * 3600
"""A weekend must not erase what was last published."""
FRESH_TTL_S = 60
PIECE_BYTES = 256 * 1024
HEADER_MARK = "header"


@dataclass(slots=True)
class Known:
    """What this process knows of an epoch's documents; true while their versions are still the stored ones."""

    layouts: Layouts
    exposures: dict[str, PaneExposure] = field(default_factory=dict)
    editions: dict[str, Edition] = field(default_factory=lambda: {model: Edition() for model in MODELS})


class ModelsStage:
    name = "models"
    reclaim_idle_ms = 1000

    def __init__(self, settings: Settings, database: Database) -> None:
        self.keys = Keys(settings.layout, settings.namespace)
        self.scripts = Scripts(database)
        self._database = database
        self._settings = settings
        self._epochs = Epochs(database, self.keys)
        self._known: OrderedDict[str, Known] = OrderedDict()

    def streams(self) -> list[str]:
        return self.keys.streams("diff", self._settings.symbols)

    def commit(self, entries: Sequence[Entry], consumer: str) -> None:
        for entry in entries:
            try:
                symbol, epoch = entry.text("symbol"), entry.text("epoch")
                entry.integer("ts")
            except FieldError as error:
                raise Poison({entry.id: str(error)}) from error
            self._publish(entry, consumer, symbol, epoch)

    def _publish(self, entry: Entry, consumer: str, symbol: str, epoch_id: str) -> None:
        keys = self.keys
        names = {**keys.names(symbol, epoch_id), "analytics": keys.analytics(self.name, symbol)}
        reply = self.scripts.run(
            "claim_symbol",
            {"stream": entry.stream, "geometry": keys.geometry(epoch_id)},
            {"group": self.name, "consumer": consumer, "entry": entry.id, "symbol": symbol, "epoch": epoch_id,
             "names": names},
        )
        if reply[0] != b"claimed":
            return
        _, token, seq, spot, quotes_minute, trail, meta, state_flat, marks = reply
        facts = Facts.read(spot, quotes_minute, trail, dict(zip(meta[::2], meta[1::2], strict=True)))
        state = dict(zip(state_flat[::2], state_flat[1::2], strict=True))
        marked = [mark.decode() for mark in marks]
        known = self._known_of(symbol, epoch_id, state)
        full = any(state.get(f"{model}:epoch".encode(), b"").decode() != epoch_id for model in MODELS)
        while True:
            panes, seqs, reread = self._panes(known, marked, full)
            if not full:
                try:
                    self._load(symbol, known, list(panes))
                except MissingDocument:
                    full = True
                    continue
            publications = next_editions(
                known.layouts, panes, known.exposures, reread, known.editions, facts, state.get(b"minute", b""), full
            )
            made, final = publications.made, publications.final
            self._write_fresh(symbol, token.decode(), made)
            stored = self.scripts.run(
                "publish",
                {
                    "stream": entry.stream, "models": keys.stream("model", symbol),
                    "minutes": keys.gravity_minutes(symbol),
                },
                {
                    "group": self.name, "entry": entry.id, "symbol": symbol, "epoch": epoch_id, "token": token,
                    "ts": entry.text("ts"), "origin": entry.fields.get(b"origin", b""),
                    "now_ms": int(time.time() * 1000), "ttl_s": DOCUMENT_TTL_S,
                    "seq": orjson.dumps({HEADER_MARK: int(seq), **seqs}),
                    "documents": [self._packed(symbol, token.decode(), publication) for publication in made],
                    "names": names, "minute": publications.minute, "final": final,
                    "final_ms": orjson.loads(final)["minute"] if final else 0,
                },
            )
            if stored == -1:
                full = True  # a document is not stored as its version says: write it whole
                continue
            break
        if stored == 1:
            known.editions.update((publication.model, publication.edition) for publication in made)
        else:
            self._known.pop(symbol, None)

    def _known_of(self, symbol: str, epoch_id: str, state: dict[bytes, bytes]) -> Known:
        """What is remembered of this epoch's documents, without what others have published meanwhile."""
        known = self._known.get(symbol)
        if known is None or known.layouts.epoch.id != epoch_id:
            epoch = self._epochs.get(epoch_id)
            if epoch is None:
                raise RuntimeError(f"the geometry of {epoch_id} is gone while it is active")
            known = self._known[symbol] = Known(Layouts(epoch))
        for model in MODELS:
            version = int(state.get(f"{model}:version".encode(), b"0"))
            if known.editions[model].version != version:
                known.editions[model] = Edition(version)
                known.exposures.clear()  # somebody else has published: they may be of older tiles
        return known

    def _panes(self, known: Known, marked: list[str], full: bool) -> tuple[dict[str, PaneModel], dict[str, int], bool]:
        """The computed panes to publish, the commit each was computed at, and whether the exposures were read anew.

        Every pane's exposure is needed each time; this process remembers those that are not marked.
        """
        epoch = known.layouts.epoch
        wanted = [pane for pane in epoch.panes if full or pane in set(marked)]
        unknown = [pane for pane in epoch.panes if pane not in known.exposures and pane not in set(wanted)]
        with self._database.pipeline(transaction=False) as pipeline:
            for pane in wanted:
                pipeline.hgetall(self.keys.tiles(epoch.id, pane))
            for pane in unknown:
                pipeline.hmget(self.keys.tiles(epoch.id, pane), EXPOSURE_FIELDS)
            replies = pipeline.execute()
        panes, seqs = {}, {}
        for pane, reply in zip(wanted, replies[: len(wanted)], strict=True):
            fields = {name.decode(): value for name, value in reply.items()}
            tiles = unpack_tiles(fields, epoch.panes[pane].geometry)
            panes[pane], known.exposures[pane], seqs[pane] = tiles.model, tiles.exposure, int(fields["seq"])
        for pane, reply in zip(unknown, replies[len(wanted) :], strict=True):
            fields = dict(zip(EXPOSURE_FIELDS, reply, strict=True))
            known.exposures[pane] = unpack_exposure(fields, epoch.panes[pane].geometry)
        return panes, seqs, bool(unknown)

    def _load(self, symbol: str, known: Known, panes: list[str]) -> None:
        """Read back from the stored documents what a diff needs and this process does not know.

        Raises MissingDocument where one is not stored.
        """
        for view in VIEWS:  # what a view shows is what the heatmap shows: they are always published together
            known.editions[view].arrays, known.editions[view].heads = (
                known.editions[HEATMAP].arrays, known.editions[HEATMAP].heads
            )
        wanted: list[tuple[str, str, int, int]] = []  # model, block or '' for the header, offset, length
        for model, edition in known.editions.items():
            if model in FACTS:
                if not edition.header:
                    wanted.append((model, "", 0, 0))
                continue
            layout = known.layouts.of[model]
            if not edition.header:
                wanted.append((model, "", 0, 1 + HEADER_BYTES))
            if model in VIEWS:
                continue
            names = {name for name, _ in edition.arrays}
            for name, block in layout.blocks.items():
                needs_arrays = model != HEATMAP or name in panes
                if needs_arrays and name not in names:
                    wanted.append((model, name, block.offset, block.length))
                elif block.head is not None and name not in edition.heads:
                    start, size = block.head
                    wanted.append((model, name, block.offset, start + size))
        if not wanted:
            return
        with self._database.pipeline(transaction=False) as pipeline:
            for model, _, offset, length in wanted:
                pipeline.getrange(self.keys.model(model, symbol), offset, offset + length - 1)
            texts = pipeline.execute()
        for (model, name, _, length), text in zip(wanted, texts, strict=True):
            if not text or (length and len(text) != length):
                raise MissingDocument
            edition = known.editions[model]
            if not name:
                edition.header = orjson.loads(text if model in FACTS else text.rstrip() + b"}")
                continue
            layout = known.layouts.of[model]
            block = layout.blocks[name]
            if block.head is not None:
                edition.heads[name] = layout.read_head(text, name)
            if length == block.length:
                edition.arrays.update(layout.read_arrays(text, name))
    def _write_fresh(self, symbol: str, token: str, made: Sequence[Publication]) -> None:
        """Write full documents beside the published ones, in pieces, so that no single command takes long."""
        with self._database.pipeline(transaction=False) as pipeline:
            for publication in made:
                if publication.kind != "full":
                    continue
                key, document = self.keys.model_fresh(publication.model, symbol, token), publication.document
                pipeline.setrange(key, len(document) - 1, document[-1:])
                for first in range(0, len(document), PIECE_BYTES):
                    pipeline.setrange(key, first, document[first : first + PIECE_BYTES])
                pipeline.expire(key, FRESH_TTL_S)
            pipeline.execute()

    def _packed(self, symbol: str, token: str, publication: Publication) -> dict[str, object]:
        return {
            "model": publication.model, "key": self.keys.model(publication.model, symbol), "kind": publication.kind,
            "fresh": self.keys.model_fresh(publication.model, symbol, token),
            "base": publication.base, "version": publication.version, "length": publication.length,
            "payload": publication.payload,
            "patches": [part for patch in publication.patches for part in patch],
        }


class MissingDocument(Exception):
    """A stored document is gone or another's."""


def run(settings: Settings, database: Database, life: Life) -> None:
    run_stage(ModelsStage(settings, database), database, settings, life)
