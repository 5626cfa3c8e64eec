"""Dealer Gravity: where the front pane's risk-neutral density leans when it is weighed by dealer gamma.

p(x) is what option prices imply for the front pane's expiry, q(x) the same tilted towards spots where dealers are long
gamma. Both describe prices and positions as they are; neither says where spot will be.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from pipeline.models.constants import CONSTANTS, Constants
from pipeline.models.exposure import PaneExposure
from pipeline.models.quotes import Floats, Integers

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Extremum:
    """A well (G > 0) or a ridge (G < 0) of the profile: spot in dollars, G in $ per 1 %, prominence in $ per 1 %."""

    price: float
    usd: int
    prominence: int


@dataclass(frozen=True, slots=True)
class Gravity:
    """``best`` is the mean of q, ``low`` and ``high`` its quantiles, dollars; ``pull`` (best - S) / EM; ``confidence``
    0 (gamma says nothing that prices do not) to 1. None with a ``reason`` where unknown; the lists are then empty."""

    reason: str | None
    pane: str | None = None
    best: float | None = None
    low: float | None = None
    high: float | None = None
    pull: float | None = None
    confidence: float | None = None
    wells: tuple[Extremum, ...] = ()
    ridges: tuple[Extremum, ...] = ()


@np.errstate(all="ignore")
def implied_density(pane: PaneExposure, spot: float, constants: Constants = CONSTANTS) -> tuple[Floats, Floats]:
    """Spots x (float64[n], ascending) and the risk-neutral mass at each (float64[n], sum 1; all 0 when unknown).

    x = spot * exp(v_atm * u), u from -density_moves to density_moves. A mass is the price of the butterfly that pays
    1 at its own x and 0 at its neighbours (Breeden and Litzenberger 1978, in finite steps), priced off the pane's
    smile: total variance linear in ln(K/F), flat beyond. A smile that is not free of arbitrage gives negative masses:
    they count as none.
    """
    steps = np.linspace(-constants.density_moves, constants.density_moves, 2 * constants.density_steps + 1)
    # One more on either side, for the wings of the outer butterflies.
    step = constants.density_moves / constants.density_steps
    x = spot * np.exp(pane.v_atm * np.concatenate(([steps[0] - step], steps, [steps[-1] + step])))
    known = np.isfinite(pane.v) & (pane.v > 0.0)
    if not known.any() or not np.isfinite(x).all():
        return x[1:-1], np.zeros(steps.size)
    forward = pane.forward * (spot / pane.spot)
    log_moneyness = np.log(pane.strikes[known] / pane.forward)
    v = np.sqrt(np.interp(np.log(x / forward), log_moneyness, np.square(pane.v[known])))
    d1 = np.log(forward / x) / v + 0.5 * v
    calls = forward * ndtr(d1) - x * ndtr(d1 - v)
    slopes = np.diff(calls) / np.diff(x)
    mass = np.maximum(np.diff(slopes), 0.0)
    total = mass.sum()
    return x[1:-1], mass / total if total > 0.0 else np.zeros(steps.size)


def dealer_gravity(
    front: PaneExposure | None,
    axis: Floats,
    net: Integers,
    gross: Integers,
    spot: float,
    expected_move: float | None,
    reason: str | None,
    constants: Constants = CONSTANTS,
) -> Gravity:
    """q(x) proportional to p(x) exp(tilt * G(x) / greatest gross), and what is told of it.

    ``axis`` float64[61] spot / S - 1; ``net`` and ``gross`` int64[61]. Confidence is 1 - exp(-KL(q || p) /
    divergence_scale). G is linear between the points of the profile and goes on flat beyond its ends.
    """
    greatest = float(gross.max())
    if front is None or expected_move is None or reason is not None or greatest <= 0.0:
        return Gravity(reason or "flat")
    x, p = implied_density(front, spot, constants)
    if not p.any():
        return Gravity("low_coverage")
    tilt = constants.tilt * np.interp(x / spot - 1.0, axis, net) / greatest
    weighed = p * np.exp(tilt)
    whole = float(weighed.sum())
    q = weighed / whole
    divergence = max(float((q * tilt).sum()) - float(np.log(whole)), 0.0)
    best = float((q * x).sum())
    middle = np.cumsum(q) - 0.5 * q
    low, high = np.interp((constants.low_quantile, constants.high_quantile), middle, x).tolist()
    prices, least = spot * (1.0 + axis), constants.well_prominence * greatest
    return Gravity(
        reason=None,
        pane=front.pane,
        best=best,
        low=low,
        high=high,
        pull=(best - spot) / expected_move,
        confidence=float(-np.expm1(-divergence / constants.divergence_scale)),
        wells=tuple(Extremum(*peak) for peak in peaks(prices, net, least) if peak[1] > 0),
        ridges=tuple(Extremum(x, -usd, rise) for x, usd, rise in peaks(prices, -net, least) if usd > 0),
    )


def peaks(prices: Floats, values: Integers, least: float) -> list[tuple[float, int, int]]:
    """Local maxima inside the axis with at least ``least`` prominence: (price, value, prominence), ascending.

    A plateau counts once, at its left end. The prominence of a maximum is its height above the higher of the two
    lowest points that separate it from a higher point, or from the end of the axis, on either side.
    """
    found = []
    heights = values.tolist()
    for at in range(1, len(heights) - 1):
        if not heights[at - 1] < heights[at] >= heights[at + 1]:
            continue
        after = next((value for value in heights[at + 1 :] if value != heights[at]), None)
        if after is None or after > heights[at]:
            continue
        height = heights[at]
        saddles = []
        for side in (heights[at - 1 :: -1], heights[at + 1 :]):
            higher = next((place for place, value in enumerate(side) if value > height), len(side))
            saddles.append(min(side[:higher]))
        prominence = height - max(saddles)
        if prominence >= least:
            found.append((float(prices[at]), height, prominence))
    return found


@dataclass(frozen=True, slots=True)
class Minute:
    """The record of one minute: ``minute`` its first ms, ``ts`` the event time of ``gravity``."""

    minute: int
    ts: int
    gravity: Gravity


def next_minute(record: Minute | None, gravity: Gravity, ts: int) -> tuple[Minute, Minute | None]:
    """Fold ``gravity`` at event time ``ts`` (ms) into minute records: (the open one, the one that became final).

    A minute's record is the last of its minute; it is final when an event of a later minute comes and never changes
    from then on: what comes for it afterwards is dropped.
    """
    minute = ts // MINUTE_MS * MINUTE_MS
    fresh = Minute(minute, ts, gravity)
    if record is None:
        return fresh, None
    if minute > record.minute:
        return fresh, record
    return (fresh if minute == record.minute and ts >= record.ts else record), None
