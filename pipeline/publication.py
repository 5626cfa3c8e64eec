"""From computed panes to the next version of every document: pure, so that a replay makes the same bytes again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.epochs import Epoch
from pipeline.geometry import new_york_day
from pipeline.models.documents import (
    NET,
    Layout,
    gex_net_arrays,
    gex_net_layout,
    gex_side_arrays,
    gex_side_layout,
    header,
    heatmap_arrays,
    heatmap_layout,
)
from pipeline.models.gex import net_by_strike, summary, union_of_strikes
from pipeline.models.pane import PaneModel

MODELS = ("heatmap", "gex_calls", "gex_puts", "gex")
MINUTE_MS = 60_000
_SIDE_MODELS = (("gex_calls", "calls", "call"), ("gex_puts", "puts", "put"))

ArrayKey = tuple[str, str]
Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a claim says of an underlying besides its panes: all event time, nothing of this machine's clock."""

    spot: float | None
    spot_ts: int
    quotes_minute: int
    chain_ts: int
    delayed: bool

    @classmethod
    def read(cls, spot: bytes, quotes_minute: bytes, chain_ts: bytes, timeframe: bytes) -> "Facts":
        parsed = orjson.loads(spot) if spot else {}
        return cls(
            parsed.get("price"), int(parsed.get("ts", 0)), int(quotes_minute), int(chain_ts), timeframe == b"delayed"
        )


class Layouts:
    """The documents of one epoch, laid out."""

    def __init__(self, epoch: Epoch) -> None:
        self.epoch = epoch
        panes = [pane.geometry for pane in epoch.panes.values()]
        self.strikes = union_of_strikes([pane.strikes for pane in panes])
        self.of: dict[str, Layout] = {
            "heatmap": heatmap_layout(epoch.symbol, epoch.id, panes),
            "gex_calls": gex_side_layout(epoch.symbol, epoch.id, panes, "call"),
            "gex_puts": gex_side_layout(epoch.symbol, epoch.id, panes, "put"),
            "gex": gex_net_layout(epoch.symbol, epoch.id, self.strikes),
        }


@dataclass(slots=True)
class Edition:
    """One document as it was last published: its version, header, and the arrays and heads known of it."""

    version: int = 0
    header: dict[str, Any] = field(default_factory=dict)
    arrays: dict[ArrayKey, Integers] = field(default_factory=dict)
    heads: dict[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Publication:
    """The next version of one document: ``document`` whole, or ``patches`` to the stored bytes of ``base``.

    ``payload`` is what is announced: the diff, or the document without the blanks that keep its numbers in place.
    """

    model: str
    kind: str
    base: int
    version: int
    length: int
    payload: bytes
    document: bytes
    patches: list[tuple[int, bytes]]
    edition: Edition


def next_editions(
    layouts: Layouts, panes: Mapping[str, PaneModel], known: Mapping[str, Edition], facts: Facts, full: bool
) -> list[Publication]:
    """The documents that change with ``panes`` (those computed anew) and ``facts``.

    ``known`` holds every head, every GEX array, and the heatmap arrays of ``panes``; with ``full`` only versions count
    and ``panes`` is every pane of the epoch. A document with nothing new is left out: no input change, no diff.
    """
    arrays, heads = _next_arrays(layouts, panes, known)
    coverage = _coverage(heads["heatmap"].values())
    made = []
    for model in MODELS:
        edition = _edition(layouts, model, known[model], arrays[model], heads[model], facts, coverage)
        publication = _full(layouts.of[model], model, edition) if full else _diff(
            layouts.of[model], model, edition, known[model], panes
        )
        if publication is not None:
            made.append(publication)
    return made


def _next_arrays(
    layouts: Layouts, panes: Mapping[str, PaneModel], known: Mapping[str, Edition]
) -> tuple[dict[str, dict[ArrayKey, Integers]], dict[str, dict[str, Mapping[str, Any]]]]:
    arrays = {model: dict(known[model].arrays) for model in MODELS}
    heads = {model: dict(known[model].heads) for model in MODELS}
    for pane, model in panes.items():
        arrays["heatmap"].update(heatmap_arrays(pane, model.grids))
        heads["heatmap"][pane] = model.head
        for name, _, side in _SIDE_MODELS:
            arrays[name].update(gex_side_arrays(pane, model.gex, side))
    if panes or not heads["gex"]:
        gexes = {
            pane: np.stack([np.asarray(arrays[name][pane, book], dtype=np.int64) for name, book, _ in _SIDE_MODELS])
            for pane in layouts.epoch.panes
        }
        geometries = {name: pane.geometry for name, pane in layouts.epoch.panes.items()}
        arrays["gex"] = dict(gex_net_arrays(
            net_by_strike(layouts.strikes, [(geometries[pane].strikes, gexes[pane]) for pane in gexes])
        ))
        heads["gex"] = {NET: summary([(int(heads["heatmap"][pane]["dte"]), gexes[pane]) for pane in gexes])}
    return arrays, heads


def _edition(
    layouts: Layouts, model: str, known: Edition, arrays: dict[ArrayKey, Integers],
    heads: dict[str, Mapping[str, Any]], facts: Facts, coverage: float | None,
) -> Edition:
    layout = layouts.of[model]
    spot_minute = facts.spot_ts // MINUTE_MS * MINUTE_MS
    version = known.version + 1
    fields = header(
        layout.schema, symbol=layout.symbol, epoch=layout.epoch, version=version,
        ts=max(facts.quotes_minute, facts.chain_ts, spot_minute),
        as_of={
            "quotes": facts.quotes_minute or None, "chain": facts.chain_ts or None, "spot": spot_minute or None,
            "oi_date": open_interest_date(facts.chain_ts).isoformat(),
        },
        spot=facts.spot, status="delayed" if facts.delayed else "live", coverage=coverage,
    )
    return Edition(version, fields, arrays, heads)


def _full(layout: Layout, model: str, edition: Edition) -> Publication:
    document = layout.render(edition.header, edition.heads, edition.arrays)
    payload = document.replace(b" ", b"")  # nothing in a document has a blank of its own
    return Publication(model, "full", edition.version - 1, edition.version, layout.size, payload, document, [], edition)


def _diff(
    layout: Layout, model: str, edition: Edition, known: Edition, panes: Mapping[str, PaneModel]
) -> Publication | None:
    blocks = [NET] if model == "gex" else list(panes)
    touched = {key: array for key, array in edition.arrays.items() if key[0] in set(blocks)} if panes else {}
    has_head = [block for block in blocks if block in edition.heads] if panes else []
    diff = layout.diff(
        known.arrays, touched, header=edition.header, base=known.version,
        old_heads={block: known.heads[block] for block in has_head},
        new_heads={block: edition.heads[block] for block in has_head},
    )
    same_header = {**edition.header, "version": 0} == {**known.header, "version": 0}
    if not diff.changed and same_header:
        return None
    return Publication(
        model, "diff", known.version, edition.version, layout.size, orjson.dumps(diff.payload), b"", diff.patches,
        edition,
    )


def _coverage(heads: Iterable[Mapping[str, Any]]) -> float | None:
    """Part of all listed contracts that have a usable quote."""
    listed = priced = 0.0
    for head in heads:
        listed += head["contracts"]
        priced += head["contracts"] * (head["coverage"] or 0.0)
    return priced / listed if listed else None


def open_interest_date(chain_ts: int) -> date:
    """The day whose close the open interest of a chain describes: the last weekday before it, in New York."""
    day = new_york_day(chain_ts) - timedelta(days=1)
    while day.weekday() >= 5:
        day -= timedelta(days=1)
    return day
