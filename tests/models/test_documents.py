"""Documents: valid JSON at every version, patched in place, and diffs that a client in plain Python can follow."""

from dataclasses import replace
from datetime import date

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models.documents import (
    HEADER_BYTES,
    HEATMAP_SCHEMA,
    NET,
    NET_SCHEMA,
    SIDE_SCHEMA,
    apply_diff,
    gex_net_cells,
    gex_net_layout,
    gex_side_layout,
    header,
    heatmap_layout,
)
from pipeline.models.gex import MISSING_USD, summary, union_of_strikes
from pipeline.models.layout import Excerpt
from pipeline.models.pane import calculate
from pipeline.models.strategies import GRID_KEYS, MISSING

from .real_chains import SPX_2026, load
from .small_panes import claims, geometry, values

SYMBOL, EPOCH = "SPX", "SPX:1787238000000:0a1b2c"
PANES = [
    geometry([90, 95, 97.5, 100, 105]),
    geometry([95, 100, 110], expiration=date(2026, 12, 18), root="SPX"),
    geometry([100], expiration=date(2026, 12, 18)),
]
NEAR, FAR, SINGLE = (pane.pane for pane in PANES)


def header_of(schema, version=1, **changes):
    fields = {
        "symbol": SYMBOL,
        "epoch": EPOCH,
        "version": version,
        "ts": 1_787_238_000_000 + version,
        "as_of": {"quotes": 1_787_238_000_000, "oi_date": "2026-08-20"},
        "spot": 7641.1602,
        "status": "live",
        "coverage": 0.99,
    }
    return header(schema, **{**fields, **changes})


def heads_of(models):
    return {pane.pane: model.head for pane, model in zip(PANES, models, strict=True)}


def tiles_of(models):
    return {pane.pane: model.grids.cells for pane, model in zip(PANES, models, strict=True)}


def moved(cells, layout, pane, name, places, value):
    """The cells with others at places of one array, each (strike, width)."""
    array = next(array for array in layout.blocks[pane].arrays if array.name == name)
    of = cells[pane].copy()
    for place in places:
        of[array.first + np.ravel_multi_index(place, array.shape)] = value
    return {**cells, pane: of}


def ordinary_models():
    claimed = [
        values([[10, 6, 4, 2.5, 1], [0.2, 1, 1.5, 2.5, 6]], [[10.2, 6.1, 4.1, 2.6, np.nan], [0.3, 1.1, 1.6, 2.6, 6.2]]),
        values([[7, 4, 1], [2, 4, 11]], [[7.2, 4.2, 1.1], [2.1, 4.1, 11.2]]),
        values([[3], [3]], [[3.1], [3.1]]),
    ]
    return [calculate(pane, value) for pane, value in zip(PANES, claimed, strict=True)]


def patched(document, patches):
    result = bytearray(document)
    for offset, text in patches:
        result[offset : offset + len(text)] = text
    assert len(result) == len(document)
    return bytes(result)


def test_the_heatmap_is_json_that_begins_with_its_header_and_holds_every_tile():
    models, layout = ordinary_models(), heatmap_layout(SYMBOL, EPOCH, PANES)
    text = layout.render(header_of(HEATMAP_SCHEMA), heads_of(models), tiles_of(models))
    assert len(text) == layout.size
    document = orjson.loads(text)
    fields = ["schema", "symbol", "epoch", "version", "ts", "as_of", "spot", "status", "coverage", "widths", "panes"]
    assert list(document) == fields
    assert document["as_of"] == {"quotes": 1_787_238_000_000, "chain": None, "spot": None, "oi_date": "2026-08-20"}
    assert document["widths"] == [5, 10]
    assert list(document["panes"]) == [NEAR, FAR, SINGLE]
    for pane, model in zip(PANES, models, strict=True):
        published = document["panes"][pane.pane]
        assert published["strikes"] == pane.strikes.tolist()
        assert {key: published[key] for key in model.head} == model.head
        for key in GRID_KEYS:
            strategy, side = key.split(":")
            for index, pricing in enumerate(("mid", "buy", "sell")):
                mills = model.grids[key][index]
                expected = np.where(mills == MISSING, None, mills / 1000).tolist()
                assert published[strategy][side][pricing] == expected
    assert document["panes"][NEAR]["strikes"][2] == 97.5
    assert b'"strikes":[90,95,97.5,100,105]' in text


