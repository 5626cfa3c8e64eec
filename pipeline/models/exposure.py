"""What one pane hands to the models of its symbol: exposures by contract, the profile G(x) and what they rest on.

Exposures and profiles are whole dollars (int64), so that sums over panes are exact in any order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np

from pipeline.models.constants import CONSTANTS, Constants
from pipeline.models.expiry import YEAR_MS
from pipeline.models.gex import MISSING_USD, gex_usd_1pct, whole_dollars
from pipeline.models.greeks import INVERSE_SQRT_TAU, black_gamma, black_vanna_charm
from pipeline.models.max_pain import max_pain
from pipeline.models.pane import PaneGeometry, PaneValues, contracts_of, expires_of
from pipeline.models.quotes import Floats, Integers
from pipeline.models.row import Row, join
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


def expose(
    geometry: PaneGeometry, values: PaneValues, volatility: PaneVolatility, constants: Constants = CONSTANTS
) -> PaneExposure:
    """Exposures of a pane from its solved volatility (pane.solve). Never raises on values."""
    return expose_row([geometry], [values], [volatility], constants)[0]


@np.errstate(all="ignore")
def expose_row(
    geometries: Sequence[PaneGeometry],
    values: Sequence[PaneValues],
    volatilities: Sequence[PaneVolatility],
    constants: Constants = CONSTANTS,
) -> list[PaneExposure]:
    """Exposures of several panes at once; see expose."""
    row = Row.of([geometry.strikes.size for geometry in geometries])
    strikes, v = join([of.strikes for of in geometries]), join([of.v for of in volatilities])
    expires = [expires_of(geometry) for geometry in geometries]
    left_years = [min(at - of.as_of_ms, constants.charm_ms) / YEAR_MS for at, of in zip(expires, values, strict=True)]
    spot, left, forward, discount, years = row.spread(
        [of.spot for of in values], left_years,
        *zip(*((of.forward, of.discount, of.years) for of in volatilities), strict=True),
    )
    multiplier = join([of.multiplier for of in geometries])
    weights = contracts_of(
        join([of.listed for of in geometries]),
        np.stack((join([of.open_interest for of in values]), join([of.volume for of in values]))),
    )
    shares = weights * multiplier
    gex = gex_usd_1pct(black_gamma(spot, forward, strikes, v, discount), weights, multiplier, spot)
    known = gex != MISSING_USD
    vanna, charm = black_vanna_charm(SIGN, spot, forward, strikes, v, years, discount)
    held = np.where(known[OI], SIGN * shares[OI], np.nan)
    drift = charm * held * spot
    by_contract = whole_dollars(
        np.stack((vanna * held * (spot * 0.01), drift / DAYS_A_YEAR, -drift * left))
    )
    sums = _sums(row, np.concatenate((gex, by_contract)))
    flows = sums[len(SUMS)]
    interest, held_shares = _or_zero(weights[OI]), _or_zero(shares[OI])
    profiles = _profiles(row, strikes, forward, v, volatilities, np.where(known, shares, 0.0), moves(constants))
    return [
        PaneExposure(
            pane=geometry.pane,
            expiration=geometry.expiration,
            root=geometry.root,
            settlement=geometry.settlement,
            expires_ms=expires[number],
            as_of_ms=claimed.as_of_ms,
            spot=claimed.spot,
            forward=volatility.forward,
            discount=volatility.discount,
            v_atm=volatility.v_atm,
            strikes=geometry.strikes,
            v=volatility.v,
            shares=held_shares[:, first:end],
            gex=gex[..., first:end],
            vanna=by_contract[0, :, first:end],
            charm=by_contract[1, :, first:end],
            sums=sums[: len(SUMS), :, number],
            charm_flow=sum(flow for flow in flows[:, number].tolist() if flow != MISSING_USD),
            profile=profiles[number],
            max_pain=max_pain(geometry.strikes, interest[:, first:end]),
        )
        for number, (geometry, claimed, volatility, (first, end)) in enumerate(
            zip(geometries, values, volatilities, row.bounds, strict=True)
        )
    ]


def _or_zero(values: Floats) -> Floats:
    return np.where(np.isnan(values), 0.0, values)


def _sums(row: Row, usd: Integers) -> Integers:
    """Sums over each pane's strikes of what is known; MISSING_USD where nothing is."""
    known = usd != MISSING_USD
    counts, sums = row.sums(np.stack((known, np.where(known, usd, 0))))
    return np.where(counts > 0, sums, MISSING_USD)


def _profiles(
    row: Row,
    strikes: Floats,
    forward: Floats,
    v: Floats,
    volatilities: Sequence[PaneVolatility],
    shares: Floats,
    axis: Floats,
) -> Integers:
    """Of each pane, GEX at spot * (1 + axis), v frozen, the forward moving with the spot: int64[P, books, 2, axis].

    gamma(x) * x^2 = (F x / S) * DF * n(d1(x)) / v. ``shares`` float64[books, 2, N], 0 where unknown.
    """
    held = np.flatnonzero(np.isfinite(v) & (v > 0.0) & (shares > 0.0).any(axis=(0, 1)))
    edges = np.searchsorted(held, [0, *(end for _, end in row.bounds)]).tolist()
    v = v[held]
    kernel = np.log1p(axis)[:, None] * (1.0 / v)
    kernel += np.log(forward[held] / strikes[held]) / v + 0.5 * v  # d1
    # exp(-d1^2 / 2), in place: this is most of what a spot tick costs.
    kernel *= kernel
    kernel *= -0.5
    np.exp(kernel, out=kernel)
    weights = (shares[:, :, held] / v).reshape(2 * len(BOOKS), v.size)
    # A pane at a time, as it is alone: how many strikes are summed decides the last bit. [axis, strikes] by [strikes,
    # books and sides] takes a fifteenth of what four weighed sums take.
    usd = np.stack([
        (np.ascontiguousarray(kernel[:, first:end]) @ np.ascontiguousarray(weights[:, first:end]).T).T
        for first, end in pairwise(edges)
    ]).reshape(-1, *shares.shape[:2], axis.size)
    scale = np.array([INVERSE_SQRT_TAU * 0.01 * of.discount * of.forward for of in volatilities])
    usd *= SIGN * (scale[:, None, None, None] * (1.0 + axis))
    known = np.where(np.isnan(usd), 0.0, usd)
    profiles: Integers = np.rint(np.clip(known, -_MAX_PROFILE_USD, _MAX_PROFILE_USD)).astype(np.int64)
    return profiles
