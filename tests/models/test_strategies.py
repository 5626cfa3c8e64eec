"""Golden vectors by hand, and every grid of a real chain against decimal arithmetic written another way."""

from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pytest

from pipeline.models.pane import calculate
from pipeline.models.quotes import read_quotes
from pipeline.models.strategies import GRID_KEYS, MISSING, SIDES, TileLegs, find_legs, grids

from .real_chains import NDX_2022, SPX_2022, SPX_2026, load

NAN = np.nan


def compute(strikes, widths, calls, puts):
    """Grids from lists of (bid, ask)."""
    bid = np.array([[q[0] for q in calls], [q[0] for q in puts]], dtype=float)
    ask = np.array([[q[1] for q in calls], [q[1] for q in puts]], dtype=float)
    quotes = read_quotes(bid, ask, np.ones(bid.shape, dtype=bool))
    return grids(quotes, TileLegs.of(np.array(strikes, dtype=float), np.array(widths, dtype=float)))


def test_a_small_chain_gives_the_values_worked_out_by_hand():
    tiles = compute(
        [95, 100, 105],
        [5],
        calls=[(6.0, 6.2), (2.4, 2.6), (0.7, 0.8)],
        puts=[(0.5, 0.6), (2.0, 2.2), (5.3, 5.5)],
    )
    assert tiles["single:call"].tolist() == [[6100, 2500, 750], [6200, 2600, 800], [6000, 2400, 700]]
    # 95/100 call: mid 6.1 - 2.5, bought 6.2 - 2.4, sold 6.0 - 2.6; the last anchor has no strike above it.
    assert tiles["vertical:call"][:, :, 0].tolist() == [
        [3600, 1750, MISSING],
        [3800, 1900, MISSING],
        [3400, 1600, MISSING],
    ]
    # A put vertical sells the strike below: 100/95 mid 2.1 - 0.55.
    assert tiles["vertical:put"][:, :, 0].tolist() == [
        [MISSING, 1550, 3300],
        [MISSING, 1700, 3500],
        [MISSING, 1400, 3100],
    ]
    # Butterfly at 100: 6.1 - 2 * 2.5 + 0.75; bought 6.2 - 2 * 2.4 + 0.8; sold 6.0 - 2 * 2.6 + 0.7.
    assert tiles["butterfly:call"][:, :, 0].tolist() == [
        [MISSING, 1850, MISSING],
        [MISSING, 2200, MISSING],
        [MISSING, 1500, MISSING],
    ]
    assert tiles["butterfly:put"][:, 1, 0].tolist() == [1750, 2100, 1400]


def test_a_negative_butterfly_is_published_as_it_is():
    tiles = compute([95, 100, 105], [5], [(5.0, 5.2), (3.0, 3.2), (0.9, 1.0)], [(1, 2)] * 3)
    assert tiles["butterfly:call"][:, 1, 0].tolist() == [-150, 200, -500]


def test_a_crossed_or_one_sided_leg_removes_exactly_the_tiles_that_hold_it():
    good = (1.0, 1.1)
    for broken in [(1.2, 1.1), (1.2, NAN), (NAN, 1.1), (NAN, NAN)]:
        tiles = compute([90, 95, 100, 105, 110], [5], [good, good, broken, good, good], [good] * 5)
        assert (tiles["single:call"][0] == MISSING).tolist() == [False, False, True, False, False]
        assert (tiles["vertical:call"][0, :, 0] == MISSING).tolist() == [False, True, True, False, True]
        assert (tiles["butterfly:call"][0, :, 0] == MISSING).tolist() == [True] * 5
        assert not (tiles["single:put"] == MISSING).any()


def test_a_bid_of_zero_is_a_price():
    tiles = compute([95, 100], [5], [(0.0, 0.05), (0.0, 0.05)], [(0.0, 0.05)] * 2)
    assert tiles["vertical:call"][:, 0, 0].tolist() == [0, 50, -50]


def test_legs_are_matched_by_strike_and_never_by_position():
    strikes = [90, 95, 100, 110, 112.5, 115, 125]
    legs = find_legs(np.array(strikes, dtype=float), np.array([5.0, 2.5, 15.0]))
    none = len(strikes)
    assert legs.up[:, 0].tolist() == [1, 2, none, 5, none, none, none]
    assert legs.down[:, 0].tolist() == [none, 0, 1, none, none, 3, none]
    assert legs.up[:, 1].tolist() == [none, none, none, 4, 5, none, none]
    assert legs.up[:, 2].tolist() == [none, 3, 5, 6, none, none, none]


