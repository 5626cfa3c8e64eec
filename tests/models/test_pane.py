"""The pane: G6 (incremental equals full), survival of hostile values, and what the head says."""

import dataclasses
import json
import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models.gex import MISSING_USD
from pipeline.models.pane import calculate, expiry_ms
from pipeline.models.strategies import GRID_KEYS, MISSING

from .real_chains import SPX_2026, load
from .small_panes import AS_OF_MS, claims, geometries, geometry, values

HEAD_KEYS = [
    "expiration",
    "root",
    "settlement",
    "dte",
    "forward",
    "forward_source",
    "expected_move",
    "atm_iv",
        "max_pain",
        "discount",
    "coverage",
    "gex_coverage",
    "contracts",
    "missing_quotes",
    "iv_sources",
    "violation_counts",
    "violations",
]


def assert_same_bits(one, other):
    assert list(one.grids) == list(other.grids) == list(GRID_KEYS)
    for key in GRID_KEYS:
        assert one.grids[key].dtype == other.grids[key].dtype == np.int32
        np.testing.assert_array_equal(one.grids[key], other.grids[key])
    np.testing.assert_array_equal(one.gex, other.gex)
    assert json.dumps(one.head) == json.dumps(other.head)


def assert_sound(model, strikes, widths):
    for key in GRID_KEYS:
        assert model.grids[key].shape == ((3, strikes) if key.startswith("single") else (3, strikes, widths))
    assert model.gex.shape == (2, strikes)
    assert model.gex.dtype == np.int64
    assert list(model.head) == HEAD_KEYS
    json.dumps(model.head, allow_nan=False)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_g6_recomputing_dirty_tiles_gives_the_bits_of_recomputing_everything(data):
    pane = data.draw(geometries())
    size = pane.strikes.size
    model = calculate(pane, data.draw(claims(size)))
    current = data.draw(claims(size))
    model = calculate(pane, current)
    for _ in range(3):
        touched = np.reshape(data.draw(st.lists(st.booleans(), min_size=2 * size, max_size=2 * size)), (2, size))
        fresh = data.draw(claims(size))
        current = dataclasses.replace(
            fresh,
            bid=np.where(touched, fresh.bid, current.bid),
            ask=np.where(touched, fresh.ask, current.ask),
        )
        model = calculate(pane, current, model, touched)
        assert_same_bits(model, calculate(pane, current))


def test_g6_on_a_real_pane_whose_quotes_move_and_vanish():
    pane = load(SPX_2026)[5]
    rng = np.random.default_rng(3)
    current = pane.values
    model = calculate(pane.geometry, current)
    for _ in range(10):
        touched = rng.random(current.bid.shape) < 0.02
        moved = np.where(rng.random(current.bid.shape) < 0.1, np.nan, current.ask + 0.05)
        current = dataclasses.replace(
            current,
            ask=np.where(touched, moved, current.ask),
            spot=current.spot + 1.0,
            as_of_ms=current.as_of_ms + 60_000,
        )
        model = calculate(pane.geometry, current, model, touched)
        assert_same_bits(model, calculate(pane.geometry, current))


def test_an_incremental_model_leaves_the_previous_one_untouched():
    pane = geometry([90, 95, 100])
    before = calculate(pane, values([[10, 6, 3], [1, 2, 4]], [[11, 7, 4], [2, 3, 5]]))
    kept = {key: grid.copy() for key, grid in before.grids.items()}
    dirty = np.array([[False, True, False], [False, False, False]])
    calculate(pane, values([[10, 5, 3], [1, 2, 4]], [[11, 7, 4], [2, 3, 5]]), before, dirty)
    for key, grid in kept.items():
        np.testing.assert_array_equal(before.grids[key], grid)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_value_whatever_raises_or_becomes_infinite(data):
    pane = data.draw(geometries())
    assert_sound(calculate(pane, data.draw(claims(pane.strikes.size))), pane.strikes.size, 2)


def test_one_strike_and_no_strike_survive():
    assert_sound(calculate(geometry([100]), values([[1], [1]], [[2], [2]])), 1, 2)
    assert_sound(calculate(geometry([]), values(np.empty((2, 0)), np.empty((2, 0)))), 0, 2)


