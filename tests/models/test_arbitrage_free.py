"""Tiles of a surface without arbitrage: a mixture of lognormals, quoted to the thousandth."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models.pane import PaneGeometry, PaneValues, calculate
from pipeline.models.strategies import MISSING

from .smiling_chains import AS_OF_MS, FRIDAY, RATE

FORWARD, DISCOUNT = 5000.0, 0.999
STRIKES = np.arange(4700.0, 5305.0, 5.0)
WIDTHS = np.array([5.0, 20.0, 50.0])

components = st.lists(
    st.tuples(st.floats(0.05, 1.0), st.floats(-0.03, 0.03), st.floats(0.002, 0.05)), min_size=1, max_size=4
)


def mixture(drawn):
    """Call and put prices: any mixture of lognormals with a common mean is free of arbitrage."""
    weights = np.array([weight for weight, _, _ in drawn])
    weights /= weights.sum()
    means = np.exp([shift for _, shift, _ in drawn])
    means *= FORWARD / float((weights * means).sum())
    cdf = np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)))
    prices = np.zeros((2, STRIKES.size))
    for weight, mean, (_, _, v) in zip(weights, means, drawn, strict=True):
        d1 = np.log(mean / STRIKES) / v + v / 2
        prices[0] += weight * DISCOUNT * (mean * cdf(d1) - STRIKES * cdf(d1 - v))
        prices[1] += weight * DISCOUNT * (STRIKES * cdf(v - d1) - mean * cdf(-d1))
    return np.maximum(prices, 0.0)


def model_of(prices, spread):
    mids = np.rint(prices * 1000.0)
    shape = prices.shape
    geometry = PaneGeometry("2026-08-21:SPXW", FRIDAY, "SPXW", "PM", STRIKES, np.ones(shape, dtype=bool),
                            np.full(shape, 100.0), WIDTHS)  # fmt: skip
    nothing = np.full(shape, np.nan)
    half = np.minimum(spread, mids)
    values = PaneValues((mids - half) / 1000, (mids + np.maximum(half, 1)) / 1000, nothing, nothing, nothing, nothing,
                        FORWARD, AS_OF_MS, RATE)  # fmt: skip
    return calculate(geometry, values)


@settings(max_examples=40)
@given(components, st.sampled_from([1.0, 25.0, 100.0]))
def test_verticals_and_butterflies_are_worth_between_nothing_and_their_width(drawn, spread):
    grids = model_of(mixture(drawn), spread).grids
    bound = np.rint(WIDTHS * 1000.0)
    for side in ("call", "put"):
        for strategy, slack in (("vertical", 3), ("butterfly", 5)):
            mid, buy, sell = (grid.astype(np.int64) for grid in grids[f"{strategy}:{side}"])
            known = mid != MISSING
            # A mid is off by at most a thousandth a leg.
            assert (mid[known] >= -slack).all()
            assert (mid <= bound + slack)[known].all()
            assert (buy[known] >= -slack).all()
            assert (sell <= bound + slack)[known].all()
            assert ((sell <= mid) & (mid <= buy))[known].all()


@settings(max_examples=40)
@given(components)
def test_call_and_put_butterflies_agree_under_parity(drawn):
    grids = model_of(mixture(drawn), 50.0).grids
    calls, puts = (grids[f"butterfly:{side}"][0].astype(np.int64) for side in ("call", "put"))
    known = (calls != MISSING) & (puts != MISSING)
    assert np.abs(calls - puts)[known].max() <= 8


@settings(max_examples=40)
@given(components)
def test_an_arbitrage_free_surface_shows_no_stale_quote(drawn):
    counts = model_of(mixture(drawn), 25.0).head["violation_counts"]
    assert counts["stale_or_arb"] == 0