def test_the_view_of_one_strategy_is_a_part_of_the_whole():
    models = ordinary_models()
    whole = orjson.loads(
        heatmap_layout(SYMBOL, EPOCH, PANES).render(header_of(HEATMAP_SCHEMA), heads_of(models), tiles_of(models))
    )
    part = heatmap_layout(SYMBOL, EPOCH, PANES, strategies=["vertical"])
    blocks = heatmap_layout(SYMBOL, EPOCH, PANES).blocks
    cells = {pane: of[slice(*blocks[pane].span("vertical"))] for pane, of in tiles_of(models).items()}
    view = orjson.loads(part.render(header_of(HEATMAP_SCHEMA), heads_of(models), cells))
    assert view["panes"][FAR]["vertical"] == whole["panes"][FAR]["vertical"]
    assert "butterfly" not in view["panes"][FAR]


def test_a_panes_arrays_and_head_are_read_back_from_the_bytes_of_its_block():
    models, layout = ordinary_models(), heatmap_layout(SYMBOL, EPOCH, PANES)
    cells, heads = tiles_of(models), heads_of(models)
    text = layout.render(header_of(HEATMAP_SCHEMA), heads, cells)
    for pane in PANES:
        offset, length = layout.block(pane.pane)
        block = text[offset : offset + length]
        assert orjson.loads(block)["expiration"] == pane.expiration.isoformat()
        np.testing.assert_array_equal(layout.read_cells(block, pane.pane), cells[pane.pane])
        assert layout.read_head(block, pane.pane) == heads[pane.pane]
    with pytest.raises(ValueError, match="bytes"):
        layout.read_cells(b"{}", NEAR)


def test_one_changed_tile_costs_one_small_patch_and_one_entry():
    models, layout = ordinary_models(), heatmap_layout(SYMBOL, EPOCH, PANES)
    old = tiles_of(models)
    new = moved(old, layout, NEAR, "butterfly:call:mid", [(1, 0)], -50)
    new = moved(new, layout, NEAR, "butterfly:call:mid", [(3, 1)], MISSING)
    diff = layout.diff(old, new, header=header_of(HEATMAP_SCHEMA, 2), base=1)
    assert diff.payload == {
        "schema": "heatmap-diff/1",
        **{key: value for key, value in header_of(HEATMAP_SCHEMA, 2).items() if key != "schema"},
        "base": 1,
        "panes": {NEAR: {"butterfly:call:mid": {"i": [2], "v": [-0.05]}}},
    }
    assert (diff.cells, diff.changed) == (1, True)
    (_, head), (offset, text) = diff.patches
    assert len(head) == HEADER_BYTES
    assert text == b"     -0.050"
    assert offset > layout.block(NEAR)[0]


def test_neighbouring_cells_travel_in_one_patch_and_distant_ones_do_not():
    pane = geometry([float(strike) for strike in range(100, 200, 5)])
    layout = heatmap_layout(SYMBOL, EPOCH, [pane])
    model = calculate(pane, values(np.ones((2, 20)), np.full((2, 20), 1.1)))
    old = {pane.pane: model.grids.cells}
    new = moved(old, layout, pane.pane, "vertical:put:buy", [(0, 0), (2, 1), (15, 0)], 7)
    diff = layout.diff(old, new, header=header_of(HEATMAP_SCHEMA, 2), base=1)
    assert [len(text) for _, text in diff.patches] == [HEADER_BYTES, 2 * 26 + 12 + 11, 11]
    assert patched(layout.render(header_of(HEATMAP_SCHEMA), {pane.pane: model.head}, old), diff.patches) == (
        layout.render(header_of(HEATMAP_SCHEMA, 2), {pane.pane: model.head}, new)
    )


