"""Documents: the published heatmap and GEX models, their diffs, and what a client does with a diff.

Document                       block           arrays of a block
heatmap/1                      pane            butterfly:call:mid ... [S, W], single:call:mid ... [S]
gex-side/1 (calls, puts)       pane            calls or puts [S], keyed by strike
gex/1 (net)                    NET             by_strike, volume_calls, volume_puts [U], keyed by strike; a head

A diff has the document's name with ``-diff``, every header field, ``base`` (the version it applies to), and

    "panes": {block: {array: {"i": [indices, strike * W + width], "v": [values or null]}}}   for the heatmap
    "panes": {block: {array: {"k": [strike keys], "v": [values or null]}}}                   for the GEX documents
    "heads": {block: {only the members that changed}}

Heatmap numbers are thousandths of a dollar (null: MISSING), GEX numbers whole dollars per 1 % (null: MISSING_USD).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from pipeline.models.exposure import OI, VOLUME
from pipeline.models.gex import MISSING_USD, net_by_strike
from pipeline.models.layout import HEADER_BYTES, HEADER_FIELDS, Cells, Diff, Layout, LayoutWriter, Number, Patch
from pipeline.models.pane import PaneGeometry
from pipeline.models.quotes import Floats, Integers
from pipeline.models.slots import decode, encode
from pipeline.models.strategies import MISSING, PRICINGS, SIDES, STRATEGIES
from pipeline.models.violations import plain_number

__all__ = [
    "HEADER_BYTES",
    "HEATMAP_SCHEMA",
    "NET",
    "NET_SCHEMA",
    "SIDE_SCHEMA",
    "Cells",
    "Diff",
    "Layout",
    "Patch",
    "apply_diff",
    "decode",
    "encode",
    "gex_net_cells",
    "gex_net_layout",
    "gex_side_layout",
    "header",
    "heatmap_layout",
]

HEATMAP_SCHEMA = "heatmap/1"
SIDE_SCHEMA = "gex-side/1"
NET_SCHEMA = "gex/1"
NET = "net"
"""The name of the net document's only block; its head's members are members of the document itself."""

VOLUME_ARRAYS = ("volume_calls", "volume_puts")
"""The volume book by strike, a side each; the open interest's sides have documents of their own, by pane."""

HEAD_BYTES = 4096
NET_HEAD_BYTES = 16384

MILLS = Number(width=11, decimals=3, missing=MISSING)
USD = Number(width=16, decimals=0, missing=MISSING_USD)

_UNITS = b'"unit":"usd_per_1pct","sign_model":"naive"'

# The name of a side's array in a GEX document.
BOOK_OF_SIDE = {"call": "calls", "put": "puts"}


def header(
    schema: str,
    *,
    symbol: str,
    epoch: str,
    version: int,
    ts: int,
    as_of: Mapping[str, Any],
    spot: float | None,
    status: str,
    coverage: float | None,
) -> dict[str, Any]:
    """The fields every model begins with, in their order.

    ``ts`` is the newest event behind the model; ``as_of`` has quotes, chain, spot (ms) and oi_date, null where
    unknown; ``status`` is live, delayed, stale, dormant or closed; floats are rounded to 6 decimals.
    """
    return {
        "schema": schema,
        "symbol": symbol,
        "epoch": epoch,
        "version": version,
        "ts": ts,
        "as_of": {name: as_of.get(name) for name in ("quotes", "chain", "spot", "oi_date")},
        "spot": _rounded(spot),
        "status": status,
        "coverage": _rounded(coverage),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 6) + 0.0


def heatmap_layout(
    symbol: str, epoch: str, panes: Sequence[PaneGeometry], strategies: Sequence[str] = STRATEGIES
) -> Layout:
    """The heatmap of an epoch, panes in the order given; with one strategy, its orthogonal view.

    All panes of a symbol share their widths. Raises ValueError when they do not.
    """
    widths = panes[0].widths if panes else np.empty(0)
    if any(not np.array_equal(pane.widths, widths) for pane in panes):
        raise ValueError(f"{symbol}: panes of one heatmap have different widths")
    writer = LayoutWriter(MILLS)
    writer.text(b',"widths":' + _numbers(widths) + b',"panes":{')
    for position, pane in enumerate(panes):
        writer.text((b"," if position else b"") + orjson.dumps(pane.pane) + b":")
        writer.begin_block(pane.pane)
        writer.text(b"{")
        writer.head(HEAD_BYTES)
        writer.text(b',"strikes":' + _numbers(pane.strikes))
        for strategy in strategies:
            columns = None if strategy == "single" else widths.size
            for side in SIDES:
                writer.text(f',"{strategy}":{{"{side}":{{'.encode() if side == "call" else f',"{side}":{{'.encode())
                for pricing in PRICINGS:
                    writer.text(f'{"," if pricing != "mid" else ""}"{pricing}":'.encode())
                    writer.rows(f"{strategy}:{side}:{pricing}", pane.strikes.size, columns)
                writer.text(b"}")
            writer.text(b"}")
        writer.text(b"}")
        writer.end_block()
    writer.text(b"}}")
    return writer.finish(HEATMAP_SCHEMA, symbol, epoch, shortened=("violations",))


