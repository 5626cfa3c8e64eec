"""A pane: one expiration of one settlement root, its geometry, its claimed values and the model made of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from numpy.typing import NDArray

from pipeline.models.expiry import days_to_expiration, expiry_ms, years_to
from pipeline.models.gex import MISSING_USD, gex_usd_1pct
from pipeline.models.greeks import black_gamma
from pipeline.models.max_pain import max_pain
from pipeline.models.quotes import Quotes, read_quotes
from pipeline.models.row import Row, join
from pipeline.models.strategies import Grids, TileLegs, grids
from pipeline.models.violations import find_violations
from pipeline.models.volatility import PaneVolatility, row_volatility

__all__ = ["PaneGeometry", "PaneModel", "PaneValues", "calculate", "expires_of", "expiry_ms", "solve"]


MAX_CONTRACTS = 1e7
"""More of one contract than this is not a position but a broken claim (the largest are below a million)."""


@dataclass(frozen=True, slots=True)
class PaneGeometry:
    """What exists; immutable within an epoch. S strikes (dollars, ascending, the union of both sides), W widths.

    Rows of [2, S] arrays are calls and puts. ``expires_ms`` is the expiry instant where a calendar knows better than
    expiry_ms(expiration, settlement), as on an early close. ``legs`` follow from strikes and widths.
    """

    pane: str
    expiration: date
    root: str
    settlement: str
    strikes: NDArray[np.float64]
    listed: NDArray[np.bool_]
    multiplier: NDArray[np.float64]
    widths: NDArray[np.float64]
    expires_ms: int | None = None
    legs: TileLegs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "legs", TileLegs.of(self.strikes, self.widths))


@dataclass(frozen=True, slots=True)
class PaneValues:
    """What was claimed, float64[2, S] each, NaN = missing; ``spot`` NaN when unknown.

    ``as_of_ms`` is the event time from which time to expiry and DTE are counted; ``rate`` is continuously compounded.
    """

    bid: NDArray[np.float64]
    ask: NDArray[np.float64]
    iv: NDArray[np.float64]
    gamma: NDArray[np.float64]
    open_interest: NDArray[np.float64]
    volume: NDArray[np.float64]
    spot: float
    as_of_ms: int
    rate: float


@dataclass(frozen=True, slots=True)
class PaneModel:
    """Grids in mills (see strategies), ``gex`` int64[2, S] whole dollars per 1 % by open interest, and the head.

    ``head`` holds JSON-able scalars of the pane in a fixed key order, floats rounded to 6 decimals, None for missing.
    """

    grids: Grids
    gex: NDArray[np.int64]
    head: Mapping[str, object]


def expires_of(geometry: PaneGeometry) -> int:
    """The expiry instant of a pane, ms UTC."""
    if geometry.expires_ms is not None:
        return geometry.expires_ms
    return expiry_ms(geometry.expiration, geometry.settlement)


def solve(geometry: PaneGeometry, values: PaneValues) -> PaneVolatility:
    """Forward, volatilities and discount of a pane: what its greeks and every exposure rest on."""
    return solve_row([geometry], [values])[1][0]


def solve_row(
    geometries: Sequence[PaneGeometry], values: Sequence[PaneValues]
) -> tuple[list[Quotes], list[PaneVolatility]]:
    """Quotes and volatility of several panes at once; see solve."""
    row, quotes = _read_row(geometries, values)
    volatilities = row_volatility(
        row, join([of.strikes for of in geometries]), quotes, join([of.iv for of in values]),
        [of.spot for of in values],
        [years_to(expires_of(at), of.as_of_ms) for at, of in zip(geometries, values, strict=True)],
        [of.rate for of in values],
    )
    return quotes.cut(row), volatilities


def quotes_of(geometries: Sequence[PaneGeometry], values: Sequence[PaneValues]) -> list[Quotes]:
    """The quotes of several panes, read at once."""
    row, quotes = _read_row(geometries, values)
    return quotes.cut(row)


def _read_row(geometries: Sequence[PaneGeometry], values: Sequence[PaneValues]) -> tuple[Row, Quotes]:
    return Row.of([of.strikes.size for of in geometries]), read_quotes(
        join([of.bid for of in values]), join([of.ask for of in values]), join([of.listed for of in geometries])
    )


def calculate(
    geometry: PaneGeometry,
    values: PaneValues,
    previous: PaneModel | None = None,
    dirty: NDArray[np.bool_] | None = None,
    volatility: PaneVolatility | None = None,
    quotes: Quotes | None = None,
    gex: NDArray[np.int64] | None = None,
) -> PaneModel:
    """The model of a pane. ``volatility`` is solve(geometry, values), ``quotes`` and ``gex`` (int64[2, S] of the open
    interest) what they follow from, for who has them already.

    With ``previous`` (a model of the same geometry) and ``dirty`` (bool[2, S], contracts whose quote changed since;
    all False when only spot or time moved) only tiles with a dirty leg are computed again. Forward, smile, greeks and
    GEX couple the contracts of the pane and are always recomputed. Both ways give the same bits. Never raises on
    values; whatever cannot be computed is missing.
    """
    if quotes is None:
        quotes = read_quotes(values.bid, values.ask, geometry.listed)
    tiles = grids(quotes, geometry.legs, None if previous is None else previous.grids, dirty)
    if volatility is None:
        volatility = solve(geometry, values)
    if gex is None:
        gamma = black_gamma(values.spot, volatility.forward, geometry.strikes, volatility.v, volatility.discount)
        contracts = contracts_of(geometry.listed, values.open_interest)
        gex = gex_usd_1pct(gamma, contracts, geometry.multiplier, values.spot)
    return PaneModel(tiles, gex, _head(geometry, values, quotes, tiles, volatility, gex))


def contracts_of(listed: NDArray[np.bool_], claimed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Contracts held, float64[..., 2, S]; NaN where none is ``listed`` (bool[2, S]), said, or possible."""
    return np.where(listed & (claimed >= 0.0) & (claimed <= MAX_CONTRACTS), claimed, np.nan)