def test_no_patch_goes_from_one_strategy_to_the_next_and_a_view_takes_them_over():
    pane = geometry([float(strike) for strike in range(100, 200, 5)])
    whole = heatmap_layout(SYMBOL, EPOCH, [pane])
    model = calculate(pane, values(np.ones((2, 20)), np.full((2, 20), 1.1)))
    old, heads, name = {pane.pane: model.grids.cells}, {pane.pane: model.head}, pane.pane
    new = moved(old, whole, name, "butterfly:put:sell", [(19, 1)], 7)
    new = moved(new, whole, name, "vertical:call:mid", [(0, 0), (19, 1)], 8)
    new = moved(new, whole, name, "vertical:call:buy", [(0, 0)], 9)
    changed = {**model.head, "max_pain": 123.0}
    diff = whole.diff(old, new, header=header_of(HEATMAP_SCHEMA, 2), base=1, old_heads=heads, new_heads={name: changed})
    assert len(diff.patches) == 2 + 3, "the header, the head, and one patch for each strategy and pricing"
    for strategy in ("butterfly", "vertical", "single"):
        view = heatmap_layout(SYMBOL, EPOCH, [pane], strategies=[strategy])
        span = whole.blocks[name].span(strategy)
        before = view.render(header_of(HEATMAP_SCHEMA), heads, {name: old[name][slice(*span)]})
        taken = Excerpt(whole, view, strategy).taken(diff.patches)
        patches = [view.header_patch(header_of(HEATMAP_SCHEMA, 2))]
        patches += [(offset, diff.patches[number][1]) for offset, number in taken]
        assert patched(before, patches) == view.render(
            header_of(HEATMAP_SCHEMA, 2), {name: changed}, {name: new[name][slice(*span)]}
        )


def test_nothing_changed_means_nothing_but_a_header():
    models, layout = ordinary_models(), heatmap_layout(SYMBOL, EPOCH, PANES)
    arrays, heads = tiles_of(models), heads_of(models)
    diff = layout.diff(arrays, arrays, header=header_of(HEATMAP_SCHEMA, 2), base=1, old_heads=heads, new_heads=heads)
    assert (diff.cells, diff.changed, len(diff.patches)) == (0, False, 1)
    assert "panes" not in diff.payload
    assert "heads" not in diff.payload


def test_only_changed_keys_of_a_head_travel():
    models, layout = ordinary_models(), heatmap_layout(SYMBOL, EPOCH, PANES)
    heads = heads_of(models)
    other = {**heads, FAR: {**heads[FAR], "atm_iv": 0.5, "forward": None}}
    diff = layout.diff({}, {}, header=header_of(HEATMAP_SCHEMA, 2), base=1, old_heads=heads, new_heads=other)
    assert diff.payload["heads"] == {FAR: {"forward": None, "atm_iv": 0.5}}
    assert diff.changed
    first = layout.render(header_of(HEATMAP_SCHEMA), heads, tiles_of(models))
    second = layout.render(header_of(HEATMAP_SCHEMA, 2), other, tiles_of(models))
    assert patched(first, diff.patches) == second
    assert apply_diff(orjson.loads(first), diff.payload) == orjson.loads(second)


def test_a_head_that_would_overflow_loses_violations_and_never_counts():
    pane = PANES[0]
    layout = heatmap_layout(SYMBOL, EPOCH, [pane])
    model = ordinary_models()[0]
    entry = {"tile": "butterfly:call", "strike": 7640.5, "width": 120, "kind": "stale_or_arb", "by": 123.456}
    head = {**model.head, "violation_counts": {"noise": 900, "stale_or_arb": 90}, "violations": [entry] * 90}
    text = layout.render(header_of(HEATMAP_SCHEMA), {NEAR: head}, {NEAR: model.grids.cells})
    published = orjson.loads(text)["panes"][NEAR]
    assert published["violation_counts"] == {"noise": 900, "stale_or_arb": 90}
    assert 30 < len(published["violations"]) < 90
    assert published["violations"] == [entry] * len(published["violations"])
    offset, length = layout.block(NEAR)
    old = {NEAR: layout.read_head(text[offset : offset + length], NEAR)}
    again = layout.diff({}, {}, header=header_of(HEATMAP_SCHEMA, 2), base=1, old_heads=old, new_heads={NEAR: head})
    assert not again.changed


def test_a_header_of_another_epoch_or_beyond_its_slot_is_refused():
    layout = heatmap_layout(SYMBOL, EPOCH, PANES)
    with pytest.raises(ValueError, match="another"):
        layout.header_patch(header_of(HEATMAP_SCHEMA, epoch="another"))
    with pytest.raises(OverflowError, match="header"):
        layout.header_patch({**header_of(HEATMAP_SCHEMA), "status": "x" * 2000})


def test_panes_of_different_widths_are_no_heatmap():
    with pytest.raises(ValueError, match="widths"):
        heatmap_layout(SYMBOL, EPOCH, [PANES[0], replace(PANES[1], widths=np.array([5.0]))])


