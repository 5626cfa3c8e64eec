"""models: reads massive:diff:stream, publishes documents and their diffs.

``claim_symbol.lua`` gives an underlying's lease and the panes that changed; their tiles are compared with what was
last published; ``publish.lua`` stores every document's next version and announces it, in one call. A stored document
is patched in place, so that a publication costs what changed. JSON is made here and nowhere earlier.

The heatmap comes first. What rests on greeks (GEX, levels, mode ...) changes as a whole wherever one contract does, and
costs several times as much: a publication of tiles leaves it owed, to an entry of the same stream whose reason is
``derived``; that one waits until more greeks have changed, and publishes everything.
"""

import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from walrus import Database

from pipeline.announced import INLINE_BYTES
from pipeline.entry import Entry, FieldError, due_in_s, since_ms
from pipeline.epochs import Epochs
from pipeline.errors import Poison
from pipeline.keys import Keys
from pipeline.life import Life, run_stage
from pipeline.models.documents import HEADER_BYTES
from pipeline.models.exposure import PaneExposure
from pipeline.models.layout import MERGE_BYTES
from pipeline.models.strategies import Grids
from pipeline.publication import (
    FACTS,
    HEATMAP,
    MODELS,
    SURFACE,
    VIEWS,
    Edition,
    Facts,
    Layouts,
    Publication,
    Publications,
    next_derived,
    next_surface,
)
from pipeline.scripts import Scripts
from pipeline.settings import Settings
from pipeline.tiles import EXPOSURE_FIELDS, unpack_exposure, unpack_grids

