"""Rows: panes computed side by side have the bits that each has alone, however many go with it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models.row import MOST_STRIKES, Row, rows_of
from pipeline.tiles import Claimed, compute, pack_grids, pack_tiles, retile

from .real_chains import SPX_2026, load
from .small_panes import claims, geometries, geometry, values


def packed(tiles):
    return pack_grids(tiles.model), pack_tiles(tiles)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_panes_side_by_side_have_the_bits_of_each_alone(data):
    panes = []
    for _ in range(data.draw(st.integers(2, 5))):
        pane = data.draw(geometries())
        panes.append(Claimed(pane, data.draw(claims(pane.strikes.size))))
    together = compute(panes)
    assert [packed(tiles) for tiles in together] == [packed(compute([pane])[0]) for pane in panes]


def test_a_pane_of_no_strikes_goes_with_others():
    empty = Claimed(geometry([]), values(np.empty((2, 0)), np.empty((2, 0))))
    other = Claimed(geometry([90, 95, 100]), values([[9, 6, 3], [1, 2, 4]], [[10, 7, 4], [2, 3, 5]]))
    for order in ([empty, other], [other, empty], [empty, empty]):
        assert [packed(tiles) for tiles in compute(order)] == [packed(compute([pane])[0]) for pane in order]


def test_a_real_chain_side_by_side_has_the_bits_of_its_panes_alone():
    panes = [Claimed(pane.geometry, pane.values) for pane in load(SPX_2026)]
    together = compute(panes)
    assert sum(pane.geometry.strikes.size for pane in panes) > MOST_STRIKES, "more than one row"
    assert [packed(tiles) for tiles in together] == [packed(compute([pane])[0]) for pane in panes]
    moved = [
        Claimed(pane.geometry, pane.values, tiles.model, np.ones(pane.values.bid.shape, dtype=bool))
        for pane, tiles in zip(panes, together, strict=True)
    ]
    assert [pack_grids(model) for model in retile(moved)] == [pack_grids(tiles.model) for tiles in together]


def test_nothing_to_compute_is_nothing():
    assert compute([]) == retile([]) == []


def test_tiles_alone_need_tiles_to_start_from():
    pane = Claimed(geometry([90, 95, 100]), values([[9, 6, 3], [1, 2, 4]], [[10, 7, 4], [2, 3, 5]]))
    with pytest.raises(ValueError, match="no tiles to start from"):
        retile([pane])


@given(sizes=st.lists(st.integers(0, 2 * MOST_STRIKES), max_size=20))
def test_rows_take_every_pane_once_and_are_short(sizes):
    rows = rows_of(sizes)
    assert [size for row in rows for size in sizes[row]] == sizes
    assert all(sum(sizes[row]) <= MOST_STRIKES or len(sizes[row]) == 1 for row in rows)


@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=8), data=st.data())
def test_what_a_row_joins_it_cuts_and_sums(sizes, data):
    row, strikes = Row.of(sizes), sum(sizes)
    numbers = data.draw(st.lists(st.integers(-(2**62), 2**62), min_size=strikes, max_size=strikes))
    joined = np.array([numbers, numbers[::-1]], dtype=np.int64)
    parts = row.cut(joined)
    assert [part.shape for part in parts] == [(2, size) for size in sizes]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), joined)
    np.testing.assert_array_equal(row.sums(joined), np.stack([part.sum(axis=1) for part in parts], axis=1))
    spread = row.spread(list(range(len(sizes))))
    assert spread.tolist() == [[number for number, size in enumerate(sizes) for _ in range(size)]]


def test_a_model_that_is_kept_keeps_nothing_of_the_panes_beside_it():
    pane = Claimed(geometry([90, 95, 100]), values([[9, 6, 3], [1, 2, 4]], [[10, 7, 4], [2, 3, 5]]))
    for tiles in compute([pane, pane]):
        assert tiles.model.gex.base is None
        assert tiles.model.grids.cells.base is None
