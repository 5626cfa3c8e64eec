"""Greeks and implied volatility against mpmath with fifty digits, from a minute to two years, eight deviations deep.

Stated precision: 1e-9 of itself for volatility and for every greek, beyond what float64 cannot hold: the price is a
difference of numbers the size of the forward (1e-15 of it), vanna one of numbers near one (1e-13), and theta and charm
rest on the carry, of which ln(F/S)/T leaves 2e-16/T.
"""

from dataclasses import dataclass

import mpmath as mp
import numpy as np
import pytest

from pipeline.models.greeks import black76
from pipeline.models.volatility import total_volatility

MINUTE = 1 / (365 * 24 * 60)
HORIZONS = {"a minute": MINUTE, "an hour": 60 * MINUTE, "a day": 1 / 365, "a month": 30 / 365, "two years": 2.0}
DEVIATIONS = (-8.0, -5.0, -2.5, -0.7, 0.0, 0.4, 1.5, 4.0, 8.0)
SPOT, RATE, CARRY, SIGMA = 7641.16, 0.037, 0.021, 0.17


@pytest.fixture(autouse=True)
def fifty_digits():
    with mp.workdps(50):
        yield


@dataclass(frozen=True)
class Oracle:
    """The price of generalised Black-Scholes-Merton, and its slopes by central differences in fifty digits."""

    sign: int
    strike: mp.mpf
    carry: mp.mpf
    rate: mp.mpf
    spot: mp.mpf
    sigma: mp.mpf
    years: mp.mpf

    def price(self, spot, sigma, years):
        spread = sigma * mp.sqrt(years)
        d1 = (mp.log(spot / self.strike) + self.carry * years) / spread + spread / 2
        asset, paid = spot * mp.exp((self.carry - self.rate) * years), self.strike * mp.exp(-self.rate * years)
        return self.sign * (asset * mp.ncdf(self.sign * d1) - paid * mp.ncdf(self.sign * (d1 - spread)))

    def slope(self, function, x):
        h = self._step(x)
        return (function(x + h) - function(x - h)) / (2 * h)

    def _step(self, x):
        return x * mp.mpf(10) ** -12 * mp.sqrt(self.years)

    def delta(self, sigma, years):
        return self.slope(lambda x: self.price(x, sigma, years), self.spot)

    def gamma(self):
        h = self._step(self.spot)
        low, here, high = (self.price(self.spot + k * h, self.sigma, self.years) for k in (-1, 0, 1))
        return (high - 2 * here + low) / (h * h)

    def everything(self):
        sigma, years = self.sigma, self.years
        return {
            "price": self.price(self.spot, sigma, years),
            "delta": self.delta(sigma, years),
            "gamma": self.gamma(),
            "vega": self.slope(lambda x: self.price(self.spot, x, years), sigma),
            "theta": -self.slope(lambda x: self.price(self.spot, sigma, x), years),
            "vanna": self.slope(lambda x: self.delta(x, years), sigma),
            "charm": -self.slope(lambda x: self.delta(sigma, x), years),
        }


@pytest.mark.parametrize("years", HORIZONS.values(), ids=HORIZONS.keys())
@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["call", "put"])
def test_greeks(sign, years):
    # The floats that the kernel is given; the oracle takes them as exact.
    forward, discount = SPOT * np.exp(CARRY * years), np.exp(-RATE * years)
    v = SIGMA * np.sqrt(years)
    strikes = forward * np.exp(np.array(DEVIATIONS) * v)
    found = black76(sign, SPOT, forward, strikes, np.full(strikes.size, v), years, discount)
    t, spot = mp.mpf(years), mp.mpf(SPOT)
    sigma = mp.mpf(float(v)) / mp.sqrt(t)
    carry, rate = mp.log(mp.mpf(float(forward)) / spot) / t, -mp.log(mp.mpf(float(discount))) / t
    slack = {"price": 1e-15 * SPOT, "theta": 2.3e-16 / years * SPOT, "charm": 2.3e-16 / years, "vanna": 1e-13}
    for at, strike in enumerate(strikes.tolist()):
        oracle = Oracle(int(sign), mp.mpf(strike), carry, rate, spot, sigma, t)
        for name, wanted in oracle.everything().items():
            error = abs(mp.mpf(float(getattr(found, name)[at])) - wanted)
            assert error <= 1e-9 * abs(wanted) + slack.get(name, 0.0), (name, DEVIATIONS[at], wanted, error)


@pytest.mark.parametrize("years", HORIZONS.values(), ids=HORIZONS.keys())
def test_volatility_from_a_price(years):
    v = SIGMA * np.sqrt(years)
    deviations = np.array([-15.0, -8.0, -4.0, -1.0, -0.01, 0.0, 0.01, 1.0, 4.0, 8.0, 15.0])
    strikes = SPOT * np.exp(deviations * v)
    prices = []
    for strike in strikes.tolist():
        k, f, spread = mp.mpf(strike), mp.mpf(SPOT), mp.mpf(float(v))
        sign = -1 if k < f else 1
        d1 = mp.log(f / k) / spread + spread / 2
        prices.append(float(sign * (f * mp.ncdf(sign * d1) - k * mp.ncdf(sign * (d1 - spread)))))
    found = total_volatility(np.array(prices), SPOT, strikes)
    np.testing.assert_allclose(found, v, rtol=1e-9)


@pytest.mark.parametrize("years", HORIZONS.values(), ids=HORIZONS.keys())
def test_a_price_at_or_below_intrinsic_is_no_volatility(years):
    """Out of the money, intrinsic is zero; the in-the-money twin is never solved by itself."""
    strikes = SPOT * np.exp(np.array([-2.0, 0.0, 2.0]) * SIGMA * np.sqrt(years))
    for cents in (0.0, -0.01, -100.0):
        assert np.isnan(total_volatility(np.full(3, cents), SPOT, strikes)).all()
