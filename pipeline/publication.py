"""From computed panes to the next version of every document: pure, so that a replay makes the same bytes again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.epochs import Epoch
from pipeline.models.documents import (
    NET,
    Layout,
    gex_net_cells,
    gex_net_layout,
    gex_side_layout,
    header,
    heatmap_layout,
)
from pipeline.models.exposure import OI, PaneExposure, moves
from pipeline.models.gex import summary, union_of_strikes
from pipeline.models.gravity import Minute
from pipeline.models.layout import Diff, Excerpt, Patch
from pipeline.models.levels import find_flip
from pipeline.models.mode import LabelState, Mode, market_mode, next_label, weighed_ratio
from pipeline.models.records import (
    books_record,
    gravity_record,
    intent_record,
    levels_record,
    minute_record,
    mode_record,
    profiles_record,
)
from pipeline.models.strategies import STRATEGIES, Grids
from pipeline.models.symbol import SymbolModels, symbol_models

HEATMAP = "heatmap"
VIEWS = {f"{HEATMAP}_{strategy}": strategy for strategy in STRATEGIES}
"""The orthogonal views: the heatmap of one strategy. Stored, but not announced: the heatmap's diffs say it all."""
_SIDES = {"gex_calls": "call", "gex_puts": "put"}
"""In the order of the rows of a pane's arrays."""
SURFACE = (HEATMAP, *VIEWS)
"""Documents of tiles: published as soon as tiles change. The others rest on greeks and wait until more have changed."""
GEX = (*_SIDES, "gex")
LAID_OUT = (*SURFACE, *GEX)
"""Documents with a layout: published once whole, then by diffs that patch them in place."""
FACTS = ("market_mode", "liquidity_intent", "dealer_gravity")
"""Documents of a few facts: published whole each time."""
MODELS = (*LAID_OUT, *FACTS)