def gex_side_layout(symbol: str, epoch: str, panes: Sequence[PaneGeometry], side: str) -> Layout:
    """GEX of one side (``call`` or ``put``) per expiration, root and strike."""
    writer = LayoutWriter(USD)
    writer.text(b',"side":"' + BOOK_OF_SIDE[side].encode() + b'","book":"oi",' + _UNITS + b',"expirations":{')
    for position, pane in enumerate(panes):
        writer.text((b"," if position else b"") + orjson.dumps(pane.pane) + b":")
        writer.begin_block(pane.pane)
        writer.keyed(BOOK_OF_SIDE[side], _strike_keys(pane.strikes))
        writer.end_block()
    writer.text(b"}}")
    return writer.finish(SIDE_SCHEMA, symbol, epoch)


def gex_net_layout(symbol: str, epoch: str, strikes: Floats) -> Layout:
    """GEX over all panes by strike (``strikes`` from gex.union_of_strikes), totals and DTE buckets."""
    writer = LayoutWriter(USD)
    writer.text(b',"book":"oi",' + _UNITS + b",")
    writer.begin_block(NET)
    writer.head(NET_HEAD_BYTES)
    writer.text(b',"by_strike":')
    writer.keyed("by_strike", _strike_keys(strikes))
    for array in VOLUME_ARRAYS:
        writer.text(b',"' + array.encode() + b'":')
        writer.keyed(array, _strike_keys(strikes))
    writer.end_block()
    writer.text(b"}")
    return writer.finish(NET_SCHEMA, symbol, epoch)


def gex_net_cells(panes: Sequence[tuple[Floats, Integers]]) -> Integers:
    """The numbers of gex_net_layout, from panes given as (strikes float64[S], gex int64[books, 2, S] of exposure)."""
    strikes = np.concatenate([of for of, _ in panes])
    gex = np.concatenate([of for _, of in panes], axis=2)
    books = gex[OI], gex[VOLUME, :1], gex[VOLUME, 1:]
    return np.concatenate([net_by_strike(strikes, book) for book in books])


def _numbers(values: Floats) -> bytes:
    return orjson.dumps([plain_number(value) for value in values.tolist()])


def _strike_keys(strikes: Floats) -> list[str]:
    return [str(plain_number(strike)) for strike in strikes.tolist()]


def apply_diff(document: Mapping[str, Any], diff: Mapping[str, Any]) -> dict[str, Any]:
    """The next document, parsed, from the one a diff was made for; the document given is left as it is.

    This is all a client has to do. Raises ValueError when the diff is for another document, epoch or version: the
    client then reads the full model again.
    """
    name, _, version = document["schema"].partition("/")
    wanted = (f"{name}-diff/{version}", document["symbol"], document["epoch"], document["version"])
    found = (diff["schema"], diff["symbol"], diff["epoch"], diff["base"])
    if wanted != found:
        raise ValueError(f"a diff {found} for a document that wants {wanted}")
    result = dict(document)
    result.update((key, diff[key]) for key in HEADER_FIELDS if key in diff)
    panes_key = {HEATMAP_SCHEMA: "panes", SIDE_SCHEMA: "expirations"}.get(document["schema"])
    if panes_key is None:
        result.update(diff.get("heads", {}).get(NET, {}))
        for array, change in diff.get("panes", {}).get(NET, {}).items():
            result[array] = {**result[array], **dict(zip(change["k"], change["v"], strict=True))}
        return result
    panes = dict(document[panes_key])
    for pane, head in diff.get("heads", {}).items():
        panes[pane] = {**panes[pane], **head}
    for pane, changes in diff.get("panes", {}).items():
        if document["schema"] == SIDE_SCHEMA:
            (change,) = changes.values()
            panes[pane] = {**panes[pane], **dict(zip(change["k"], change["v"], strict=True))}
        else:
            panes[pane] = _apply_tiles(panes[pane], changes)
    result[panes_key] = panes
    return result


def _apply_tiles(pane: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(pane)
    for array, change in changes.items():
        strategy, side, pricing = array.split(":")
        result[strategy] = sides = dict(result[strategy])
        sides[side] = pricings = dict(sides[side])
        cells = pricings[pricing]
        if strategy == "single":
            pricings[pricing] = cells = list(cells)
            for index, value in zip(change["i"], change["v"], strict=True):
                cells[index] = value
        else:
            pricings[pricing] = rows = [list(row) for row in cells]
            for index, value in zip(change["i"], change["v"], strict=True):
                rows[index // len(rows[0])][index % len(rows[0])] = value
    return result
