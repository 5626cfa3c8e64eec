"""Volatility: forward, live implied volatility and smile of a pane, from its quotes alone.

Total volatility v = sigma * sqrt(T) is solved at every strike from the out-of-the-money mid and shared with the
in-the-money twin. Every strike is solved alone with a fixed number of iterations from a start that depends on
nothing but its own price: bits may not depend on neighbours nor on history.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx

from pipeline.models.greeks import Greeks, black76, black_gamma, d_one, density
from pipeline.models.quotes import MILLS_PER_DOLLAR, Booleans, Floats, Quotes
from pipeline.models.row import Row

__all__ = [
    "IV_SOURCES", "Greeks", "PaneVolatility", "black76", "black_gamma", "pane_volatility", "row_volatility",
    "total_volatility",
]

# Codes of ``PaneVolatility.source``: where the volatility of a strike comes from.
IV_SOURCES = ("mid", "smile", "provider", "missing")
FROM_MID, FROM_SMILE, FROM_PROVIDER, FROM_NOWHERE = range(4)

FORWARD_STRIKES = 10
# Where one tick is worth more than this many points of volatility, a mid says more about the tick than the market.
MAX_POINTS_PER_TICK = 2.0
MAX_TOTAL_VOLATILITY = 5.0
STEPS, MORE_STEPS = 2, 2  # of every strike, and of those that are not settled by then
SETTLED = 1e-3  # the last step over v: the convergence is cubic, so that the error left is about its third power
WELL_SETTLED = 1e-4  # nothing is gained by going on: v is good to 1e-10 of itself, everywhere from 3e-5 to 5

_SQRT_HALF = math.sqrt(0.5)
_SQRT_TAU = math.sqrt(2.0 * math.pi)
_TWO_OVER_SQRT_TAU = 2.0 / _SQRT_TAU

# Bachelier's price over |x| against h = |x| / v, both in logarithms and by rising ratio: n(h)/h - N(-h).
_BACHELIER_LOG_H = np.linspace(math.log(40.0), math.log(1e-4), 256)
_BACHELIER_LOG_RATIO = (
    np.log(np.exp(-_BACHELIER_LOG_H) - math.sqrt(0.5 * math.pi) * erfcx(_SQRT_HALF * np.exp(_BACHELIER_LOG_H)))
    - 0.5 * np.exp(2.0 * _BACHELIER_LOG_H)
    - math.log(_SQRT_TAU)
)


@dataclass(frozen=True, slots=True)
class PaneVolatility:
    """``v`` float64[S] total volatility (NaN missing), ``source`` int8[S] codes of IV_SOURCES.

    ``forward`` is NaN when unknown; ``forward_source`` is ``parity``, ``spot`` (carried at the rate, for want of a
    strike quoted on both sides) or ``missing``. ``v_atm`` is v interpolated at the forward, NaN when unknown.
    """

    years: float
    discount: float
    forward: float
    forward_source: str
    v: Floats
    source: NDArray[np.int8]
    v_atm: float

    def sources(self) -> dict[str, int]:
        """How many strikes take their volatility from where; every source present, in a fixed order."""
        counts = np.bincount(self.source, minlength=len(IV_SOURCES))
        return {name: int(counts[code]) for code, name in enumerate(IV_SOURCES)}


def pane_volatility(
    strikes: Floats,
    quotes: Quotes,
    provider_iv: Floats,
    spot: float,
    years: float,
    rate: float,
    max_points_per_tick: float = MAX_POINTS_PER_TICK,
) -> PaneVolatility:
    """Volatility of one pane of S strikes; see row_volatility."""
    row = Row.of([strikes.size])
    return row_volatility(row, strikes, quotes, provider_iv, [spot], [years], [rate], max_points_per_tick)[0]


@np.errstate(all="ignore")
def row_volatility(
    row: Row,
    strikes: Floats,
    quotes: Quotes,
    provider_iv: Floats,
    spots: Sequence[float],
    years: Sequence[float],
    rates: Sequence[float],
    max_points_per_tick: float = MAX_POINTS_PER_TICK,
) -> list[PaneVolatility]:
    """Volatility of each of P panes of a row of N strikes. ``provider_iv`` float64[2, N], annualised, NaN or 0 missing;
    ``spots`` in dollars, ``years`` to expiry and continuously compounded ``rates``: one a pane.

    Everything of a pane is missing without its spot or when its ``years`` <= 0. Never raises on values, never returns
    infinities.
    """
    growths = list(map(_growth, spots, years, rates))
    growth, root = row.spread(growths, [math.sqrt(max(of, 0.0)) for of in years])
    mids = quotes.mids()
    parity = row.cut(strikes + growth * (mids[0] - mids[1]))
    found = list(map(_forward, row.cut(strikes), parity, spots, growths))
    discounts = [1.0 / of for of in growths]
    forward, discount, finest = row.spread(
        [of for of, _ in found], discounts, list(map(_finest_tick, quotes.cut(row)))
    )
    is_put = strikes < forward
    price = np.where(is_put, mids[1], mids[0])
    solved = total_volatility(price * growth, forward, strikes)
    log_moneyness = np.log(strikes / forward)
    good = np.isfinite(solved)
    dollars_per_point = discount * forward * density(d_one(forward, strikes, solved)) * root / 100.0
    good &= _tick(price, finest) <= max_points_per_tick * dollars_per_point
    v = np.where(good, solved, np.nan)
    source = np.where(good, FROM_MID, FROM_SMILE).astype(np.int8)
    variance = np.square(v)
    at_the_money: list[float] = []
    for (first, end), of_pane in zip(row.bounds, growths, strict=True):
        here = slice(first, end)
        x, known, squares = log_moneyness[here], good[here], variance[here]
        if math.isnan(of_pane):
            source[here] = FROM_NOWHERE
        elif not known.any():
            v[here], source[here] = _from_provider(is_put[here], provider_iv[:, here], root[here])
        elif not known.all():
            v[here] = np.where(known, v[here], np.sqrt(np.interp(x, x[known], squares[known])))
        if not known.all():
            known = np.isfinite(v[here])
            x, squares = x[known], np.square(v[here][known])
        at_the_money.append(math.sqrt(np.interp(0.0, x, squares)) if x.size else math.nan)
    return [
        PaneVolatility(*of)
        for of in zip(years, discounts, *zip(*found, strict=True), row.cut(v), row.cut(source), at_the_money,
                      strict=True)
    ]


def _growth(spot: float, years: float, rate: float) -> float:
    """exp(rate T); NaN for a pane of which nothing can be known."""
    if not (years > 0.0 and 0.0 < spot < math.inf and math.isfinite(rate * years)):
        return math.nan
    return math.exp(min(max(rate * years, -50.0), 50.0))


def _from_provider(is_put: Booleans, provider_iv: Floats, root: Floats) -> tuple[Floats, NDArray[np.int8]]:
    """Where no strike of a pane can be solved: the provider's volatility, of the side out of the money if there is
    one. ``root`` is sqrt(T)."""
    usable = (provider_iv > 0.0) & (provider_iv * root <= MAX_TOTAL_VOLATILITY)
    own = np.where(is_put, usable[1], usable[0])
    twin = np.where(is_put, usable[0], usable[1])
    iv = np.where(own == is_put, provider_iv[1], provider_iv[0])
    return (
        np.where(own | twin, iv * root, np.nan),
        np.where(own | twin, FROM_PROVIDER, FROM_NOWHERE).astype(np.int8),
    )


def _forward(strikes: Floats, parity: Floats, spot: float, growth: float) -> tuple[float, str]:
    """Median over the ten quoted strikes nearest the spot of K + exp(rT) * (C - P) (``parity``): put-call parity."""
    if math.isnan(growth):
        return math.nan, "missing"
    quoted = np.flatnonzero(np.isfinite(parity))
    nearest = quoted[np.argsort(np.abs(strikes[quoted] - spot), kind="stable")[:FORWARD_STRIKES]]
    if nearest.size:
        forward = statistics.median(parity[nearest].tolist())  # of a few: numpy's takes twenty times as long
        if 0.0 < forward < math.inf:
            return forward, "parity"
    return spot * growth, "spot"


def _finest_tick(quotes: Quotes) -> float:
    """The greatest step that all prices of a pane are multiples of, in dollars."""
    # Prices one after the other: what they have in common is small after a few, and each step is then short.
    return math.gcd(*(int(np.gcd.reduce(side, axis=None)) for side in (quotes.bid, quotes.ask))) / MILLS_PER_DOLLAR


def _tick(price: Floats, finest: Floats) -> Floats:
    """The least step of a price in dollars: 0.05 below $3 and 0.10 from there, or less where the pane quotes finer."""
    return np.minimum(np.where(price < 3.0, 0.05, 0.10), finest)


def total_volatility(price: Floats, forward: Floats | float, strikes: Floats) -> Floats:
    """v at which Black's undiscounted out-of-the-money price (put below F, call from F) is ``price``; float64[S].

    NaN where no volatility gives the price: at or below zero, at or above its bound min(F, K), or so near the bound
    that the iteration does not settle below MAX_TOTAL_VOLATILITY. Halley's iteration on the logarithm of the
    normalised price b(x, v) = price / sqrt(F K), x = -|ln(F/K)|, kept inside a bracket that shrinks (Jaeckel, Let's
    Be Rational, 2015, for the normalisation and the scaled complementary error function, which keeps far wings from
    underflowing).
    """
    with np.errstate(all="ignore"):
        x = -np.abs(np.log(forward / strikes))
        beta = price / np.sqrt(forward * strikes)
        solvable = (price > 0.0) & (price < np.minimum(forward, strikes))
        x = np.where(solvable, x, -0.1)
        beta = np.where(solvable, beta, 0.01)
        log_beta = np.log(beta)
        low = beta * _SQRT_TAU  # b never exceeds v / sqrt(2 pi)
        state = _start(x, beta, low), low, np.full_like(x, MAX_TOTAL_VOLATILITY)
        for _ in range(STEPS):
            before, state = state[0], _closer(x, log_beta, *state)
        v = state[0]
        step = np.abs(v - before)
        loose = np.flatnonzero(solvable & ~(step < WELL_SETTLED * v))
        if loose.size:
            x, log_beta, state = x[loose], log_beta[loose], (v[loose], state[1][loose], state[2][loose])
            for _ in range(MORE_STEPS):
                before, state = state[0], _closer(x, log_beta, *state)
            v[loose], step[loose] = state[0], np.abs(state[0] - before)
        solvable &= step < SETTLED * v
    return np.where(solvable, v, np.nan)


def _closer(x: Floats, log_beta: Floats, v: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats, Floats]:
    """One of Halley's steps: v, and the bracket that it stays in."""
    h, t = x / v, 0.5 * v
    scaled = erfcx(-_SQRT_HALF * (h + t)) - erfcx(_SQRT_HALF * (t - h))
    h_squared = h * h
    excess = np.log(0.5 * scaled) - 0.5 * (h_squared + t * t) - log_beta
    slope = _TWO_OVER_SQRT_TAU / scaled
    newton = excess / slope
    bend = h_squared / v - 0.5 * t - slope
    below = excess < 0.0
    low, high = np.where(below, v, low), np.where(below, high, v)
    trial = v - newton / (1.0 - 0.5 * newton * bend)
    return np.where((trial >= low) & (trial <= high), trial, 0.5 * (low + high)), low, high


def _start(x: Floats, beta: Floats, low: Floats) -> Floats:
    """A first v, from Bachelier's model, which the normalised price follows closely while v is below one."""
    log_h = np.interp(np.log(beta / -x), _BACHELIER_LOG_RATIO, _BACHELIER_LOG_H)
    return np.clip(-x * np.exp(-log_h), low, MAX_TOTAL_VOLATILITY)
