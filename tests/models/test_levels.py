"""Levels derived by hand from small profiles and chains."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models.gex import MISSING_USD
from pipeline.models.levels import find_flip, find_walls, pin_probability, sum_by_strike
from pipeline.models.max_pain import max_pain
from pipeline.models.strategies import MISSING

PRICES = np.array([90.0, 95.0, 100.0, 105.0, 110.0])


def flip(net, gross=1000, spot=100.0, move=5.0, coverage=1.0, stale=False):
    return find_flip(PRICES, np.array(net), np.full(5, gross), spot, move, coverage, stale)


def test_the_flip_is_the_zero_of_the_line_through_its_neighbours():
    found = flip([-300, -200, -100, 300, 400])
    assert found.value == 101.25  # a quarter of the way from -100 to 300
    assert found.roots == (101.25,)
    assert found.sign == -1
    assert found.reason is None


def test_of_several_roots_the_nearest_counts_and_all_are_told():
    found = flip([-100, 100, 400, 100, -300])
    assert found.roots == (92.5, 106.25)
    assert found.value == 106.25
    assert found.sign == 1


def test_a_stretch_of_zeros_is_one_root_in_its_middle_and_only_between_unlike_signs():
    assert flip([-100, 0, 0, 0, 100]).roots == (100.0,)
    assert flip([-100, 0, 0, 100, 100]).roots == (97.5,)
    assert flip([-100, -100, 0, 100, 100]).roots == (100.0,)
    assert flip([100, 0, 0, 100, 100]).roots == ()
    assert flip([0, 0, 100, 100, 0]).roots == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"net": [50, 60, 70, 80, 90]}, "no_root"),
        ({"net": [-5, -1, 2, 4, 5]}, "flat"),
        ({"net": [0, 0, 0, 0, 0], "gross": 0}, "flat"),
        ({"coverage": 0.949}, "low_coverage"),
        ({"move": None}, "low_coverage"),
        ({"stale": True}, "stale"),
        # 5 $ in 2.5 (half an expected move) where 5 is what the net may be off
        ({"net": [-300, -3, -1, 1, 300], "move": 5.0}, "unstable"),
    ],
)
def test_a_flip_that_is_not_sound_says_why(changes, reason):
    found = flip(**{"net": [-300, -200, -100, 300, 400], **changes})
    assert found.value is None
    assert found.reason == reason


def test_without_a_root_the_sign_is_told():
    assert flip([50, 60, 70, 80, 90]).sign == 1
    assert flip([-50, -60, -70, -80, -90]).sign == -1


def test_walls_lie_on_their_side_of_spot_and_the_unrestricted_ones_anywhere():
    strikes = np.array([90.0, 95.0, 100.0, 105.0])
    walls = find_walls(strikes, np.array([[9, 1, 2, 3], [-1, -5, -4, -7]]), 99.0)
    assert (walls.call, walls.put, walls.call_anywhere, walls.put_anywhere) == (105.0, 95.0, 90.0, 105.0)


def test_a_strike_at_spot_may_be_both_walls_and_equals_go_to_the_nearer():
    strikes = np.array([90.0, 95.0, 100.0, 105.0, 110.0])
    both = find_walls(strikes, np.array([[1, 1, 5, 1, 1], [-1, -1, -5, -1, -1]]), 100.0)
    assert (both.call, both.put) == (100.0, 100.0)
    equal = find_walls(strikes, np.array([[0, 0, 0, 4, 4], [-4, -4, 0, 0, 0]]), 100.0)
    assert (equal.call, equal.put) == (105.0, 95.0)


def test_there_is_no_wall_without_gamma_on_its_side():
    walls = find_walls(np.array([90.0, 110.0]), np.array([[3, 0], [0, -3]]), 100.0)
    assert (walls.call, walls.put, walls.call_anywhere, walls.put_anywhere) == (None, None, 90.0, 110.0)
    nothing = find_walls(np.empty(0), np.empty((2, 0), dtype=np.int64), 100.0)
    assert nothing.call is nothing.put is nothing.call_anywhere is None


def test_panes_add_up_by_strike_whatever_is_missing():
    near = (np.array([95.0, 100.0]), np.array([[1, 2], [-3, MISSING_USD]]))
    far = (np.array([100.0, 102.5]), np.array([[10, 20], [-30, -40]]))
    strikes, sums = sum_by_strike([near, far])
    assert strikes.tolist() == [95.0, 100.0, 102.5]
    assert sums.tolist() == [[1, 12, 20], [-3, -30, -40]]
    assert sum_by_strike([])[1].shape == (2, 0)


def test_max_pain_by_hand():
    strikes = np.array([90.0, 100.0, 110.0])
    # Payouts: at 90 puts 10 * 10 + 4 * 20 = 180; at 100 calls 5 * 10, puts 4 * 10 = 90; at 110 calls 5 * 20 + 2 * 10.
    assert max_pain(strikes, np.array([[5.0, 2.0, 9.0], [3.0, 10.0, 4.0]])) == 100.0
    assert np.isnan(max_pain(strikes, np.zeros((2, 3))))
    assert max_pain(np.array([100.0]), np.array([[1.0], [0.0]])) == 100.0


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=12,
             unique_by=lambda row: row[0])
)
def test_max_pain_is_the_least_of_every_payout(rows):
    rows.sort()
    strikes = [5.0 * row[0] for row in rows]

    def payout(settles):
        return sum(
            calls * max(settles - strike, 0.0) + puts * max(strike - settles, 0.0)
            for strike, (_, calls, puts) in zip(strikes, rows, strict=True)
        )

    found = max_pain(np.array(strikes), np.array([[row[1] for row in rows], [row[2] for row in rows]], dtype=float))
    if any(calls or puts for _, calls, puts in rows):
        assert found == min(strikes, key=lambda strike: (payout(strike), strike))
    else:
        assert np.isnan(found)


def test_a_butterfly_over_its_width_and_discount_is_a_pin_probability():
    mids = np.array([[2000, MISSING], [-50, 9900]], dtype=np.int32)
    found = pin_probability(mids, np.array([5.0, 10.0]), 0.99)
    np.testing.assert_allclose(found, [[2 / (5 * 0.99), np.nan], [-0.05 / (5 * 0.99), 9.9 / (10 * 0.99)]])