def test_a_client_refuses_a_diff_that_is_not_for_its_document():
    models, layout = ordinary_models(), heatmap_layout(SYMBOL, EPOCH, PANES)
    document = orjson.loads(layout.render(header_of(HEATMAP_SCHEMA), heads_of(models), tiles_of(models)))
    diff = layout.diff({}, {}, header=header_of(HEATMAP_SCHEMA, 4), base=3).payload
    with pytest.raises(ValueError, match="wants"):
        apply_diff(document, diff)
    with pytest.raises(ValueError, match="wants"):
        apply_diff(document, {**diff, "base": 1, "epoch": "another"})


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_patches_keep_the_document_exact_and_diffs_keep_a_client_exact(data):
    layout = heatmap_layout(SYMBOL, EPOCH, PANES)
    models = ordinary_models()
    text = layout.render(header_of(HEATMAP_SCHEMA), heads_of(models), tiles_of(models))
    client = orjson.loads(text)
    for version in range(2, 5):
        models = list(models)
        touched = data.draw(st.sets(st.integers(0, len(PANES) - 1), min_size=1), label="panes")
        old_heads, new_heads, old, new = {}, {}, {}, {}
        for index in sorted(touched):
            pane = PANES[index]
            offset, length = layout.block(pane.pane)
            block = text[offset : offset + length]
            old[pane.pane] = layout.read_cells(block, pane.pane)
            old_heads[pane.pane] = layout.read_head(block, pane.pane)
            models[index] = calculate(pane, data.draw(claims(pane.strikes.size)))
            new[pane.pane] = models[index].grids.cells
            new_heads[pane.pane] = models[index].head
        status = data.draw(st.sampled_from(["live", "stale"]))
        fields = header_of(HEATMAP_SCHEMA, version, status=status, spot=data.draw(st.sampled_from([None, 1.5, 7000.1])))
        diff = layout.diff(old, new, header=fields, base=version - 1, old_heads=old_heads, new_heads=new_heads)
        text = patched(text, diff.patches)
        assert text == layout.render(fields, heads_of(models), tiles_of(models))
        client = apply_diff(client, orjson.loads(orjson.dumps(diff.payload)))
        assert client == orjson.loads(text)
        assert diff.cells == sum(int(np.count_nonzero(new[key] != old[key])) for key in new)


USD = st.one_of(st.just(MISSING_USD), st.integers(-(10**12), 10**12))