MINUTE_MS = 60_000
STALE_AFTER_MS = 5 * MINUTE_MS
"""Quotes so much older than spot are stale: the feed of the one goes on, that of the other does not."""
_LABEL_MINUTES = 15
"""Minutes of spot that the label of Market Mode looks back on."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a claim says of an underlying besides its panes: all event time, nothing of this machine's clock."""

    spot: float | None
    spot_ts: int
    quotes_minute: int
    chain_ts: int
    oi_date: str | None = None
    delayed: bool = False
    dormant: bool = False
    market: str = ""
    trail: tuple[tuple[int, float], ...] = ()
    """(minute, spot) of the last hour, ascending: each minute's newest."""

    @classmethod
    def read(cls, spot: bytes, quotes_minute: bytes, trail: Sequence[bytes], meta: Mapping[bytes, bytes]) -> "Facts":
        """From the words of claim_symbol.lua."""
        parsed = orjson.loads(spot) if spot else {}
        closes = (member.decode().split(":") for member in trail)
        return cls(
            parsed.get("price"), int(parsed.get("ts", 0)), int(quotes_minute), int(meta[b"chain_ts"]),
            meta.get(b"oi_date", b"").decode() or None, meta.get(b"timeframe") == b"delayed",
            # Either the epoch fell dormant, or it was made because the one before it did and the feed is silent still.
            meta.get(b"state") == b"dormant" or (meta.get(b"reason") == b"dormant" and b"resumed" not in meta),
            meta.get(b"market", b"").decode(),
            tuple((int(ts) // MINUTE_MS * MINUTE_MS, float(price)) for ts, price in closes),
        )

    @property
    def spot_minute(self) -> int:
        return self.spot_ts // MINUTE_MS * MINUTE_MS

    @property
    def as_of_ms(self) -> int:
        """Event time of the models: the minute of the spot, which marks every pane when it turns."""
        return self.spot_minute or self.chain_ts // MINUTE_MS * MINUTE_MS

    @property
    def stale(self) -> bool:
        return bool(self.quotes_minute) and self.spot_minute - self.quotes_minute >= STALE_AFTER_MS

    @property
    def status(self) -> str:
        if self.market and self.market != "open":
            return "closed"
        if self.dormant:
            return "dormant"
        if self.stale:
            return "stale"
        return "delayed" if self.delayed else "live"

    def header(self, schema: str, symbol: str, epoch: str, version: int, coverage: float | None) -> dict[str, Any]:
        as_of = {
            "quotes": self.quotes_minute or None, "chain": self.chain_ts or None, "spot": self.spot_minute or None,
            "oi_date": self.oi_date,
        }
        return header(
            schema, symbol=symbol, epoch=epoch, version=version,
            ts=max(self.quotes_minute, self.chain_ts, self.spot_minute), as_of=as_of, spot=self.spot,
            status=self.status, coverage=coverage,
        )


class Layouts:
    """The documents of one epoch, laid out."""

    def __init__(self, epoch: Epoch) -> None:
        self.epoch = epoch
        panes = [pane.geometry for pane in epoch.panes.values()]
        strikes = union_of_strikes([pane.strikes for pane in panes])
        self.of: dict[str, Layout] = {
            HEATMAP: heatmap_layout(epoch.symbol, epoch.id, panes),
            **{view: heatmap_layout(epoch.symbol, epoch.id, panes, (of,)) for view, of in VIEWS.items()},
            **{model: gex_side_layout(epoch.symbol, epoch.id, panes, side) for model, side in _SIDES.items()},
            "gex": gex_net_layout(epoch.symbol, epoch.id, strikes),
        }
        self.cells_of: dict[str, dict[str, tuple[int, int]]] = {
            view: {block.name: block.span(strategy) for block in self.of[HEATMAP].blocks.values()}
            for view, strategy in VIEWS.items()
        }
        """Which cells of a heatmap's blocks a view shows."""
        self.excerpts = {view: Excerpt(self.of[HEATMAP], self.of[view], strategy) for view, strategy in VIEWS.items()}


@dataclass(slots=True)
class Edition:
    """One document as it was last published: its version, header, and the cells and heads known of it, by block.

    Documents of facts keep everything but the version in ``header``.
    """

    version: int = 0
    header: dict[str, Any] = field(default_factory=dict)
    cells: dict[str, NDArray[Any]] = field(default_factory=dict)
    heads: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)
    """The commit each pane's exposure was computed at, of a document that rests on them."""


@dataclass(frozen=True, slots=True)
class Publication:
    """The next version of one document: ``document`` whole, or ``patches`` to the stored bytes of ``base``.

    ``payload`` is what is announced: the diff, or the document without the blanks that keep its numbers in place;
    nothing for a view. What changes in the heatmap changes in its views: a view's ``taken`` says where the heatmap's
    patches are in it, and which they are.
    """

    model: str
    kind: str
    base: int
    version: int
    length: int
    payload: bytes
    document: bytes
    patches: list[Patch]
    edition: Edition
    taken: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Publications:
    """What one turn publishes. ``minute`` is Dealer Gravity's open one, ``final`` the one it closes ('' for none)."""

    made: list[Publication]
    minute: bytes
    final: bytes


class Shown(Protocol):
    """What the heatmap shows of a pane."""

    @property
    def grids(self) -> Grids: ...
    @property
    def head(self) -> Mapping[str, Any]: ...


def next_surface(
    layouts: Layouts, panes: Mapping[str, Shown], known: Mapping[str, Edition], facts: Facts, full: bool
) -> list[Publication]:
    """The heatmap and its views, as they change with ``panes`` (those computed anew) and ``facts``.

    ``known`` holds every head and the heatmap's cells of ``panes``; with ``full`` only its versions count, and
    ``panes`` is every pane of the epoch. A document with nothing new is left out: no input change, no diff.
    """
    cells, heads = _heatmap(panes, known[HEATMAP])
    coverage = _coverage(heads.values())
    made: list[Publication] = []
    changed: list[Patch] = []
    for model in SURFACE:
        layout = layouts.of[model]
        edition = Edition(known[model].version + 1, {}, cells, heads)
        edition.header = facts.header(layout.schema, layout.symbol, layout.epoch, edition.version, coverage)
        if full:
            made.append(_full(layout, model, edition, layouts.cells_of.get(model)))
        elif model == HEATMAP:
            diff = _diff(layout, edition, known[model], set(panes))
            if not diff.changed and _news(edition.header) == _news(known[model].header):
                return []
            changed = diff.patches
            made.append(_patched(layout, model, edition, known[model], diff))
        else:
            made.append(Publication(
                model, "diff", known[model].version, edition.version, layout.size, b"", b"",
                [layout.header_patch(edition.header)], edition, layouts.excerpts[model].taken(changed),
            ))
    return made


def next_derived(
    layouts: Layouts, exposures: Mapping[str, PaneExposure], heads: Mapping[str, Mapping[str, Any]], touched: set[str],
    known: Mapping[str, Edition], facts: Facts, minute: bytes, full: bool,
) -> Publications:
    """What rests on greeks: GEX and the models of facts, as they change with ``exposures`` and ``facts``.

    ``exposures`` and ``heads`` are of every pane; those of ``touched`` may differ from what was published. ``known``
    holds every GEX number; with ``full`` only its versions count. A document with nothing new is left out. ``minute``
    is the open minute of Dealer Gravity, as it was returned last.
    """
    models = symbol_models(exposures.values(), float("nan") if facts.spot is None else facts.spot, facts.as_of_ms,
                           facts.stale)
    gex_cells, gex_heads = _gex(layouts, exposures, heads, models, facts)
    coverage = _coverage(heads.values())
    made: list[Publication] = []
    for model in GEX:
        layout = layouts.of[model]
        edition = Edition(known[model].version + 1, {}, gex_cells[model], gex_heads.get(model, {}))
        edition.header = facts.header(layout.schema, layout.symbol, layout.epoch, edition.version, coverage)
        if full:
            made.append(_full(layout, model, edition, None))
            continue
        diff = _diff(layout, edition, known[model], {NET} if model == "gex" else touched)
        if diff.changed or _news(edition.header) != _news(known[model].header):
            made.append(_patched(layout, model, edition, known[model], diff))
    for model, record in _facts(models, facts).items():
        edition = Edition(known[model].version + 1)
        edition.header = {
            **facts.header(f"{model}/1", layouts.epoch.symbol, layouts.epoch.id, edition.version, coverage), **record,
        }
        if full or _news(edition.header) != _news(known[model].header):
            document = orjson.dumps(edition.header)
            made.append(Publication(
                model, "full", edition.version - 1, edition.version, len(document), document, document, [], edition
            ))
    return Publications(made, *_next_minute(minute, models, facts))


def _next_minute(minute: bytes, models: SymbolModels, facts: Facts) -> tuple[bytes, bytes]:
    """The open minute of Dealer Gravity and the one that became final: it never changes from then on (no repaint)."""
    fresh = orjson.dumps(minute_record(Minute(facts.as_of_ms, facts.spot_ts, models.gravity), models.constants))
    if not minute:
        return fresh, b""
    held = orjson.loads(minute)["minute"]
    if held > facts.as_of_ms:
        return minute, b""
    return fresh, minute if held < facts.as_of_ms else b""


def _heatmap(
    panes: Mapping[str, Shown], known: Edition
) -> tuple[dict[str, NDArray[Any]], dict[str, Mapping[str, Any]]]:
    cells, heads = dict(known.cells), dict(known.heads)
    for pane, shown in panes.items():
        cells[pane], heads[pane] = shown.grids.cells, shown.head
    return cells, heads


def _gex(
    layouts: Layouts, exposures: Mapping[str, PaneExposure], heads: Mapping[str, Mapping[str, Any]],
    models: SymbolModels, facts: Facts,
) -> tuple[dict[str, dict[str, NDArray[Any]]], dict[str, dict[str, Mapping[str, Any]]]]:
    held = [(pane, exposures[pane]) for pane in layouts.epoch.panes]
    cells: dict[str, dict[str, NDArray[Any]]] = {
        model: {pane: exposure.gex[OI][row] for pane, exposure in held} for row, model in enumerate(_SIDES)
    }
    cells["gex"] = {
        NET: gex_net_cells([(exposure.strikes, exposure.gex) for _, exposure in held])
    }
    head = {
        **summary(
            np.array([int(heads[pane]["dte"]) for pane, _ in held]),
            np.stack([exposure.sums[OI] for _, exposure in held], axis=1),
        ),
        "books": books_record(models, facts.oi_date),
        "vanna": dict(models.vanna),
        "charm": dict(models.charm),
        "levels": levels_record(models.levels),
        "profile": profiles_record(models.profiles),
    }
    return cells, {"gex": {NET: head}}


def _facts(models: SymbolModels, facts: Facts) -> dict[str, dict[str, object]]:
    mode = mode_record(models.mode, models.constants)
    return {
        "market_mode": {**mode, "label": _steady_label(models, facts)},
        "liquidity_intent": intent_record(models.intent, models.constants),
        "dealer_gravity": gravity_record(models.gravity, models.constants),
    }


def _steady_label(models: SymbolModels, facts: Facts) -> str | None:
    """The label with its hysteresis and dwell: a fold over the minutes of spot on the surface as it is now.

    Not a fold over publications: those coalesce, and the label must be the same whoever published how often.
    """
    if models.mode.label is None or facts.spot is None:
        return models.mode.label
    state: LabelState | None = None
    for minute, spot in facts.trail[-_LABEL_MINUTES:]:
        if minute < facts.spot_minute:
            state = next_label(state, _mode_at(models, spot).score, minute)
    state = next_label(state, models.mode.score, facts.spot_minute)
    return models.mode.label if state is None else state.label


def _mode_at(models: SymbolModels, spot: float) -> Mode:
    """Market Mode had spot been elsewhere on the same surface."""
    levels, profile, axis = models.levels, models.profiles["oi"], moves()
    move = levels.expected_move
    if move is None:
        return models.mode
    prices = spot * (1.0 + axis)
    net, gross = (
        np.rint(np.interp(prices, profile.prices, values)).astype(np.int64) for values in (profile.net, profile.gross)
    )
    flip = find_flip(prices, net, gross, spot, move, levels.coverage)
    return market_mode(flip, weighed_ratio(axis, net, gross, move / spot), spot, move)


def _full(
    layout: Layout, model: str, edition: Edition, shown: Mapping[str, tuple[int, int]] | None
) -> Publication:
    """``shown``: which of the heatmap's cells a view shows."""
    cells = edition.cells
    if shown is not None:
        cells = {pane: of[slice(*shown[pane])] for pane, of in cells.items()}
    document = layout.render(edition.header, edition.heads, cells)
    # Nothing in a document has a blank of its own: without them it is half as long.
    payload = b"" if model in VIEWS else document.replace(b" ", b"")
    return Publication(model, "full", edition.version - 1, edition.version, layout.size, payload, document, [], edition)


def _patched(layout: Layout, model: str, edition: Edition, known: Edition, diff: Diff) -> Publication:
    payload = orjson.dumps(diff.payload)
    return Publication(model, "diff", known.version, edition.version, layout.size, payload, b"", diff.patches, edition)


def _diff(layout: Layout, edition: Edition, known: Edition, blocks: set[str]) -> Diff:
    touched = {block: cells for block, cells in edition.cells.items() if block in blocks}
    with_head = [block for block in blocks if block in edition.heads]
    return layout.diff(
        known.cells, touched, header=edition.header, base=known.version,
        old_heads={block: known.heads[block] for block in with_head},
        new_heads={block: edition.heads[block] for block in with_head},
    )


def _news(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What of a header makes a publication worth it: everything but its number."""
    return {name: value for name, value in fields.items() if name != "version"}


def _coverage(heads: Iterable[Mapping[str, Any]]) -> float | None:
    """Part of all listed contracts that have a usable quote."""
    listed = priced = 0.0
    for head in heads:
        listed += head["contracts"]
        priced += head["contracts"] * (head["coverage"] or 0.0)
    return priced / listed if listed else None
