"""The solver against mpmath's 60 digits, and the policies of a pane."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.models.greeks import black76
from pipeline.models.quotes import read_quotes
from pipeline.models.volatility import (
    FROM_MID,
    FROM_NOWHERE,
    FROM_PROVIDER,
    FROM_SMILE,
    pane_volatility,
    total_volatility,
)

NAN = np.nan


def otm_price(forward, strike, v):
    """Undiscounted, with 60 digits: enough that what cancels seven deviations out is not missed."""
    with mpmath.workdps(60):
        d = mpmath.log(mpmath.mpf(forward) / strike) / v + mpmath.mpf(v) / 2
        sign = 1 if strike >= forward else -1
        price = sign * (forward * mpmath.ncdf(sign * d) - strike * mpmath.ncdf(sign * (d - v)))
        return float(price)


@settings(deadline=None)
@example(v=1.0, deviations=1e-9)
@given(
    v=st.floats(math.log(1e-3), math.log(3.0)).map(math.exp),
    deviations=st.floats(-7.0, 7.0),
)
def test_the_solver_gives_back_the_volatility_of_a_price(v, deviations):
    forward = 7641.16
    strike = forward * math.exp(deviations * v)
    price = otm_price(forward, strike, v)
    if price >= 0.999 * min(forward, strike):
        return  # so near its bound that a float of the price no longer holds the volatility
    solved = total_volatility(np.array([price]), forward, np.array([strike]))
    assert solved[0] == pytest.approx(v, rel=1e-9)


def test_a_price_no_volatility_explains_has_none():
    forward, strikes = 100.0, np.array([90.0, 100.0, 110.0, 110.0, 100.0])
    prices = np.array([90.0, 0.0, 100.0, -1.0, NAN])
    assert np.isnan(total_volatility(prices, forward, strikes)).all()


def test_bits_do_not_depend_on_neighbours():
    rng = np.random.default_rng(7)
    strikes = np.sort(rng.uniform(60, 160, 301))
    prices = rng.uniform(0.01, 20, 301)
    whole = total_volatility(prices, 100.0, strikes)
    for count in (1, 2, 3, 5, 17, 300):
        np.testing.assert_array_equal(whole[:count], total_volatility(prices[:count], 100.0, strikes[:count]))
        np.testing.assert_array_equal(whole[-count:], total_volatility(prices[-count:], 100.0, strikes[-count:]))


def smiling_pane(spot=100.0, years=0.05, rate=0.04, carry=0.02, spread=0.02):
    """Strikes 70..130 quoted around Black prices with v = 0.05 + 0.1 * (ln K/F)^2, in cents."""
    strikes = np.arange(70.0, 131.0, 1.0)
    forward, discount = spot * math.exp(carry * years), math.exp(-rate * years)
    v = 0.05 + 0.1 * np.log(strikes / forward) ** 2
    price = np.stack([black76(s, spot, forward, strikes, v, years, discount).price for s in (1.0, -1.0)])
    bid, ask = np.maximum(np.round(price - spread / 2, 3), 0.0), np.round(price + spread / 2, 3)
    return strikes, v, forward, read_quotes(bid, ask, np.ones(bid.shape, dtype=bool))


def test_a_pane_finds_the_forward_and_the_smile_its_prices_were_made_with():
    strikes, v, forward, quotes = smiling_pane()
    found = pane_volatility(strikes, quotes, np.full((2, 61), NAN), 100.0, 0.05, 0.04)
    assert found.forward == pytest.approx(forward, abs=1e-3)
    assert found.forward_source == "parity"
    near = np.abs(np.log(strikes / forward)) < 2 * 0.05
    np.testing.assert_allclose(found.v[near], v[near], rtol=2e-3)
    assert found.v_atm == pytest.approx(0.05, rel=2e-3)


def test_where_a_tick_is_worth_too_much_the_smile_stands_in_flat_beyond_its_last_strike():
    strikes, _, _, quotes = smiling_pane()
    found = pane_volatility(strikes, quotes, np.full((2, 61), NAN), 100.0, 0.05, 0.04)
    good = np.flatnonzero(found.source == FROM_MID)
    assert (found.source[: good[0]] == FROM_SMILE).all()
    np.testing.assert_array_equal(found.v[: good[0]], found.v[good[0]])
    np.testing.assert_array_equal(found.v[good[-1] + 1 :], found.v[good[-1]])
    assert found.sources()["missing"] == 0


def test_a_hole_in_the_quotes_is_interpolated_in_total_variance():
    strikes, _, forward, quotes = smiling_pane()
    bid, ask = quotes.bid / 1000.0, quotes.ask / 1000.0
    bid[0, 35] = NAN  # 105, a call out of the money
    holed = read_quotes(bid, ask, np.ones(bid.shape, dtype=bool))
    found = pane_volatility(strikes, holed, np.full((2, 61), NAN), 100.0, 0.05, 0.04)
    assert found.source[35] == FROM_SMILE
    x = np.log(strikes / found.forward)
    share = (x[35] - x[34]) / (x[36] - x[34])
    expected = math.sqrt((1 - share) * found.v[34] ** 2 + share * found.v[36] ** 2)
    assert found.v[35] == pytest.approx(expected, rel=1e-12)
    assert forward == pytest.approx(found.forward, abs=1e-3)


def test_without_any_quote_the_providers_volatility_is_the_last_resort():
    strikes = np.array([90.0, 100.0, 110.0])
    nothing = np.full((2, 3), NAN)
    quotes = read_quotes(nothing, nothing, np.ones((2, 3), dtype=bool))
    iv = np.array([[0.5, 0.25, 0.2], [0.3, NAN, 0.0]])
    found = pane_volatility(strikes, quotes, iv, 100.0, 0.25, 0.0)
    # The out-of-the-money side's first, its twin's where it has none; F = S for want of parity at a rate of zero.
    np.testing.assert_allclose(found.v, [0.15, 0.125, 0.1])
    assert found.forward_source == "spot"
    assert (found.source == FROM_PROVIDER).all()
    assert found.v_atm == pytest.approx(0.125)


@pytest.mark.parametrize(("spot", "years"), [(NAN, 0.1), (100.0, 0.0), (100.0, -1.0), (0.0, 0.1), (math.inf, 0.1)])
def test_without_a_spot_or_after_expiry_nothing_is_known(spot, years):
    strikes, _, _, quotes = smiling_pane()
    found = pane_volatility(strikes, quotes, np.full((2, 61), 0.2), spot, years, 0.04)
    assert np.isnan(found.v).all()
    assert (found.source == FROM_NOWHERE).all()
    assert math.isnan(found.forward)
    assert found.forward_source == "missing"
