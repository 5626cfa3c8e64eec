"""models: reads massive:diff:stream, publishes documents and their diffs.

``claim_symbol.lua`` gives an underlying's lease and the panes that changed; their tiles are compared with what was
last published; ``publish.lua`` stores every document's next version and announces it, in one call. A stored document
is patched in place, so that a publication costs what changed. JSON is made here and nowhere earlier.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson
from walrus import Database

from pipeline.announced import INLINE_BYTES
from pipeline.entry import Entry, FieldError
from pipeline.epochs import Epochs
from pipeline.errors import Poison
from pipeline.keys import Keys
from pipeline.life import Life, run_stage
from pipeline.models.documents import HEADER_BYTES, heatmap_cells
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
    Publications,
    next_editions,
)
from pipeline.scripts import Call, Scripts
from pipeline.settings import Settings
from pipeline.tiles import EXPOSURE_FIELDS, unpack_exposure, unpack_tiles

DOCUMENT_TTL_S = 72 * 3600
"""A weekend must not erase what was last published."""
FRESH_TTL_S = 60
PIECE_BYTES = 64 * 1024
"""A string that grows by so much at a time never holds the server up: tens of megabytes in one command do."""
PART_BYTES = 768 * 1024
"""More than this is published in several parts: some four milliseconds of the server's time each."""
PAYLOAD_SPARE_S = 60
"""A payload under a key of its own outlives its entry, so that a reader that has the one has the other."""
CELL_BYTES, PATCH_BYTES, PANE_BYTES = 36, 200, 16 * 1024
"""About what a changed tile, a patch of neighbouring ones, and a pane besides its tiles (heads, GEX) cost a call."""
_APART = 8  # cells between two changed ones, from which they are no neighbours
HEADER_MARK = "header"
_NOT_AS_STORED = -1


