"""Greeks on the forward (Black 1976), in total volatility v = sigma * sqrt(T).

Everything takes the forward F, not the spot S: with ln(S/K) long expirations shift. Moving the spot to x moves the
forward with it, F * x / S, so that a profile over spots is these kernels on a broadcast axis.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from pipeline.models.quotes import Floats

INVERSE_SQRT_TAU = 0.3989422804014327  # 1 / sqrt(2 pi)


@dataclass(frozen=True, slots=True)
class Greeks:
    """Per share of the underlying, in the broadcast shape of the arguments.

    ``price`` $; ``delta`` and ``gamma`` per $ of spot; ``vega`` $ per 1.00 of volatility; ``theta`` $ per year of
    calendar time passing; ``vanna`` delta per 1.00 of volatility; ``charm`` delta per year of calendar time passing.
    """

    price: Floats
    delta: Floats
    gamma: Floats
    vega: Floats
    theta: Floats
    vanna: Floats
    charm: Floats


def density(x: Floats) -> Floats:
    """The standard normal density."""
    result: Floats = INVERSE_SQRT_TAU * np.exp(-0.5 * x * x)
    return result


def d_one(forward: Floats | float, strike: Floats, v: Floats) -> Floats:
    """d1 = ln(F/K)/v + v/2."""
    result: Floats = np.log(forward / strike) / v + 0.5 * v
    return result


def black_gamma(spot: Floats | float, forward: Floats | float, strike: Floats, v: Floats, discount: float) -> Floats:
    """gamma = (F * DF / S) * n(d1) / (S * v); the same for calls and puts. Apart from DF it knows no time."""
    with np.errstate(all="ignore"):
        # numpy's division, because a spot of 0 must give a missing value and not an exception.
        scale = np.divide(forward * discount, spot * spot)
        gamma: Floats = scale * density(d_one(forward, strike, v)) / v
    return gamma


def black76(
    sign: Floats | float,
    spot: Floats | float,
    forward: Floats | float,
    strike: Floats,
    v: Floats,
    years: float,
    discount: float,
) -> Greeks:
    """Price and greeks of a European option: ``sign`` +1 calls, -1 puts; arguments broadcast.

    The carry b is the one the forward implies, F = S * exp(b T), and the rate the one of DF = exp(-r T). Wants
    ``v`` > 0 and ``years`` > 0; elsewhere values come out NaN. Haug, The Complete Guide to Option Pricing Formulas,
    2nd ed., sections 1.1.6 and 2 (generalised Black-Scholes-Merton).
    """
    with np.errstate(all="ignore"):
        years = np.float64(years)  # numpy divides by zero without raising
        sigma = v / np.sqrt(years)
        rate = -np.log(discount) / years
        carry = np.log(np.divide(forward, spot)) / years
        d1 = d_one(forward, strike, v)
        d2 = d1 - v
        n1, cdf1, cdf2 = density(d1), ndtr(sign * d1), ndtr(sign * d2)
        asset = forward * discount
        per_spot = np.divide(asset, spot)
        return Greeks(
            price=sign * (asset * cdf1 - strike * discount * cdf2),
            delta=sign * per_spot * cdf1,
            gamma=per_spot * n1 / (spot * v),
            vega=asset * n1 * np.sqrt(years),
            theta=-asset * n1 * sigma / (2.0 * np.sqrt(years))
            - sign * ((carry - rate) * asset * cdf1 + rate * strike * discount * cdf2),
            vanna=_vanna(per_spot, n1, d2, sigma),
            charm=_charm(per_spot, n1, d2, v, years, sign * (carry - rate) * cdf1, carry),
        )


def black_vanna_charm(
    sign: Floats | float,
    spot: Floats | float,
    forward: Floats | float,
    strike: Floats,
    v: Floats,
    years: float,
    discount: float,
) -> tuple[Floats, Floats]:
    """Vanna and charm as black76 gives them, bit for bit, at half of its cost."""
    with np.errstate(all="ignore"):
        years = np.float64(years)
        rate, carry = -np.log(discount) / years, np.log(np.divide(forward, spot)) / years
        d1 = d_one(forward, strike, v)
        d2, n1 = d1 - v, density(d1)
        per_spot = np.divide(forward * discount, spot)
        drift = sign * (carry - rate) * ndtr(sign * d1)
        return _vanna(per_spot, n1, d2, v / np.sqrt(years)), _charm(per_spot, n1, d2, v, years, drift, carry)


def _vanna(per_spot: Floats | float, n1: Floats, d2: Floats, sigma: Floats) -> Floats:
    vanna: Floats = -per_spot * n1 * d2 / sigma
    return vanna


def _charm(
    per_spot: Floats | float, n1: Floats, d2: Floats, v: Floats, years: float, drift: Floats, carry: Floats | float
) -> Floats:
    """``drift``: what the carry less the rate moves delta by, sign (b - r) N(sign d1)."""
    charm: Floats = -per_spot * (n1 * (carry / v - d2 / (2.0 * years)) + drift)
    return charm