def test_a_pane_without_calls_prices_its_puts():
    listed = [[False] * 3, [True] * 3]
    model = calculate(geometry([90, 95, 100], listed=listed), values([[9, 9, 9], [1, 2, 4]], [[9, 9, 9], [2, 3, 5]]))
    assert (model.grids["single:call"] == MISSING).all()
    assert model.grids["single:put"][0].tolist() == [1500, 2500, 4500]
    assert (model.gex[0] == MISSING_USD).all()
    assert model.head["contracts"] == 3
    assert model.head["forward_source"] == "spot"
    assert (model.gex[1] != MISSING_USD).any()


@pytest.mark.parametrize("change", [{"spot": math.nan}, {"as_of_ms": AS_OF_MS + 30 * 86_400_000}])
def test_without_a_spot_or_after_expiry_tiles_stand_and_gex_is_missing(change):
    pane = geometry([90, 95, 100])
    claimed = values([[10, 6, 3], [1, 2, 4]], [[11, 7, 4], [2, 3, 5]])
    model = calculate(pane, dataclasses.replace(claimed, **change))
    assert (model.gex == MISSING_USD).all()
    assert (model.grids["single:call"] != MISSING).all()
    assert [model.head[key] for key in ("forward", "expected_move", "atm_iv")] == [None] * 3
    assert model.head["iv_sources"] == {"mid": 0, "smile": 0, "provider": 0, "missing": 3}


def test_the_last_second_before_expiry_still_has_gex_and_the_first_after_has_none():
    pane = geometry([95, 100, 105], root="SPX")
    claimed = values([[5, 0.5, 0], [0, 0.5, 5]], [[5.2, 0.6, 0.05], [0.05, 0.6, 5.2]], iv=[[0.2] * 3] * 2)
    instant = expiry_ms(date(2026, 8, 28), "AM")
    before = calculate(pane, dataclasses.replace(claimed, as_of_ms=instant - 1000))
    after = calculate(pane, dataclasses.replace(claimed, as_of_ms=instant))
    assert (before.gex != MISSING_USD).any()
    assert (after.gex == MISSING_USD).all()


def test_a_calendar_can_move_the_expiry_instant_of_a_pane():
    pane = geometry([95, 100, 105])
    claimed = values([[5, 1, 0.2], [0.2, 1, 5]], [[5.2, 1.1, 0.3], [0.3, 1.1, 5.2]])
    early = dataclasses.replace(pane, expires_ms=AS_OF_MS)
    assert (calculate(pane, claimed).gex != MISSING_USD).any()
    assert (calculate(early, claimed).gex == MISSING_USD).all()


def test_the_head_tells_what_the_pane_is_made_of():
    pane = geometry([90, 95, 100, 105, 110])
    claimed = values(
        [[10.3, 5.9, 2.5, 0.7, np.nan], [0.2, 0.7, 2.3, 5.5, 9.8]],
        [[10.5, 6.1, 2.6, 0.8, 0.2], [0.3, 0.8, 2.4, 5.7, 9.7]],
        open_interest=[[10, 10, 10, 10, np.nan], [10, 10, 10, 10, 20]],
    )
    head = calculate(pane, claimed).head
    assert list(head) == HEAD_KEYS
    assert (head["expiration"], head["root"], head["settlement"], head["dte"]) == ("2026-08-28", "SPXW", "PM", 8)
    assert head["coverage"] == 0.8
    assert head["gex_coverage"] == 1.0
    assert head["missing_quotes"]["no_bid"] == 1
    assert head["missing_quotes"]["crossed"] == 1
    assert head["forward"] == pytest.approx(100.2, abs=0.1)
    assert head["expected_move"] == pytest.approx(2.45 / 0.4, rel=0.02)  # the straddle over 0.798, half of it a side
    assert head["violation_counts"] == {"noise": 0, "stale_or_arb": 0}


def test_models_are_the_same_however_often_they_are_made():
    pane = load(SPX_2026)[7]
    assert_same_bits(calculate(pane.geometry, pane.values), calculate(pane.geometry, pane.values))
