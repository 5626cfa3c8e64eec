"""What one pane hands to the models of its symbol: exposures by contract, the profile G(x) and what they rest on.

Exposures and profiles are whole dollars (int64), so that sums over panes are exact in any order.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np

from pipeline.models.constants import CONSTANTS, Constants
from pipeline.models.expiry import YEAR_MS
from pipeline.models.gex import MISSING_USD, whole_dollars
from pipeline.models.greeks import INVERSE_SQRT_TAU, black_vanna_charm
from pipeline.models.max_pain import max_pain
from pipeline.models.pane import PaneGeometry, PaneValues, contracts_of, expires_of, gex_of
from pipeline.models.quotes import Floats, Integers
from pipeline.models.volatility import PaneVolatility

BOOKS = ("oi", "volume")
"""First axis of ``gex`` and ``profile``: weighed by open interest (settled overnight), by today's volume."""

OI, VOLUME = range(2)
SUMS = (*BOOKS, "vanna", "charm")
"""First axis of ``sums``."""

SIGN = np.array([[1.0], [-1.0]])
"""Sign model ``naive``: dealers are long calls and short puts."""

DAYS_A_YEAR = 365.0
# Keeps a sum over a thousand panes inside an int64, whatever was claimed.
_MAX_PROFILE_USD = 1e15


@dataclass(frozen=True, slots=True)
class PaneExposure:
    """One pane at ``spot``. S strikes; rows of [2, S] are calls and puts; NaN or MISSING_USD where unknown.

    ``v`` float64[S] is total volatility, ``shares`` float64[2, S] open interest times multiplier (0: none or unknown).
    ``gex`` int64[books, 2, S] $ of delta per 1 % move; ``vanna`` int64[2, S] $ of delta per volatility point, ``charm``
    int64[2, S] $ of delta per day of calendar time, both of the open interest and signed like GEX. ``sums`` int64[4, 2]
    of SUMS over strikes, MISSING_USD for a side that knows none. ``charm_flow``: $ that dealers buy as time passes,
    until ``Constants.charm_ms`` from now or expiry. ``profile`` int64[books, 2, 61]: GEX of calls and puts where spot
    stands at spot * (1 + moves(constants)). ``max_pain``: dollars.
    """

    pane: str
    expiration: date
    root: str
    settlement: str
    expires_ms: int
    as_of_ms: int
    spot: float
    forward: float
    discount: float
    v_atm: float
    strikes: Floats
    v: Floats
    shares: Floats
    gex: Integers
    vanna: Integers
    charm: Integers
    sums: Integers
    charm_flow: int
    profile: Integers
    max_pain: float


def moves(constants: Constants = CONSTANTS) -> Floats:
    """The profile's axis, spot / today's spot - 1: float64[61], ascending, exactly 0 in the middle."""
    steps = np.arange(-constants.profile_steps, constants.profile_steps + 1, dtype=np.float64)
    return steps * (constants.profile_half_width / constants.profile_steps)


@np.errstate(all="ignore")
def expose(
    geometry: PaneGeometry, values: PaneValues, volatility: PaneVolatility, constants: Constants = CONSTANTS
) -> PaneExposure:
    """Exposures of a pane from its solved volatility (pane.solve). Never raises on values."""
    spot, forward, discount = values.spot, volatility.forward, volatility.discount
    expires = expires_of(geometry)
    weights = contracts_of(geometry, np.stack((values.open_interest, values.volume)))
    shares = weights * geometry.multiplier
    gex = gex_of(geometry, values, volatility, weights)
    known = gex != MISSING_USD
    vanna, charm = black_vanna_charm(
        SIGN, spot, forward, geometry.strikes, volatility.v, volatility.years, discount
    )
    held = np.where(known[OI], SIGN * shares[OI], np.nan)
    drift = charm * held * spot
    left_years = min(expires - values.as_of_ms, constants.charm_ms) / YEAR_MS
    # At once, because a call of numpy costs as much as the arithmetic on a hundred strikes.
    by_contract = whole_dollars(np.stack((vanna * held * (spot * 0.01), drift / DAYS_A_YEAR, -drift * left_years)))
    sums = _sums(np.concatenate((gex, by_contract)))
    flows = sums[len(SUMS)]
    return PaneExposure(
        pane=geometry.pane,
        expiration=geometry.expiration,
        root=geometry.root,
        settlement=geometry.settlement,
        expires_ms=expires,
        as_of_ms=values.as_of_ms,
        spot=spot,
        forward=forward,
        discount=discount,
        v_atm=volatility.v_atm,
        strikes=geometry.strikes,
        v=volatility.v,
        shares=_or_zero(shares[OI]),
        gex=gex,
        vanna=by_contract[0],
        charm=by_contract[1],
        sums=sums[: len(SUMS)],
        charm_flow=int(flows[flows != MISSING_USD].sum()),
        profile=_profile(geometry.strikes, volatility, np.where(known, shares, 0.0), moves(constants)),
        max_pain=max_pain(geometry.strikes, _or_zero(weights[OI])),
    )


def _or_zero(values: Floats) -> Floats:
    return np.where(np.isnan(values), 0.0, values)


def _sums(usd: Integers) -> Integers:
    """Sums over the last axis of what is known; MISSING_USD where nothing is."""
    known = usd != MISSING_USD
    return np.where(known.any(axis=-1), np.where(known, usd, 0).sum(axis=-1), MISSING_USD)


def _profile(strikes: Floats, volatility: PaneVolatility, shares: Floats, axis: Floats) -> Integers:
    """GEX at spot * (1 + axis), v frozen, the forward moving with the spot: int64[books, 2, axis].

    gamma(x) * x^2 = (F x / S) * DF * n(d1(x)) / v. ``shares`` float64[books, 2, S], 0 where unknown.
    """
    result = np.zeros((*shares.shape[:2], axis.size), dtype=np.int64)
    held = np.isfinite(volatility.v) & (volatility.v > 0.0) & (shares > 0.0).any(axis=(0, 1))
    if not held.any():
        return result
    v = volatility.v[held]
    kernel = np.log1p(axis)[:, None] * (1.0 / v)
    kernel += np.log(volatility.forward / strikes[held]) / v + 0.5 * v  # d1
    # exp(-d1^2 / 2), in place: this is most of what a spot tick costs.
    kernel *= kernel
    kernel *= -0.5
    np.exp(kernel, out=kernel)
    # [axis, strikes] by [strikes, books and sides]: a fifteenth of what four weighed sums take.
    weights = (shares[:, :, held] / v).reshape(-1, v.size)
    usd = np.ascontiguousarray((kernel @ weights.T).T).reshape(result.shape)
    scale = INVERSE_SQRT_TAU * 0.01 * volatility.discount * volatility.forward * (1.0 + axis)
    usd *= SIGN * scale
    known = np.where(np.isnan(usd), 0.0, usd)
    result[:] = np.rint(np.clip(known, -_MAX_PROFILE_USD, _MAX_PROFILE_USD))
    return result