DOCUMENT_TTL_S = 72 * 3600
"""A weekend must not erase what was last published."""
FRESH_TTL_S = 60
READ_PANES = 8
"""Read at once: up to a megabyte."""
PART_BYTES = 768 * 1024
"""More than this is published in several parts: some four milliseconds of the server's time each."""
PAYLOAD_SPARE_S = 60
"""A payload under a key of its own outlives its entry, so that a reader that has the one has the other."""
CELL_BYTES, PATCH_BYTES, PANE_BYTES = 36, 200, 16 * 1024
"""About what a changed tile, a patch of neighbouring ones, and a pane besides its tiles (heads, GEX) cost a call."""
_APART = MERGE_BYTES // 12  # cells, of eleven characters and a comma, further apart than which two are two patches
HEADER_MARK = "header"
DERIVED = b"derived"
"""The reason of an entry that publishes what rests on greeks."""
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
    heads_at: dict[str, int] = field(default_factory=dict)
    """The commit each head of the heatmap was computed at."""
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

    def wait_s(self, entry: Entry) -> float:
        return due_in_s(entry, self._settings.greeks_interval_s) if _is_derived(entry) else 0.0

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
             "names": names, "derived": int(_is_derived(entry)), "since": since_ms(entry)},
        )
        if reply[0] != b"claimed":
            return
        _, token, seq, spot, quotes_minute, trail, meta, state_flat, marks, queued = reply
        facts = Facts.read(spot, quotes_minute, trail, dict(zip(meta[::2], meta[1::2], strict=True)))
        state = dict(zip(state_flat[::2], state_flat[1::2], strict=True))
        known = self._known_of(symbol, epoch_id, state, int(token.split(b"/")[1]))
        # What was marked while the entry was on its way says better what is behind the publication.
        _, ts, origin = queued.decode().split("|") if queued else ("", "", "")
        turn = _Turn(
            entry, symbol, epoch_id, names, facts, int(seq), token.decode(), state.get(b"minute", b""),
            ts or entry.text("ts"), origin, entry.text("ts"), derived=_is_derived(entry),
        )
        if any(state.get(f"{model}:epoch".encode(), b"").decode() != epoch_id for model in MODELS):
            turn.full = turn.derived = True
        if not self._publish_panes(turn, known, [mark.decode() for mark in marks]):
            self._known.pop(symbol, None)

    def _publish_panes(self, turn: "_Turn", known: Known, marked: list[str]) -> bool:
        """Publish what is marked, in as few parts as short calls allow; False where somebody else has the lease."""
        panes = self._panes(known, marked, turn.full)
        owing = not turn.derived and (
            HEADER_MARK in marked or any(of.greeks != known.heads_at.get(pane) for pane, of in panes.items())
        )
        if not turn.full:
            try:
                self._load(turn, known, list(panes))
            except MissingDocument:
                turn.full = turn.derived = True
                return self._publish_panes(turn, known, marked)
        for pane, computed in panes.items():
            if computed.greeks != known.seqs.get(pane):  # newer than what is known
                known.exposures.pop(pane, None)
        if turn.derived:
            self._read_exposures(known)
        parts = _parts(known, panes, turn.full)
        for number, part in enumerate(parts, start=1):
            last = number == len(parts)
            of_part = {pane: panes[pane] for pane in part}
            surface = next_surface(known.layouts, of_part, known.editions, turn.facts, turn.full)
            made = Publications(surface, turn.minute, b"")
            if turn.derived and last:
                derived = self._derived(turn, known, surface)
                made = Publications(surface + derived.made, derived.minute, derived.final)
            stored = self._store(turn, known, made, of_part, owing, last)
            if stored == _NOT_AS_STORED:
                turn.full = turn.derived = True
                return self._publish_panes(turn, known, marked)
            if stored != 1:
                return False
            known.editions.update((publication.model, publication.edition) for publication in made.made)
        known.heads_at.update((pane, computed.greeks) for pane, computed in panes.items())
        return True

    def _derived(self, turn: "_Turn", known: Known, surface: Sequence[Publication]) -> Publications:
        """What rests on greeks, after ``surface`` (of this turn's last part)."""
        heads = (surface[0].edition if surface else known.editions[HEATMAP]).heads
        made = next_derived(
            known.layouts, known.exposures, heads, set(known.layouts.epoch.panes), known.editions, turn.facts,
            turn.minute, turn.full,
        )
        for publication in made.made:
            publication.edition.seqs = dict(known.seqs)
        return made

    def _store(
        self, turn: "_Turn", known: Known, publications: Publications, part: Mapping[str, "_Computed"], owing: bool,
        last: bool,
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
                "ts": turn.ts, "origin": turn.origin, "now_ms": int(time.time() * 1000), "ttl_s": DOCUMENT_TTL_S,
                "owing": int(owing and last), "documents": documents, "names": turn.names,
                "minute": publications.minute, "final": final,
                "final_ms": orjson.loads(final)["minute"] if final else 0, "next_token": next_token,
                "publication": f"{turn.entry.id}/{token.split('/')[1]}/{turn.part}",
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
            known.heads_at.clear()
        known.claim = claim
        return known

    def _panes(self, known: Known, marked: list[str], full: bool) -> dict[str, "_Computed"]:
        """The computed panes to publish."""
        epoch, wanted_of = known.layouts.epoch, set(marked)
        wanted = [pane for pane in epoch.panes if full or pane in wanted_of]
        heads = known.editions[HEATMAP].heads
        found: dict[str, _Computed] = {}
        for first in range(0, len(wanted), READ_PANES):
            some = wanted[first : first + READ_PANES]
            for pane, (packed, (seq, greeks, head)) in zip(some, self._read(epoch.id, some), strict=True):
                known_head = heads.get(pane) if known.heads_at.get(pane) == int(greeks) else None
                found[pane] = _Computed(
                    unpack_grids(packed, epoch.panes[pane].geometry),
                    orjson.loads(head) if known_head is None else known_head, int(seq), int(greeks),
                )
        return found

    def _read(self, epoch_id: str, panes: Sequence[str]) -> Iterator[list[Any]]:
        """Of each pane, all at one instant: every tile; the commits of tiles and greeks, and the head.

        In a transaction, not in a script: there every byte that is read is hashed as well, at 2 ns.
        """
        with self._database.pipeline(transaction=True) as pipeline:
            for pane in panes:
                pipeline.get(self.keys.grids(epoch_id, pane))
                pipeline.hmget(self.keys.tiles(epoch_id, pane), "seq", "greeks", "head")
            replies = iter(pipeline.execute())
        for _ in panes:
            yield [next(replies), next(replies)]

    def _read_exposures(self, known: Known) -> None:
        """Read those that this process lacks: the models of an underlying rest on every pane's."""
        epoch, keys = known.layouts.epoch, self.keys
        lacking = [pane for pane in epoch.panes if pane not in known.exposures]
        if not lacking:
            return
        with self._database.pipeline(transaction=False) as pipeline:
            for pane in lacking:
                pipeline.hmget(keys.tiles(epoch.id, pane), "greeks", *EXPOSURE_FIELDS)
            for pane, (greeks, *packed) in zip(lacking, pipeline.execute(), strict=True):
                fields = dict(zip(EXPOSURE_FIELDS, packed, strict=True))
                known.exposures[pane] = unpack_exposure(fields, epoch.panes[pane].geometry)
                known.seqs[pane] = int(greeks)

    def _load(self, turn: "_Turn", known: Known, panes: list[str]) -> None:
        """Read back from the stored documents what a turn's diffs need and this process does not know.

        Raises MissingDocument where one is not stored.
        """
        for view in VIEWS:  # what a view shows is what the heatmap shows: they are always published together
            known.editions[view].cells, known.editions[view].heads = (
                known.editions[HEATMAP].cells, known.editions[HEATMAP].heads
            )
        wanted: list[tuple[str, str, int, int]] = []  # model, block or '' for the header, offset, length
        for model, edition in known.editions.items():
            if model not in SURFACE and not turn.derived:
                continue
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
                pipeline.getrange(self.keys.model(model, turn.symbol), offset, offset + length - 1)
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
        self, turn: "_Turn", known: Known, made: Sequence[Publication], part: Mapping[str, "_Computed"]
    ) -> list[dict[str, object]]:
        """The documents as publish.lua takes them. What is large is written beside the published ones beforehand, in
        one command: a server takes a value as it arrives, and keeps what it has read. In pieces 17 MB hold it up for
        10 ms where room is made for all of them at once, and for 5 ms where they outgrow it."""
        packed, symbol, token = [], turn.symbol, turn.token
        for publication in made:
            model, payload = publication.model, publication.payload
            small = publication.document is payload and len(payload) <= INLINE_BYTES
            fresh = "" if small else self.keys.model_fresh(model, symbol, token)
            payload_key = self.keys.model_payload(model, symbol, token) if len(payload) > INLINE_BYTES else ""
            if publication.kind == "full" and fresh:
                self._database.set(fresh, publication.document, ex=FRESH_TTL_S)
            if payload_key:
                kept_s = int(self._settings.model_retention_s) + PAYLOAD_SPARE_S
                self._database.set(payload_key, payload, ex=kept_s)
            packed.append({
                "model": model, "key": self.keys.model(model, symbol), "kind": publication.kind, "fresh": fresh,
                "base": publication.base, "version": publication.version, "length": publication.length,
                "announced": bool(payload), **_commits(turn.seq, publication, known, part),
                "ts": turn.ts if model in SURFACE else turn.derived_ts,
                "origin": turn.origin if model in SURFACE else "",
                "payload": b"" if payload_key else payload, "payload_key": payload_key,
                "patches": [piece for offset, text in publication.patches for piece in (str(offset), text)],
                "taken": [piece for offset, number in publication.taken for piece in (str(offset), 2 * number + 2)],
            })
        return packed


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
    ts: str
    origin: str
    derived_ts: str
    derived: bool
    """What rests on greeks is published as well."""
    full: bool = False
    part: int = 0


