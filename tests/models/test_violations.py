import numpy as np

from pipeline.models.strategies import MISSING, Grids
from pipeline.models.violations import MAX_LISTED, find_violations

STRIKES = np.array([95.0, 97.5, 100.0])
WIDTHS = np.array([5.0, 10.0])


def empty_grids(strikes=3, widths=2):
    return Grids(np.full(6 * strikes * (2 * widths + 1), MISSING, dtype=np.int32), strikes, widths)


def test_missing_tiles_break_nothing():
    found = find_violations(empty_grids(), STRIKES, WIDTHS)
    assert found.counts == {"noise": 0, "stale_or_arb": 0}
    assert found.worst == []


def test_a_bound_broken_at_mid_alone_is_noise_and_at_natural_prices_is_stale_or_arb():
    grids = empty_grids()
    grids["butterfly:call"][:, 0, 0] = (-50, 100, -200)  # negative at mid, but costs something to buy
    grids["vertical:put"][:, 1, 1] = (10_100, 10_300, 9_900)  # above its width at mid, but not when sold
    grids["vertical:call"][:, 2, 0] = (5_200, 5_300, 5_010)  # sells for more than it can ever be worth
    grids["butterfly:put"][:, 0, 1] = (-40, -5, -75)  # paid to take it
    grids["single:call"][:, 0] = (-1, -1, -1)  # singles have no such bound
    found = find_violations(grids, STRIKES, WIDTHS)
    assert found.counts == {"noise": 2, "stale_or_arb": 2}
    assert found.worst == [
        {"tile": "vertical:call", "strike": 100, "width": 5, "kind": "stale_or_arb", "by": 0.01},
        {"tile": "butterfly:put", "strike": 95, "width": 10, "kind": "stale_or_arb", "by": 0.005},
        {"tile": "vertical:put", "strike": 97.5, "width": 10, "kind": "noise", "by": 0.1},
        {"tile": "butterfly:call", "strike": 95, "width": 5, "kind": "noise", "by": 0.05},
    ]


def test_a_tile_exactly_at_a_bound_is_in_order():
    grids = empty_grids()
    grids["butterfly:call"][:, 0, 0] = (0, 0, 0)
    grids["vertical:call"][:, 0, 0] = (5_000, 5_000, 5_000)
    assert find_violations(grids, STRIKES, WIDTHS).counts == {"noise": 0, "stale_or_arb": 0}


def test_the_list_is_bounded_and_ties_come_in_the_order_of_the_grid():
    grids = empty_grids(100, 2)
    grids["vertical:call"][:] = -7
    found = find_violations(grids, np.arange(100.0), WIDTHS)
    assert found.counts["stale_or_arb"] == 200
    assert len(found.worst) == MAX_LISTED
    assert [(entry["strike"], entry["width"]) for entry in found.worst[:3]] == [(0, 5), (0, 10), (1, 5)]
