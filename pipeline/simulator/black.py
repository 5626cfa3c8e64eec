"""Black's formula on the forward: what the simulated market makers quote around.

Apart from the product's models on purpose, so that a mistake there cannot hide behind the same mistake here.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

RATE = 0.037
DIVIDEND_YIELD = 0.013
YEAR_SECONDS = 365.0 * 86_400.0
# An expired or expiring contract is worth its intrinsic value, not a division by zero.
_LEAST_YEARS = 60.0 / YEAR_SECONDS


def years(seconds: Floats) -> Floats:
    return np.maximum(seconds / YEAR_SECONDS, _LEAST_YEARS)


def _d1(spot: Floats, strike: Floats, term: Floats, vol: Floats) -> tuple[Floats, Floats]:
    total = np.maximum(vol, 1e-4) * np.sqrt(term)
    forward = spot * np.exp((RATE - DIVIDEND_YIELD) * term)
    return np.log(forward / strike) / total + total / 2, total


def price(spot: Floats, strike: Floats, term: Floats, vol: Floats, call: NDArray[np.bool_]) -> Floats:
    """Dollars a share. ``term`` in years, ``vol`` annual."""
    d1, total = _d1(spot, strike, term, vol)
    share, bond = spot * np.exp(-DIVIDEND_YIELD * term), strike * np.exp(-RATE * term)
    sign = np.where(call, 1.0, -1.0)
    return np.asarray(np.maximum(sign * (share * ndtr(sign * d1) - bond * ndtr(sign * (d1 - total))), 0.0))


def greeks(
    spot: Floats, strike: Floats, term: Floats, vol: Floats, call: NDArray[np.bool_]
) -> tuple[Floats, Floats, Floats, Floats]:
    """delta, gamma, theta a day, vega a volatility point."""
    d1, _ = _d1(spot, strike, term, vol)
    vol = np.maximum(vol, 1e-4)
    carry = np.exp(-DIVIDEND_YIELD * term)
    density = carry * np.exp(-d1 * d1 / 2) / np.sqrt(2 * np.pi)
    delta = carry * np.where(call, ndtr(d1), ndtr(d1) - 1)
    gamma = density / (spot * vol * np.sqrt(term))
    theta = -spot * density * vol / (2 * np.sqrt(term)) / 365
    return delta, gamma, theta, spot * density * np.sqrt(term) / 100