def _head(
    geometry: PaneGeometry,
    values: PaneValues,
    quotes: Quotes,
    tiles: Grids,
    volatility: PaneVolatility,
    gex: NDArray[np.int64],
) -> dict[str, object]:
    violations = find_violations(tiles, geometry.strikes, geometry.widths)
    listed = int(np.count_nonzero(geometry.listed))
    interest = np.where(geometry.listed & (values.open_interest > 0.0), values.open_interest, 0.0)
    believed = np.where(interest <= MAX_CONTRACTS, interest, 0.0)
    with np.errstate(all="ignore"):
        interest_share = float(interest[gex != MISSING_USD].sum() / interest.sum())
        annualised = volatility.v_atm / math.sqrt(volatility.years) if volatility.years > 0.0 else math.nan
    return {
        "expiration": geometry.expiration.isoformat(),
        "root": geometry.root,
        "settlement": geometry.settlement,
        "dte": days_to_expiration(geometry.expiration, values.as_of_ms),
        "forward": _scalar(volatility.forward),
        "forward_source": volatility.forward_source,
        "expected_move": _scalar(values.spot * volatility.v_atm),
        "atm_iv": _scalar(annualised),
        "max_pain": _scalar(max_pain(geometry.strikes, believed)),
        "discount": _scalar(volatility.discount, decimals=9),
        "coverage": _scalar(int(np.count_nonzero(quotes.priced)) / listed) if listed else None,
        "gex_coverage": _scalar(interest_share),
        "contracts": listed,
        "missing_quotes": quotes.reasons(),
        "iv_sources": volatility.sources(),
        "violation_counts": violations.counts,
        "violations": violations.worst,
    }


def _scalar(value: float, decimals: int = 6) -> float | None:
    """Rounded; None when it is no number. Adding 0 turns a negative zero into zero."""
    return round(float(value), decimals) + 0.0 if math.isfinite(value) else None