@dataclass(frozen=True, slots=True)
class _Computed:
    """What a heatmap shows of a pane as calculate left it, and the commits that tiles and head were computed at."""

    grids: Grids
    head: Mapping[str, Any]
    seq: int
    greeks: int


def _commits(
    header: int, publication: Publication, known: Known, part: Mapping[str, _Computed]
) -> dict[str, bytes]:
    """The commits a version rests on. A heatmap shows panes as they were published: ``seq`` is of their tiles,
    ``greeks`` of their heads. The others rest on every pane: ``seq`` names those that the last version had not so."""
    if publication.model in SURFACE:
        seqs = {pane: computed.seq for pane, computed in part.items()}
        greeks = orjson.dumps({pane: computed.greeks for pane, computed in part.items()})
    else:
        before = known.editions[publication.model].seqs
        seqs = {pane: seq for pane, seq in publication.edition.seqs.items() if before.get(pane) != seq}
        greeks = b""
    return {"seq": orjson.dumps({HEADER_MARK: header, **seqs}), "greeks": greeks}


def _parts(known: Known, panes: Mapping[str, _Computed], full: bool) -> list[list[str]]:
    """The panes in groups, each of which changes no more than one call should bring."""
    layout, published = known.layouts.of[HEATMAP], known.editions[HEATMAP].cells
    if full or sum(layout.block(pane)[1] for pane in panes) <= PART_BYTES:
        return [list(panes)]
    parts: list[list[str]] = [[]]
    size = 0
    for pane, computed in panes.items():
        cells = np.flatnonzero(computed.grids.cells != published[pane])
        patches = 1 + int(np.count_nonzero(np.diff(cells) > _APART))
        cost = cells.size * CELL_BYTES + patches * PATCH_BYTES + PANE_BYTES
        if parts[-1] and size + cost > PART_BYTES:
            parts.append([])
            size = 0
        size += cost
        parts[-1].append(pane)
    return parts


def _is_derived(entry: Entry) -> bool:
    return entry.fields.get(b"reason") == DERIVED


class MissingDocument(Exception):
    """A stored document is gone or another's."""


def run(settings: Settings, database: Database, life: Life) -> None:
    run_stage(ModelsStage(settings, database), database, settings, life)