@dataclass(slots=True)
class Known:
    """What this process knows of an epoch's documents; true while their versions are still the stored ones."""

    layouts: Layouts
    claim: int = 0
    """The number of the last turn, ours. One of another may publish nothing and still have newer exposures."""
    exposures: dict[str, PaneExposure] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)
    """The commit each exposure was computed at."""
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
        known = self._known_of(symbol, epoch_id, state, int(token.split(b"/")[1]))
        turn = _Turn(entry, symbol, epoch_id, names, facts, int(seq), token.decode(), state.get(b"minute", b""))
        turn.full = any(state.get(f"{model}:epoch".encode(), b"").decode() != epoch_id for model in MODELS)
        stored = self._publish_panes(turn, known, [mark.decode() for mark in marks])
        if not stored:
            self._known.pop(symbol, None)

    def _publish_panes(self, turn: "_Turn", known: Known, marked: list[str]) -> bool:
        """Publish what is marked, in as few parts as short calls allow; False where somebody else has the lease."""
        panes, fresh, fresh_seqs, reread = self._panes(known, marked, turn.full)
        if not turn.full:
            try:
                self._load(turn.symbol, known, list(panes))
            except MissingDocument:
                turn.full = True
                return self._publish_panes(turn, known, marked)
        published: dict[str, PaneExposure] = {}
        parts = _parts(known, panes, turn.full)
        for number, part in enumerate(parts, start=1):
            exposures = fresh | known.exposures | published | {pane: fresh[pane] for pane in part}
            seqs = {**fresh_seqs, **known.seqs, **{pane: fresh_seqs[pane] for pane in [*published, *part]}}
            publications = next_editions(
                known.layouts, {pane: panes[pane] for pane in part}, exposures, reread, known.editions,
                turn.facts, turn.minute, turn.full,
            )
            for publication in publications.made:
                publication.edition.seqs = _seqs(publication.model, part, seqs)
            stored = self._store(turn, known, publications, part, last=number == len(parts))
            if stored == _NOT_AS_STORED:
                turn.full = True
                return self._publish_panes(turn, known, marked)
            if stored != 1:
                return False
            published.update((pane, fresh[pane]) for pane in part)
            known.editions.update((publication.model, publication.edition) for publication in publications.made)
        known.exposures |= fresh
        known.seqs |= fresh_seqs
        return True

    def _store(
        self, turn: "_Turn", known: Known, publications: Publications, part: list[str], last: bool
    ) -> int:
        """Write and announce one part; what publish.lua answers."""
        keys, symbol, token, final = self.keys, turn.symbol, turn.token, publications.final
        next_token = "" if last else f"{turn.entry.id}/{token.split('/')[1]}/{turn.part + 1}"
        documents = self._prepare(turn, known, publications.made, part)
        stored = int(self.scripts.run(
            "publish",
            {
                "stream": turn.entry.stream, "models": keys.stream("model", symbol),
                "minutes": keys.gravity_minutes(symbol),
            },
            {
                "group": self.name, "entry": turn.entry.id, "symbol": symbol, "epoch": turn.epoch, "token": token,
                "ts": turn.entry.text("ts"), "origin": turn.entry.fields.get(b"origin", b""),
                "now_ms": int(time.time() * 1000), "ttl_s": DOCUMENT_TTL_S,
                "publication": f"{turn.entry.id}/{token.split('/')[1]}/{turn.part}", "documents": documents,
                "names": turn.names, "minute": publications.minute, "final": final,
                "final_ms": orjson.loads(final)["minute"] if final else 0, "next_token": next_token,
            },
        ))
        if stored == 1:
            turn.token, turn.part, turn.minute = next_token, turn.part + 1, publications.minute
        return stored

    def _known_of(self, symbol: str, epoch_id: str, state: dict[bytes, bytes], claim: int) -> Known:
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
        if claim != known.claim + 1:  # somebody else had a turn: what we hold may be of older tiles
            known.exposures.clear()
            known.seqs.clear()
        known.claim = claim
        return known

    def _panes(
        self, known: Known, marked: list[str], full: bool
    ) -> tuple[dict[str, PaneModel], dict[str, PaneExposure], dict[str, int], bool]:
        """The computed panes to publish, exposures, the commits they are of, and whether this process lacked the
        published ones of any.

        Every pane's exposure is needed each time; this process remembers those that are not marked.
        """
        epoch, wanted_of = known.layouts.epoch, set(marked)
        wanted = [pane for pane in epoch.panes if full or pane in wanted_of]
        lacking = [pane for pane in epoch.panes if pane not in known.exposures]
        unknown = [pane for pane in lacking if not (full or pane in wanted_of)]
        keys, panes, exposures, seqs = self.keys, {}, {}, {}
        computed = self.scripts.run_all([
            Call("read_tiles", {"tiles": keys.tiles(epoch.id, pane), "grids": keys.grids(epoch.id, pane)}, {})
            for pane in wanted
        ])
        for pane, (grids, flat) in zip(wanted, computed, strict=True):
            fields = {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
            tiles = unpack_tiles(grids, fields, epoch.panes[pane].geometry)
            panes[pane], exposures[pane], seqs[pane] = tiles.model, tiles.exposure, int(fields["seq"])
        if unknown:
            with self._database.pipeline(transaction=False) as pipeline:
                for pane in unknown:
                    pipeline.hmget(keys.tiles(epoch.id, pane), *EXPOSURE_FIELDS, "seq")
                for pane, reply in zip(unknown, pipeline.execute(), strict=True):
                    fields, seqs[pane] = dict(zip(EXPOSURE_FIELDS, reply[:-1], strict=True)), int(reply[-1])
                    exposures[pane] = unpack_exposure(fields, epoch.panes[pane].geometry)
        return panes, exposures, seqs, bool(lacking)

    def _load(self, symbol: str, known: Known, panes: list[str]) -> None:
        """Read back from the stored documents what a diff needs and this process does not know.

        Raises MissingDocument where one is not stored.
        """
        for view in VIEWS:  # what a view shows is what the heatmap shows: they are always published together
            known.editions[view].cells, known.editions[view].heads = (
                known.editions[HEATMAP].cells, known.editions[HEATMAP].heads
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
            for name, block in layout.blocks.items():
                needs_cells = model != HEATMAP or name in panes
                if needs_cells and name not in edition.cells:
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
                edition.cells[name] = layout.read_cells(text, name)

    def _prepare(
        self, turn: "_Turn", known: Known, made: Sequence[Publication], part: list[str]
    ) -> list[dict[str, object]]:
        """The documents as publish.lua takes them. What is large is written beside the published ones beforehand, in
        pieces, so that no single command takes long."""
        packed, symbol, token = [], turn.symbol, turn.token
        for publication in made:
            model, payload = publication.model, publication.payload
            small = publication.document is payload and len(payload) <= INLINE_BYTES
            fresh = "" if small else self.keys.model_fresh(model, symbol, token)
            payload_key = self.keys.model_payload(model, symbol, token) if len(payload) > INLINE_BYTES else ""
            if publication.kind == "full" and fresh:
                self._write_pieces(fresh, publication.document, FRESH_TTL_S)
            if payload_key:
                kept_s = int(self._settings.model_retention_s) + PAYLOAD_SPARE_S
                self._write_pieces(payload_key, payload, kept_s)
            packed.append({
                "model": model, "key": self.keys.model(model, symbol), "kind": publication.kind, "fresh": fresh,
                "base": publication.base, "version": publication.version, "length": publication.length,
                "announced": bool(payload), "seq": _told(turn.seq, part, publication, known),
                "payload": b"" if payload_key else payload, "payload_key": payload_key,
                "patches": [part for patch in publication.patches for part in patch],
            })
        return packed

    def _write_pieces(self, key: str, text: bytes, ttl_s: int) -> None:
        """Piece by piece, each a command of its own: others are served in between."""
        self._database.unlink(key)  # of an attempt that was not finished
        for first in range(0, len(text), PIECE_BYTES):
            self._database.setrange(key, first, text[first : first + PIECE_BYTES])  # the same when sent twice
        self._database.expire(key, ttl_s)


@dataclass(slots=True)
class _Turn:
    """One claim of an underlying, published in one part or several; token, part and minute go on with each."""

    entry: Entry
    symbol: str
    epoch: str
    names: dict[str, str]
    facts: Facts
    seq: int
    token: str
    minute: bytes
    part: int = 0
    full: bool = False


def _seqs(model: str, part: list[str], seqs: Mapping[str, int]) -> dict[str, int]:
    """The commits a version rests on, by pane: a heatmap shows panes as they were published, the others rest on all."""
    return {pane: seqs[pane] for pane in part} if model in (HEATMAP, *VIEWS) else dict(seqs)


def _told(header: int, part: list[str], publication: Publication, known: Known) -> bytes:
    """What an entry says of that: all that another version of the document did not say before it."""
    seqs, before = publication.edition.seqs, known.editions[publication.model].seqs
    told = {pane: seq for pane, seq in seqs.items() if pane in part or before.get(pane) != seq}
    return orjson.dumps({HEADER_MARK: header, **told})


def _parts(known: Known, panes: Mapping[str, PaneModel], full: bool) -> list[list[str]]:
    """The panes in groups, each of which changes no more than one call should bring."""
    layout, published = known.layouts.of[HEATMAP], known.editions[HEATMAP].cells
    if full or sum(layout.block(pane)[1] for pane in panes) <= PART_BYTES:
        return [list(panes)]
    parts: list[list[str]] = [[]]
    size = 0
    for pane, model in panes.items():
        cells = np.flatnonzero(heatmap_cells(model.grids) != published[pane])
        patches = 1 + int(np.count_nonzero(np.diff(cells) > _APART))
        cost = cells.size * CELL_BYTES + patches * PATCH_BYTES + PANE_BYTES
        if parts[-1] and size + cost > PART_BYTES:
            parts.append([])
            size = 0
        size += cost
        parts[-1].append(pane)
    return parts


class MissingDocument(Exception):
    """A stored document is gone or another's."""


def run(settings: Settings, database: Database, life: Life) -> None:
    run_stage(ModelsStage(settings, database), database, settings, life)