def gex_document(layouts, gexes, version):
    """(schema, render arguments) of the calls, puts and net documents."""
    books = [np.stack((gex, np.where(gex == MISSING_USD, gex, gex // 2))) for gex in gexes]
    net = gex_net_cells([(pane.strikes, both) for pane, both in zip(PANES, books, strict=True)])
    sums = np.stack([np.where(gex == MISSING_USD, 0, gex).sum(axis=1) for gex in gexes], axis=1)
    heads = {NET: summary(np.array([0, 8, 120]), sums)}
    for layout, side in zip(layouts, ("call", "put", None), strict=True):
        row = ("call", "put").index(side) if side else 0
        cells = {pane.pane: gex[row] for pane, gex in zip(PANES, gexes, strict=True)} if side else {NET: net}
        yield layout, header_of(layout.schema, version), {} if side else heads, cells


def gex_layouts():
    return (
        gex_side_layout(SYMBOL, EPOCH, PANES, "call"),
        gex_side_layout(SYMBOL, EPOCH, PANES, "put"),
        gex_net_layout(SYMBOL, EPOCH, union_of_strikes([pane.strikes for pane in PANES])),
    )


def test_gex_documents_are_keyed_by_expiration_with_root_and_by_the_shortest_strike():
    gexes = [np.arange(10).reshape(2, 5) * 1000, np.array([[1, 2, MISSING_USD]] * 2), np.array([[7], [-9]])]
    calls, puts, net = (
        orjson.loads(layout.render(fields, heads, arrays))
        for layout, fields, heads, arrays in gex_document(gex_layouts(), gexes, 1)
    )
    assert (calls["schema"], calls["side"], calls["unit"], calls["sign_model"], calls["book"]) == (
        SIDE_SCHEMA,
        "calls",
        "usd_per_1pct",
        "naive",
        "oi",
    )
    assert calls["expirations"] == {
        NEAR: {"90": 0, "95": 1000, "97.5": 2000, "100": 3000, "105": 4000},
        FAR: {"95": 1, "100": 2, "110": None},
        SINGLE: {"100": 7},
    }
    assert puts["expirations"][SINGLE] == {"100": -9}
    assert net["schema"] == NET_SCHEMA
    assert net["by_strike"] == {"90": 5000, "95": 7002, "97.5": 9000, "100": 11002, "105": 13000, "110": None}
    assert net["volume_calls"] == {"90": 0, "95": 500, "97.5": 1000, "100": 1504, "105": 2000, "110": None}
    assert net["volume_puts"] == {"90": 2500, "95": 3000, "97.5": 3500, "100": 3996, "105": 4500, "110": None}
    assert net["totals"]["net"] == 45004
    assert net["buckets"]["31+"] == {"call": 7, "put": -9, "net": -2, "gross": 16, "ratio": -0.125}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_gex_diffs_and_patches_keep_client_and_store_exact(data):
    layouts = gex_layouts()

    def draw_gexes():
        return [
            np.reshape(
                data.draw(st.lists(USD, min_size=2 * pane.strikes.size, max_size=2 * pane.strikes.size)), (2, -1)
            ).astype(np.int64)
            for pane in PANES
        ]

    before = list(gex_document(layouts, draw_gexes(), 1))
    after = list(gex_document(layouts, draw_gexes(), 2))
    for (layout, fields, heads, arrays), (_, next_fields, next_heads, next_arrays) in zip(before, after, strict=True):
        text = layout.render(fields, heads, arrays)
        for block in layout.blocks:
            offset, length = layout.block(block)
            np.testing.assert_array_equal(layout.read_cells(text[offset : offset + length], block), arrays[block])
        diff = layout.diff(arrays, next_arrays, header=next_fields, base=1, old_heads=heads, new_heads=next_heads)
        assert patched(text, diff.patches) == layout.render(next_fields, next_heads, next_arrays)
        client = apply_diff(orjson.loads(text), orjson.loads(orjson.dumps(diff.payload)))
        assert client == orjson.loads(layout.render(next_fields, next_heads, next_arrays))


def test_documents_of_no_panes_and_no_strikes_are_json():
    empty = geometry([])
    model = calculate(empty, values(np.empty((2, 0)), np.empty((2, 0))))
    heatmap = heatmap_layout(SYMBOL, EPOCH, [empty])
    cells = {empty.pane: model.grids.cells}
    text = heatmap.render(header_of(HEATMAP_SCHEMA), {empty.pane: model.head}, cells)
    assert orjson.loads(text)["panes"][empty.pane]["butterfly"]["put"]["sell"] == []
    offset, length = heatmap.block(empty.pane)
    assert heatmap.read_cells(text[offset : offset + length], empty.pane).size == 0
    assert orjson.loads(heatmap_layout(SYMBOL, EPOCH, []).render(header_of(HEATMAP_SCHEMA), {}, {}))["panes"] == {}
    side = gex_side_layout(SYMBOL, EPOCH, [empty], "call")
    assert orjson.loads(side.render(header_of(SIDE_SCHEMA), {}, {empty.pane: model.gex[0]}))
    net = gex_net_layout(SYMBOL, EPOCH, np.empty(0))
    nothing = np.empty((2, 0), dtype=np.int64)
    assert orjson.loads(net.render(header_of(NET_SCHEMA), {NET: summary(nothing[0], nothing)}, {NET: nothing[0]}))


def test_a_real_chain_is_published_and_patched():
    panes = load(SPX_2026)[1:6]
    geometries = [pane.geometry for pane in panes]
    models = {pane.geometry.pane: calculate(pane.geometry, pane.values) for pane in panes}
    layout = heatmap_layout(SYMBOL, EPOCH, geometries)
    arrays = {pane: model.grids.cells for pane, model in models.items()}
    heads = {pane: model.head for pane, model in models.items()}
    text = layout.render(header_of(HEATMAP_SCHEMA), heads, arrays)
    document = orjson.loads(text)
    other, strike = panes[2], 40
    bid = other.values.bid.copy()
    bid[1, strike] = 0.0
    name = other.geometry.pane
    model = calculate(other.geometry, replace(other.values, bid=bid), models[name], bid != other.values.bid)
    new = {name: model.grids.cells}
    diff = layout.diff(
        arrays,
        new,
        header=header_of(HEATMAP_SCHEMA, 2),
        base=1,
        old_heads={name: heads[name]},
        new_heads={name: model.head},
    )
    assert diff.changed
    assert sum(len(patch) for _, patch in diff.patches) < 0.1 * layout.block(name)[1]
    text = patched(text, diff.patches)
    assert text == layout.render(header_of(HEATMAP_SCHEMA, 2), {**heads, name: model.head}, {**arrays, **new})
    assert apply_diff(document, orjson.loads(orjson.dumps(diff.payload))) == orjson.loads(text)