def test_a_strike_that_floats_cannot_hold_is_still_matched_in_thousandths():
    legs = find_legs(np.array([0.1, 0.3, 0.7]), np.array([0.2, 0.4]))
    assert legs.up.tolist() == [[1, 3], [3, 2], [3, 3]]


def test_half_a_mill_rounds_to_the_even_mill_once():
    # Mids 0.0005, 0.0015 and 0.0025 alone, and as a butterfly 0.0005 - 0.003 + 0.0025 = 0 without rounding its legs.
    calls = [(0.0, 0.001), (0.001, 0.002), (0.002, 0.003)]
    tiles = compute([95, 100, 105], [5], calls, calls)
    assert tiles["single:call"][0].tolist() == [0, 2, 2]
    assert tiles["butterfly:call"][0, 1, 0] == 0
    assert tiles["vertical:put"][0, 1, 0] == 1


def test_the_largest_prices_still_fit_a_tile():
    top = (499_999.999, 499_999.999)
    tiles = compute([95, 100, 105], [5], [top, (0.0, 0.001), top], [(0.0, 0.001), top, (0.0, 0.001)])
    assert tiles["butterfly:call"][:, 1, 0].tolist() == [999_999_997, 999_999_998, 999_999_996]
    assert tiles["butterfly:put"][2, 1, 0] == -999_999_998


def test_a_pane_of_one_strike_and_a_pane_of_none_have_grids():
    one = compute([100], [5], [(1, 2)], [(1, 2)])
    assert one["single:put"].tolist() == [[1500], [2000], [1000]]
    assert (one["butterfly:put"] == MISSING).all()
    none = compute([], [5], [], [])
    assert [none[key].shape for key in GRID_KEYS] == [(3, 0, 1)] * 4 + [(3, 0)] * 2


def reference_tile(strategy, side, price, anchor, width):
    """A tile's (mid, buy, sell) in mills by Decimal, from a mapping strike -> (bid, ask) of priced contracts."""
    away = width if side == "call" else -width
    legs = {
        "single": [(1, anchor)],
        "vertical": [(1, anchor), (-1, anchor + away)],
        "butterfly": [(1, anchor - width), (-2, anchor), (1, anchor + width)],
    }[strategy]
    if any(strike not in price for _, strike in legs):
        return [MISSING] * 3
    mid = sum(count * (price[strike][0] + price[strike][1]) / 2 for count, strike in legs)
    buy = sum(count * price[strike][1 if count > 0 else 0] for count, strike in legs)
    sell = sum(count * price[strike][0 if count > 0 else 1] for count, strike in legs)
    return [int((value * 1000).quantize(Decimal(1), ROUND_HALF_EVEN)) for value in (mid, buy, sell)]


@pytest.mark.parametrize("name", [SPX_2026, SPX_2022, NDX_2022])
def test_every_tile_of_real_panes_equals_decimal_arithmetic(name):
    for pane in load(name)[1:20:6]:
        geometry, values = pane.geometry, pane.values
        result = calculate(geometry, values).grids
        for row, side in enumerate(SIDES):
            price = {
                Decimal(str(strike)): (Decimal(str(bid)), Decimal(str(ask)))
                for strike, bid, ask in zip(geometry.strikes, values.bid[row], values.ask[row], strict=True)
                if 0 <= bid <= ask and ask > 0
            }
            anchors = [Decimal(str(strike)) for strike in geometry.strikes]
            widths = [Decimal(str(width)) for width in geometry.widths]
            for strategy in ("vertical", "butterfly"):
                expected = [[reference_tile(strategy, side, price, k, w) for w in widths] for k in anchors]
                np.testing.assert_array_equal(result[f"{strategy}:{side}"], np.moveaxis(np.array(expected), 2, 0))
            singles = [reference_tile("single", side, price, k, Decimal(0)) for k in anchors]
            np.testing.assert_array_equal(result[f"single:{side}"], np.array(singles).T)
