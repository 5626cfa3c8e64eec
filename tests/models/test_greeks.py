"""Greeks against numerical derivatives of a price written separately, in spot terms, with the standard library only."""

import math

import numpy as np
import pytest

from pipeline.models.greeks import black76, black_gamma

CASES = [
    # sign, spot, strike, sigma, years, rate, carry
    (1.0, 100.0, 105.0, 0.2, 0.5, 0.04, 0.025),
    (-1.0, 100.0, 95.0, 0.3, 0.25, 0.037, 0.02),
    (1.0, 100.0, 80.0, 0.15, 2.0, 0.01, -0.02),
    (-1.0, 100.0, 130.0, 0.6, 1.0, 0.05, 0.05),
    (1.0, 100.0, 100.0, 0.12, 1 / 365, 0.037, 0.037),
]


def spot_price(sign, spot, strike, sigma, years, rate, carry):
    """Generalised Black-Scholes-Merton, scalar."""
    spread = sigma * math.sqrt(years)
    d1 = (math.log(spot / strike) + (carry + sigma * sigma / 2) * years) / spread

    def cdf(x):
        return 0.5 * math.erfc(-x / math.sqrt(2))

    forward_part = spot * math.exp((carry - rate) * years) * cdf(sign * d1)
    return sign * (forward_part - strike * math.exp(-rate * years) * cdf(sign * (d1 - spread)))


def slope(function, at, step):
    """Central difference of fourth order."""
    near = (function(at + step) - function(at - step)) / (2 * step)
    far = (function(at + 2 * step) - function(at - 2 * step)) / (4 * step)
    return (4 * near - far) / 3


def kernel(sign, spot, strike, sigma, years, rate, carry):
    forward, v = spot * math.exp(carry * years), np.array([sigma * math.sqrt(years)])
    return black76(sign, spot, forward, np.array([strike]), v, years, math.exp(-rate * years))


@pytest.mark.parametrize("case", CASES)
def test_price_and_greeks_are_the_derivatives_of_the_price(case):
    sign, spot, strike, sigma, years, rate, carry = case
    greeks = kernel(*case)
    rest = (rate, carry)

    def delta(s, vol=sigma, t=years):
        return slope(lambda x: spot_price(sign, x, strike, vol, t, *rest), s, 0.02)

    assert greeks.price[0] == pytest.approx(spot_price(*case), rel=1e-12)
    assert greeks.delta[0] == pytest.approx(delta(spot), rel=1e-7)
    assert greeks.gamma[0] == pytest.approx(slope(delta, spot, 0.02), rel=1e-5)
    vega = slope(lambda x: spot_price(sign, spot, strike, x, years, *rest), sigma, 1e-4)
    assert greeks.vega[0] == pytest.approx(vega, rel=1e-7)
    theta = -slope(lambda x: spot_price(sign, spot, strike, sigma, x, *rest), years, years * 1e-3)
    assert greeks.theta[0] == pytest.approx(theta, rel=1e-6)
    assert greeks.vanna[0] == pytest.approx(slope(lambda x: delta(spot, vol=x), sigma, 1e-3), rel=1e-5, abs=1e-8)
    assert greeks.charm[0] == pytest.approx(-slope(lambda x: delta(spot, t=x), years, years * 1e-3), rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_calls_and_puts_keep_parity(case):
    _, spot, strike, _, years, rate, carry = case
    call, put = kernel(1.0, *case[1:]), kernel(-1.0, *case[1:])
    forward, discount = spot * math.exp(carry * years), math.exp(-rate * years)
    assert call.price[0] - put.price[0] == pytest.approx(discount * (forward - strike), abs=1e-12)
    assert call.delta[0] - put.delta[0] == pytest.approx(discount * forward / spot, rel=1e-12)
    assert call.gamma[0] == put.gamma[0]
    assert call.vega[0] == put.vega[0]


def test_gamma_alone_is_the_gamma_of_the_kernel_and_broadcasts_over_spots():
    strikes, v = np.array([90.0, 100.0, 120.0]), np.array([0.2, 0.15, 0.18])
    spots = np.array([[95.0], [100.0]])
    forwards = 101.0 * spots / 100.0
    profile = black_gamma(spots, forwards, strikes, v, 0.99)
    assert profile.shape == (2, 3)
    np.testing.assert_array_equal(profile[1], black_gamma(100.0, 101.0, strikes, v, 0.99))
    np.testing.assert_allclose(profile[1], black76(1.0, 100.0, 101.0, strikes, v, 0.5, 0.99).gamma, rtol=1e-14)
